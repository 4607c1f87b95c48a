"""Istio's rules described: what they do, whom they concern, whether they are in force. Pure."""

from collections.abc import Iterator
from typing import Any

from argosy.base.names import Hostname, Namespace
from argosy.cli.client import Json, is_ready, name_of, namespace_of
from argosy.cli.description import NONE, Description, Table, pairs, path_of, spec_of
from argosy.cli.snapshot import Snapshot
from argosy.pilot.compile.hostnames import is_wildcard, resolve

_MESH = "mesh"
_EVERYONE = "in force for every caller"


def virtual_service(item: Json, snapshot: Snapshot) -> Description:
    spec = spec_of(item)
    bound = spec.get("gateways") or [_MESH]
    rows = [
        (str(number), _sort(kind), match, target, ", ".join(_extras(rule)) or NONE)
        for kind in ("http", "tls", "tcp")
        for number, rule in enumerate(spec.get(kind, ()), 1)
        for match, target in (("\nor ".join(_matches(rule)) or "everything", _target(rule)),)
    ]
    return Description(
        facts=(
            ("Hosts", "\n".join(_host(item, host, bound, snapshot) for host in spec["hosts"]))
            if spec.get("hosts")
            else ("Hosts", "none: other VirtualServices delegate to it"),
            ("Gateways", ", ".join(bound)),
            ("Visible to", ", ".join(spec.get("exportTo", ()))),
        ),
        tables=(Table("Rules", ("#", "FOR", "MATCH", "TO", "WITH"), tuple(rows)),),
    )


def destination_rule(item: Json, snapshot: Snapshot) -> Description:
    spec, namespace = spec_of(item), Namespace(namespace_of(item))
    host = resolve(spec.get("host", ""), namespace)
    service = snapshot.service_of_host(host)
    home = service.namespace if service else namespace
    chosen = snapshot.policy(host, home)
    key = (namespace, name_of(item))
    rules = [chosen.rule, *(subset.rule for subset in chosen.subsets)] if chosen else []
    if key in [(rule.namespace, rule.name) for rule in rules]:
        force = f"yes, for callers in {home}"
    else:
        force = f"no: callers in {home} follow {chosen.rule if chosen else 'no rule'}"
    selector = dict(service.selector) if service else {}
    rows = []
    for subset in spec.get("subsets", ()):
        labels = {**selector, **(subset.get("labels") or {})}
        pods = _pods(snapshot, home, labels) if selector else []
        ready = sum(map(is_ready, pods))
        rows.append((subset["name"], pairs(subset.get("labels")), f"{ready} of {len(pods)} ready"))
    return Description(
        facts=(("Host", host), ("In force", NONE if is_wildcard(host) else force)),
        tables=(Table("Subsets", ("SUBSET", "LABELS", "WORKLOADS"), tuple(rows)),),
    )


def gateway(item: Json, snapshot: Snapshot) -> Description:
    spec = spec_of(item)
    pods = _pods(snapshot, None, spec.get("selector") or {})
    services = {
        (service.namespace, service.name)
        for pod in pods
        for service in snapshot.services_of(namespace_of(pod), pod["metadata"].get("labels") or {})
    }
    urls = [
        f"{published.url} (port {published.port})"
        for published in snapshot.published
        if (published.namespace, published.service) in services
    ]
    servers = [
        (
            str(server["port"].get("number", NONE)),
            server["port"].get("name", NONE),
            server["port"].get("protocol", NONE),
            ", ".join(server.get("hosts", ())),
        )
        for server in spec.get("servers", ())
    ]
    bound = [
        (f"{a.object.namespace}/{a.object.name}", ", ".join(a.hosts))
        for a in snapshot.bound_to(path_of(item))
    ]
    return Description(
        facts=(
            ("Selector", pairs(spec.get("selector"))),
            ("Proxies", ", ".join(map(path_of, pods)) or "none: nobody opens these servers"),
            ("Reachable at", ", ".join(urls)),
        ),
        tables=(
            Table("Servers", ("PORT", "NAME", "PROTOCOL", "HOSTS"), tuple(servers)),
            Table(
                "VirtualServices",
                ("VIRTUALSERVICE", "HOSTS"),
                tuple(bound),
                empty="none is bound: every request gets a 404",
            ),
        ),
    )


