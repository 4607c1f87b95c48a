"""``argosy proxy-config``: what a running Envoy has, as istioctl shows it."""

import base64
from typing import Annotated, Any

import typer

from argosy.cli.client import ApiClient, CliError, Json, find_pod, name_of, namespace_of
from argosy.cli.options import MeshOption, NamespaceOption, OutputOption, WorkloadArgument
from argosy.cli.output import Format, err, show_json, show_table, show_yaml

app = typer.Typer(help="Show the live configuration of a workload's Envoy.", no_args_is_help=True)

_DUMP = "envoy.admin.v3."


def dump(client: ApiClient, workload: str, namespace: str, query: str = "") -> list[Json]:
    """The sections of the Envoy's config_dump."""
    return list(ask(client, workload, namespace, f"/config_dump{query}").get("configs", ()))


def ask(client: ApiClient, workload: str, namespace: str, path: str) -> Json:
    pod = find_pod(client, workload, namespace)
    response = client.envoy(namespace_of(pod), name_of(pod), path)
    try:
        answer: Json = response.json()
    except ValueError as error:
        raise CliError(f"Envoy's answer to {path} is not JSON: {response.text[:200]}") from error
    return answer


def _section(configs: list[Json], name: str) -> Json:
    return next((c for c in configs if c.get("@type", "").endswith(_DUMP + name)), {})


def _show(output: Format, values: list[Any], columns: list[str], rows: list[list[str]]) -> None:
    match output:
        case Format.JSON:
            show_json(values)
        case Format.YAML:
            show_yaml(values)
        case Format.NAME:
            for row in rows:
                typer.echo(row[0])
        case Format.TABLE | Format.WIDE:
            if not show_table(columns, rows):
                err.print("Nothing found.")


@app.command("clusters")
@app.command("cluster", hidden=True)
def clusters(
    workload: WorkloadArgument,
    output: OutputOption = Format.TABLE,
    fqdn: Annotated[str, typer.Option(help="Only of this host.")] = "",
    port: Annotated[int, typer.Option(help="Only of this port.")] = 0,
    namespace: NamespaceOption = "default",
    mesh: MeshOption = "default",
) -> None:
    """The clusters: where requests can go."""
    with ApiClient(mesh) as client:
        section = _section(dump(client, workload, namespace), "ClustersConfigDump")
    found = [
        entry["cluster"]
        for entry in (
            *section.get("static_clusters", ()),
            *section.get("dynamic_active_clusters", ()),
            *section.get("dynamic_warming_clusters", ()),
        )
    ]
    rows, kept = [], []
    for cluster in found:
        direction, number, subset, host = _cluster_name(cluster["name"])
        if (fqdn and host != fqdn) or (port and number != str(port)):
            continue
        kept.append(cluster)
        kind = cluster.get("type") or (cluster.get("cluster_type") or {}).get("name") or "STATIC"
        rows.append([host, number or "-", subset or "-", direction or "-", kind])
    order = sorted(range(len(rows)), key=lambda i: rows[i])
    _show(
        output,
        [kept[i] for i in order],
        ["SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE"],
        [rows[i] for i in order],
    )


@app.command("listeners")
@app.command("listener", hidden=True)
def listeners(
    workload: WorkloadArgument,
    output: OutputOption = Format.TABLE,
    port: Annotated[int, typer.Option(help="Only of this port.")] = 0,
    namespace: NamespaceOption = "default",
    mesh: MeshOption = "default",
) -> None:
    """The listeners, and where each of their filter chains leads."""
    with ApiClient(mesh) as client:
        section = _section(dump(client, workload, namespace), "ListenersConfigDump")
    found = [
        entry["active_state"]["listener"]
        for entry in section.get("dynamic_listeners", ())
        if "active_state" in entry
    ] + [entry["listener"] for entry in section.get("static_listeners", ())]
    rows, kept = [], []
    for listener in sorted(found, key=_listener_order):
        address = listener.get("address", {}).get("socket_address", {})
        if port and address.get("port_value") != port:
            continue
        kept.append(listener)
        chains = [*listener.get("filter_chains", ())]
        if default := listener.get("default_filter_chain"):
            chains.append(default)
        for chain in chains:
            rows.append(
                [
                    listener.get("name", "-"),
                    address.get("address", "-"),
                    str(address.get("port_value", "-")),
                    _chain_match(chain.get("filter_chain_match") or {}),
                    _chain_destination(chain),
                ]
            )
    _show(output, kept, ["NAME", "ADDRESS", "PORT", "MATCH", "DESTINATION"], rows)


