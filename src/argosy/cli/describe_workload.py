"""Pods, Deployments and StatefulSets described: who they are, what leads to them, what they accept. Pure."""

from collections.abc import Mapping

from argosy.api.core_pod import TEMPLATES_ANNOTATION
from argosy.cli import describe_telemetry
from argosy.cli.client import Json, is_ready, name_of, namespace_of, of_workload, why_late
from argosy.cli.columns import pod_state, replicas, restarts
from argosy.cli.description import NONE, Description, Table, pairs, path_of, spec_of
from argosy.cli.limits import rate
from argosy.cli.snapshot import Snapshot, label_pairs
from argosy.cli.status import TYPES, state_of, until
from argosy.model.proxy import ProxyType
from argosy.model.service import Service
from argosy.pilot.compile.endpoints import selects
from argosy.pilot.compile.roles import GATEWAY_TEMPLATE

_PROXY = "istio-proxy"


def pod(item: Json, snapshot: Snapshot) -> Description:
    labels = item["metadata"].get("labels") or {}
    status: Json = item.get("status") or {}
    state = pod_state(item)
    if is_ready(item):
        state += ", ready"
    elif status.get("phase") not in ("Succeeded", "Failed"):
        reason, message = why_late(item)
        parts = (state, "" if reason == state else f"not ready ({reason})", message)
        state = ": ".join(filter(None, parts))
    proxy = snapshot.proxies.get(f"{name_of(item)}.{namespace_of(item)}")
    owners = item["metadata"].get("ownerReferences", ())
    return Description(
        facts=(
            ("State", state),
            ("Address", status.get("podIP", "")),
            *((owner["kind"], owner["name"]) for owner in owners),
            ("Containers", _containers(item)),
            ("Service account", _account(spec_of(item))),
            *_identity(proxy),
            ("Proxy", _proxy(item, proxy)),
            ("mTLS", accepts(namespace_of(item), labels, snapshot)),
            ("Tokens", tokens(namespace_of(item), labels, snapshot)),
            ("Telemetry", describe_telemetry.objects(namespace_of(item), labels, snapshot)),
            ("Rate limits", limits(namespace_of(item), item["metadata"], snapshot)),
        ),
        tables=(_services(namespace_of(item), labels, snapshot),),
    )


def replicated(kind: str, item: Json, snapshot: Snapshot) -> Description:
    """A Deployment or StatefulSet."""
    namespace = namespace_of(item)
    template: Json = spec_of(item).get("template") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    spec = spec_of(template)
    pods = [p for p in snapshot.all("Pod") if namespace_of(p) == namespace]
    pods = of_workload(pods, name_of(item), kind)
    images = [f"{c['name']} ({c.get('image', '')})" for c in spec.get("containers", ())]
    return Description(
        facts=(
            ("Replicas", f"{replicas(item)} ready"),
            ("Pod labels", pairs(labels)),
            ("Containers", "\n".join(images)),
            ("Service account", _account(spec)),
            ("mTLS", accepts(namespace, labels, snapshot)),
            ("Tokens", tokens(namespace, labels, snapshot)),
            ("Telemetry", describe_telemetry.objects(namespace, labels, snapshot)),
            ("Rate limits", limits(namespace, template.get("metadata") or {}, snapshot)),
        ),
        tables=(
            Table(
                "Pods",
                ("POD", "READY", "STATUS", "RESTARTS", "IP", "PROXY", "CERTIFICATE"),
                tuple(_pod_row(p, snapshot) for p in pods),
                empty="no pod has been made",
            ),
            _services(namespace, labels, snapshot),
        ),
    )


def accepts(namespace: str, labels: Mapping[str, str], snapshot: Snapshot) -> str:
    """``STRICT (PeerAuthentication default/default)``, and the ports that differ."""
    demands = snapshot.demands(namespace, labels)
    policies = _policies(namespace, labels, snapshot)
    why = f"PeerAuthentication {', '.join(policies)}" if policies else "Istio's default"
    words = {"STRICT": "mTLS only", "PERMISSIVE": "mTLS and plaintext", "DISABLE": "plaintext only"}
    mode = demands.other_ports.value
    ports = [f"port {port}: {own.value}" for port, own in demands.ports]
    return "\n".join((f"{mode}: accepts {words[mode]} ({why})", *ports))


def tokens(namespace: str, labels: Mapping[str, str], snapshot: Snapshot) -> str:
    """Whose tokens are checked: ``https://... (RequestAuthentication default/jwt)``; empty: none."""
    return "\n".join(
        f"{rule.issuer or 'any issuer'} (RequestAuthentication {policy.object.namespace}/"
        f"{policy.object.name})"
        for policy in snapshot.token_policies(namespace, labels)
        for rule in policy.rules
    )


