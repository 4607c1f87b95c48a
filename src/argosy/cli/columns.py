"""The columns of ``argosy get``: what people look for in each kind."""

from collections.abc import Callable, Sequence
from typing import Any

from argosy.api import registry
from argosy.cli.client import Json, is_ready, name_of
from argosy.cli.output import age

Column = tuple[str, Callable[[Json], Any]]


def columns_of(kind: str, *, wide: bool) -> list[Column]:
    """What people look for in this kind; the same words as kubectl where it has them."""
    steers = kind in registry.STEERING
    columns: list[Column] = [("NAME", name_of), *_COLUMNS.get(kind, [])]
    if steers:
        columns.append(("ACCEPTED", _condition("Accepted")))
    if wide:
        columns += _RULE if steers else _WIDE.get(kind, [])
    return [*columns, ("AGE", lambda item: age(item["metadata"].get("creationTimestamp")))]


def _spec(item: Json) -> Json:
    spec: Json = item.get("spec") or {}
    return spec


def _joined(field: str) -> Callable[[Json], str]:
    return lambda item: ",".join(_spec(item).get(field) or ()) or "-"


def _condition(name: str) -> Callable[[Json], str]:
    def value(item: Json) -> str:
        conditions = (item.get("status") or {}).get("conditions", ())
        return next((str(c["status"]) for c in conditions if c["type"] == name), "-")

    return value


def _problems(item: Json) -> str:
    return str(len((item.get("status") or {}).get("validationMessages", ())))


def _ports(item: Json) -> str:
    ports: Sequence[Json] = _spec(item).get("ports") or ()
    return ",".join(f"{port['port']}/{port.get('protocol', 'TCP')}" for port in ports) or "-"


def pod_state(item: Json) -> str:
    status: Json = item.get("status") or {}
    if item["metadata"].get("deletionTimestamp"):
        return "Terminating"
    phase = str(status.get("phase", "Pending"))
    inside = (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ()))
    for container in inside:
        state: Json = container.get("state") or {}
        waiting = (state.get("waiting") or {}).get("reason")
        if waiting and waiting != "PodInitializing":
            return str(waiting)
        ended: Json = state.get("terminated") or {}
        if ended.get("exitCode") or (ended and phase in ("Succeeded", "Failed")):
            return str(ended.get("reason") or phase)
    return phase


def restarts(item: Json) -> str:
    statuses = (item.get("status") or {}).get("containerStatuses", ())
    return str(sum(c.get("restartCount", 0) for c in statuses))


def replicas(item: Json) -> str:
    status = item.get("status") or {}
    return f"{status.get('readyReplicas', 0)}/{_spec(item).get('replicas', 1)}"


def _selector(item: Json) -> str:
    selector = _spec(item).get("selector") or {}
    return ",".join(f"{k}={v}" for k, v in sorted(selector.items())) or "-"


_COLUMNS: dict[str, list[Column]] = {
    "Pod": [
        ("READY", lambda item: "yes" if is_ready(item) else "no"),
        ("STATUS", pod_state),
        ("RESTARTS", restarts),
    ],
    "Service": [
        ("TYPE", lambda item: _spec(item).get("type", "ClusterIP")),
        ("CLUSTER-IP", lambda item: _spec(item).get("clusterIP") or "None"),
        ("PORTS", _ports),
    ],
    "Deployment": [("READY", replicas)],
    "StatefulSet": [("READY", replicas)],
    "VirtualService": [
        ("GATEWAYS", _joined("gateways")),
        ("HOSTS", _joined("hosts")),
    ],
    "DestinationRule": [("HOST", lambda item: _spec(item).get("host", "-"))],
    "ServiceEntry": [("HOSTS", _joined("hosts"))],
    "PeerAuthentication": [
        ("MODE", lambda item: (_spec(item).get("mtls") or {}).get("mode", "-")),
    ],
    "AuthorizationPolicy": [("ACTION", lambda item: _spec(item).get("action", "ALLOW"))],
}
_RULE: list[Column] = [("DISTRIBUTED", _condition("Distributed")), ("PROBLEMS", _problems)]
_WIDE: dict[str, list[Column]] = {
    "Pod": [
        ("IP", lambda item: (item.get("status") or {}).get("podIP", "-")),
        ("SERVICE-ACCOUNT", lambda item: _spec(item).get("serviceAccountName", "default")),
    ],
    "Service": [("SELECTOR", _selector)],
}