@app.command("routes")
@app.command("route", hidden=True)
def routes(
    workload: WorkloadArgument,
    output: OutputOption = Format.TABLE,
    name: Annotated[str, typer.Option(help="Only this route configuration.")] = "",
    namespace: NamespaceOption = "default",
    mesh: MeshOption = "default",
) -> None:
    """The routes: which request goes to which cluster."""
    with ApiClient(mesh) as client:
        section = _section(dump(client, workload, namespace), "RoutesConfigDump")
    found = [
        entry["route_config"]
        for entry in (
            *section.get("dynamic_route_configs", ()),
            *section.get("static_route_configs", ()),
        )
        if not name or entry["route_config"].get("name") == name
    ]
    rows = [
        [
            config.get("name") or "-",
            host["name"],
            ", ".join(host.get("domains", ())[:3])
            + (f" + {len(host['domains']) - 3} more" if len(host.get("domains", ())) > 3 else ""),
            _route_match(route.get("match") or {}),
            _route_target(route),
        ]
        for config in sorted(found, key=lambda c: str(c.get("name", "")))
        for host in config.get("virtual_hosts", ())
        for route in host.get("routes", ())
    ]
    _show(output, found, ["NAME", "VHOST NAME", "DOMAINS", "MATCH", "TO"], rows)


@app.command("endpoints")
@app.command("endpoint", hidden=True)
def endpoints(
    workload: WorkloadArgument,
    output: OutputOption = Format.TABLE,
    cluster: Annotated[str, typer.Option(help="Only of this cluster.")] = "",
    namespace: NamespaceOption = "default",
    mesh: MeshOption = "default",
) -> None:
    """The endpoints of every cluster, with their health as this Envoy sees it."""
    with ApiClient(mesh) as client:
        answer = ask(client, workload, namespace, "/clusters?format=json")
    rows, kept = [], []
    for entry in answer.get("cluster_statuses", ()):
        if cluster and entry["name"] != cluster:
            continue
        for host in entry.get("host_statuses", ()):
            kept.append({"cluster": entry["name"], **host})
            health = host.get("health_status") or {}
            failed = health.get("failed_outlier_check", False)
            rows.append(
                [
                    _address(host.get("address", {})),
                    str(health.get("eds_health_status", "HEALTHY")),
                    "FAILED" if failed else "OK",
                    entry["name"],
                ]
            )
    _show(output, kept, ["ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER"], sorted(rows))


@app.command("secrets")
@app.command("secret", hidden=True)
def secrets(
    workload: WorkloadArgument,
    output: OutputOption = Format.TABLE,
    namespace: NamespaceOption = "default",
    mesh: MeshOption = "default",
) -> None:
    """The certificates that this Envoy holds; keys are never shown."""
    with ApiClient(mesh) as client:
        section = _section(dump(client, workload, namespace), "SecretsConfigDump")
    found = [
        (entry, status)
        for key, status in (
            ("static_secrets", "ACTIVE"),
            ("dynamic_active_secrets", "ACTIVE"),
            ("dynamic_warming_secrets", "WARMING"),
        )
        for entry in section.get(key, ())
    ]
    rows = [row for entry, status in found for row in _secret_rows(entry, status)]
    columns = ["RESOURCE NAME", "TYPE", "STATUS", "SERIAL NUMBER", "NOT AFTER", "NOT BEFORE"]
    _show(
        output, [entry for entry, _ in found], columns, sorted(map(list, {tuple(r) for r in rows}))
    )


@app.command("bootstrap")
def bootstrap(
    workload: WorkloadArgument,
    output: OutputOption = Format.JSON,
    namespace: NamespaceOption = "default",
    mesh: MeshOption = "default",
) -> None:
    """The bootstrap with which this Envoy was started."""
    with ApiClient(mesh) as client:
        section = _section(dump(client, workload, namespace), "BootstrapConfigDump")
    (show_yaml if output is Format.YAML else show_json)(section.get("bootstrap", {}))