def limits(namespace: str, metadata: Json, snapshot: Snapshot) -> str:
    """``100/min for each source.principal (RateLimit default/api, rule 0)``; empty: none."""
    templates = (metadata.get("annotations") or {}).get(TEMPLATES_ANNOTATION, "")
    kind = ProxyType.ROUTER if GATEWAY_TEMPLATE in templates.split(",") else ProxyType.SIDECAR
    return "\n".join(
        f"{rate(one.rate.requests, int(one.rate.period.total_seconds()), one.rate.burst)}"
        f"{' of some routes' if one.routes else ''}"
        f"{' for each ' + ', '.join(key.name for key in one.keys) if one.keys else ''}"
        f"{'' if one.shared else ', of each replica'}{', in dry run' if one.dry_run else ''}"
        f" (RateLimit {one.object.namespace}/{one.object.name}, rule {one.rule})"
        for one in snapshot.limits(kind, namespace, metadata.get("labels") or {})
    )


def sync_of(proxy: Json) -> str:
    """``SYNCED``, or each type that is not."""
    states = {kind: state_of(proxy, kind) for kind in TYPES}
    late = [f"{kind} {state}" for kind, state in states.items() if state != "SYNCED"]
    return ", ".join(late) or "SYNCED"


def routing_of(service: Service, namespace: str, snapshot: Snapshot) -> str:
    """The VirtualService for callers in a namespace."""
    rule = snapshot.routing(service.hostname, namespace)
    return f"{rule.namespace}/{rule.name}" if rule else NONE


def _services(namespace: str, labels: Mapping[str, str], snapshot: Snapshot) -> Table:
    rows = []
    for service in snapshot.services_of(namespace, labels):
        policy = snapshot.policy(service.hostname, namespace)
        subsets = [
            subset.name
            for subset in (policy.subsets if policy else ())
            if selects(subset.labels, label_pairs(labels))
        ]
        for port in service.ports:
            rows.append(
                (
                    f"{service.namespace}/{service.name}",
                    f"{port.number} {port.name}".strip(),
                    port.protocol.value,
                    str(port.target),
                    routing_of(service, namespace, snapshot),
                    f"{policy.rule.namespace}/{policy.rule.name}" if policy else NONE,
                    ", ".join(subsets) or NONE,
                )
            )
    return Table(
        "Services that lead here",
        (
            *("SERVICE", "PORT", "PROTOCOL", "TARGET"),
            *("VIRTUALSERVICE", "DESTINATIONRULE", "SUBSETS"),
        ),
        tuple(rows),
        empty="none: no service selects these labels, so nobody can call it by name",
    )


def _pod_row(item: Json, snapshot: Snapshot) -> tuple[str, ...]:
    proxy = snapshot.proxies.get(f"{name_of(item)}.{namespace_of(item)}")
    certificate = (proxy or {}).get("certificate") or {}
    return (
        name_of(item),
        "yes" if is_ready(item) else "no",
        pod_state(item),
        restarts(item),
        (item.get("status") or {}).get("podIP", NONE),
        sync_of(proxy) if proxy else NONE,
        until(certificate.get("expires")),
    )


def _identity(proxy: Json | None) -> tuple[tuple[str, str], ...]:
    if proxy is None:
        return ()
    certificate = proxy.get("certificate") or {}
    serial = f" (serial {certificate['serial']})" if certificate.get("serial") else ""
    return (
        ("Identity", proxy.get("identity") or NONE),
        ("Certificate", f"{until(certificate.get('expires'))}{serial}"),
    )


def _proxy(item: Json, proxy: Json | None) -> str:
    if proxy is not None:
        return sync_of(proxy)
    if _meshed(item):
        return "not connected to the control plane; it goes on with what it has"
    return "none: this pod is outside the mesh, and calls are plaintext"


def _meshed(item: Json) -> bool:
    labels = item["metadata"].get("labels") or {}
    return labels.get("security.istio.io/tlsMode") == "istio"


def _containers(item: Json) -> str:
    states = {s["name"]: s for s in (item.get("status") or {}).get("containerStatuses", ())}
    lines = []
    for container in spec_of(item).get("containers", ()):
        state = states.get(container["name"], {})
        count = state.get("restartCount", 0)
        again = f", {count} restart{'s' if count != 1 else ''}" if count else ""
        ready = "ready" if state.get("ready") else "not ready"
        image = container.get("image") or NONE
        lines.append(f"{container['name']} ({image}): {ready}{again}")
    return "\n".join(lines)


def _account(spec: Json) -> str:
    return str(spec.get("serviceAccountName") or spec.get("serviceAccount") or "default")


def _policies(namespace: str, labels: Mapping[str, str], snapshot: Snapshot) -> list[str]:
    """The PeerAuthentications that concern a workload: of the mesh, its namespace, itself."""
    levels: list[list[Json]] = [[], [], []]
    for policy in snapshot.all("PeerAuthentication"):
        selector = (spec_of(policy).get("selector") or {}).get("matchLabels") or {}
        if selector:
            if namespace_of(policy) == namespace and selector.items() <= labels.items():
                levels[2].append(policy)
        elif namespace_of(policy) == snapshot.root_namespace:
            levels[0].append(policy)
        elif namespace_of(policy) == namespace:
            levels[1].append(policy)
    return [path_of(min(level, key=_age)) for level in levels if level]


def _age(policy: Json) -> tuple[str, str]:
    return policy["metadata"].get("creationTimestamp", ""), name_of(policy)