def peer_authentication(item: Json, snapshot: Snapshot) -> Description:
    spec, namespace = spec_of(item), namespace_of(item)
    labels = (spec.get("selector") or {}).get("matchLabels") or {}
    everywhere = namespace == snapshot.root_namespace and not labels
    pods = [
        pod
        for pod in snapshot.all("Pod")
        if (everywhere or namespace_of(pod) == namespace)
        and labels.items() <= (pod["metadata"].get("labels") or {}).items()
    ]
    rows = []
    for pod in pods:
        demands = snapshot.demands(namespace_of(pod), pod["metadata"].get("labels") or {})
        ports = ", ".join(f"{port}: {mode.value}" for port, mode in demands.ports)
        rows.append((path_of(pod), demands.other_ports.value, ports or NONE))
    mode = (spec.get("mtls") or {}).get("mode") or "UNSET (as its namespace or the mesh)"
    what = pairs(labels) and f"workloads with {pairs(labels)} in {namespace}"
    wide = "the whole mesh" if everywhere else f"namespace {namespace}"
    return Description(
        facts=(("Mode", mode), ("Concerns", what or wide)),
        tables=(
            Table("Workloads", ("POD", "ACCEPTS", "PORTS"), tuple(rows), empty="none at present"),
        ),
    )


def destination_hosts(value: Any) -> Iterator[str]:
    """Every host that rules send requests or copies of them to, as written."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("destination", "mirror") and isinstance(inner, dict) and "host" in inner:
                yield str(inner["host"])
            yield from destination_hosts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from destination_hosts(inner)


def _host(item: Json, written: str, bound: list[str], snapshot: Snapshot) -> str:
    """The host, and whether sidecars follow these rules for it."""
    namespace = Namespace(namespace_of(item))
    host = resolve(written, namespace)
    if _MESH not in bound or is_wildcard(host):
        return host
    service = snapshot.service_of_host(host)
    home = service.namespace if service else namespace
    owner = snapshot.routing(Hostname(host), home)
    if owner is None or (owner.namespace, owner.name) == (namespace, name_of(item)):
        return host
    return f"{host} (callers in {home} follow {owner} instead)"


def _pods(snapshot: Snapshot, namespace: str | None, labels: dict[str, str]) -> list[Json]:
    return [
        pod
        for pod in snapshot.all("Pod")
        if namespace in (None, namespace_of(pod))
        and labels.items() <= (pod["metadata"].get("labels") or {}).items()
    ]


def _sort(kind: str) -> str:
    return {"http": "HTTP", "tls": "TLS", "tcp": "TCP"}[kind]


def _matches(rule: Json) -> list[str]:
    return [" and ".join(_match(match)) or "everything" for match in rule.get("match", ())]


def _match(match: Json) -> Iterator[str]:
    for key, value in match.items():
        match key:
            case "uri" | "scheme" | "method" | "authority":
                yield f"{key} {_text(value)}"
            case "headers" | "queryParams":
                for name, text in value.items():
                    yield f"{key.rstrip('s')} {name} {_text(text)}"
            case "withoutHeaders":
                for name, text in value.items():
                    yield f"not header {name} {_text(text)}"
            case "sourceLabels":
                yield f"from {pairs(value)}"
            case "name":
                continue
            case _:
                shown = ", ".join(map(str, value)) if isinstance(value, list) else value
                yield f"{key} {shown}"


def _text(value: Json) -> str:
    return " ".join(f"{how} {text}" for how, text in value.items()) if value else "present"


def _target(rule: Json) -> str:
    if redirect := rule.get("redirect"):
        return f"redirect to {redirect.get('authority', '')}{redirect.get('uri', '')}"
    if answer := rule.get("directResponse"):
        return f"answer {answer.get('status')}"
    if delegate := rule.get("delegate"):
        return f"VirtualService {delegate.get('namespace', '')}/{delegate['name']}".replace(
            " /", " "
        )
    routes = rule.get("route", ())
    shown = []
    for route in routes:
        share = f" {route.get('weight', 0)} %" if len(routes) > 1 else ""
        shown.append(_destination(route.get("destination") or {}) + share)
    return ", ".join(shown) or NONE


def _destination(destination: Json) -> str:
    port = (destination.get("port") or {}).get("number")
    subset = destination.get("subset")
    return (
        str(destination.get("host", NONE))
        + (f":{port}" if port else "")
        + (f" subset {subset}" if subset else "")
    )


def _extras(rule: Json) -> Iterator[str]:
    """What happens to a request on its way, in a few words."""
    if timeout := rule.get("timeout"):
        yield f"timeout {timeout}"
    if (retries := rule.get("retries")) is not None:
        yield f"retries {retries.get('attempts', 0)}"
    fault: Json = rule.get("fault") or {}
    if delay := fault.get("delay"):
        yield f"delay {delay.get('fixedDelay', '')} for {_percent(delay)}"
    if abort := fault.get("abort"):
        status = abort.get("httpStatus") or abort.get("grpcStatus", "")
        yield f"abort {status} for {_percent(abort)}"
    if mirror := rule.get("mirror"):
        yield f"mirror to {_destination(mirror)}"
    for mirror in rule.get("mirrors", ()):
        yield f"mirror to {_destination(mirror.get('destination') or {})}"
    for key, words in (("rewrite", "rewrite"), ("corsPolicy", "CORS"), ("headers", "headers")):
        if rule.get(key):
            yield words


def _percent(fault: Json) -> str:
    return f"{(fault.get('percentage') or {}).get('value', 100):g} %"