def _cluster_name(name: str) -> tuple[str, str, str, str]:
    """Direction, port, subset and host of ``outbound|9080|v1|host``."""
    parts = name.split("|")
    if len(parts) != 4:
        return "", "", "", name
    direction, port, subset, host = parts
    return direction, port, subset, host or "-"


def _listener_order(listener: Json) -> tuple[int, str]:
    port = listener.get("address", {}).get("socket_address", {}).get("port_value", 0)
    return int(port), str(listener.get("name", ""))


def _chain_match(match: Json) -> str:
    parts = []
    if port := match.get("destination_port"):
        parts.append(f"Port: {port}")
    if transport := match.get("transport_protocol"):
        parts.append(f"Trans: {transport}")
    if protocols := match.get("application_protocols"):
        parts.append(f"App: {','.join(protocols)}")
    if names := match.get("server_names"):
        parts.append(f"SNI: {','.join(names)}")
    for prefix in match.get("prefix_ranges", ()):
        parts.append(f"Addr: {prefix['address_prefix']}/{prefix.get('prefix_len', 0)}")
    return "; ".join(parts) or "ALL"


def _chain_destination(chain: Json) -> str:
    for network_filter in chain.get("filters", ()):
        config = network_filter.get("typed_config") or {}
        if "rds" in config:
            return f"Route: {config['rds'].get('route_config_name')}"
        if "route_config" in config:
            clusters = [
                _route_target(route)
                for host in config["route_config"].get("virtual_hosts", ())
                for route in host.get("routes", ())
            ]
            return f"Inline Route: {', '.join(clusters[:2])}"
        if "cluster" in config:
            return f"Cluster: {config['cluster']}"
        if "weighted_clusters" in config:
            weighted = config["weighted_clusters"].get("clusters", ())
            return "Clusters: " + ", ".join(f"{c['name']}:{c.get('weight', 0)}" for c in weighted)
    return "-"


def _route_match(match: Json) -> str:
    path = next(
        (
            f"{match[key]}{suffix}"
            for key, suffix in (("prefix", "*"), ("path_separated_prefix", "/*"), ("path", ""))
            if key in match
        ),
        None,
    )
    if path is None:
        path = "regex " + str((match.get("safe_regex") or {}).get("regex", "*"))
    headers = [str(h.get("name")) for h in match.get("headers", ())]
    return path + (f" [{', '.join(headers)}]" if headers else "")


def _route_target(route: Json) -> str:
    action = route.get("route") or {}
    if "cluster" in action:
        return str(action["cluster"])
    if "weighted_clusters" in action:
        clusters = action["weighted_clusters"].get("clusters", ())
        return ", ".join(f"{c['name']}:{c.get('weight', 0)}" for c in clusters)
    if "redirect" in route:
        return "redirect"
    if "direct_response" in route:
        return f"respond {route['direct_response'].get('status')}"
    return "-"


def _address(address: Json) -> str:
    if "pipe" in address:
        return f"unix://{address['pipe'].get('path')}"
    socket = address.get("socket_address") or {}
    return f"{socket.get('address', '-')}:{socket.get('port_value', '-')}"


def _secret_rows(entry: Json, status: str) -> list[list[str]]:
    from cryptography import x509

    secret = entry.get("secret") or {}
    name = entry.get("name") or secret.get("name", "-")
    if "tls_certificate" in secret:
        kind, source = "Cert Chain", secret["tls_certificate"].get("certificate_chain") or {}
    elif "validation_context" in secret:
        kind, source = "CA", secret["validation_context"].get("trusted_ca") or {}
    else:
        return [[name, "-", status, "-", "-", "-"]]
    pem = source.get("inline_string", "").encode() or base64.b64decode(
        source.get("inline_bytes", "")
    )
    if not pem:
        return [[name, kind, status, "-", "-", "-"]]
    first = x509.load_pem_x509_certificates(pem)[0]
    return [
        [
            name,
            kind,
            status,
            f"{first.serial_number:x}",
            first.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
            first.not_valid_before_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        ]
    ]
