"""The facts of a running mesh, gathered for reports and suggestions: who there is, what holds."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TypeVar

from argosy import __version__
from argosy.base.names import Hostname, ObjectKey
from argosy.cli.authz import role
from argosy.cli.client import ApiClient, CliError, Json, name_of, namespace_of, owner_of
from argosy.cli.places import Places
from argosy.cli.snapshot import Snapshot
from argosy.mixer.report.checks import held, rule_field
from argosy.mixer.report.facts import (
    Call,
    Certificate,
    Checked,
    Edge,
    Facts,
    GatewayServer,
    Port,
    Problem,
    Proxy,
    Workload,
)
from argosy.mixer.report.findings import NOWHERE, Place
from argosy.model.proxy import ProxyType
from argosy.pilot.compile.endpoints import workload_name

MIXER = "/mixer"
_OURS = "/apis/argosy.dev/v1alpha1"
_MESH_TLS = "security.istio.io/tlsMode"
_ENCRYPTED = ("HTTPS", "TLS")
UNKNOWN = "unknown"
T = TypeVar("T")


def gather(client: ApiClient, snapshot: Snapshot, seconds: float) -> Facts:
    """All facts. Without Mixer what it would have measured is None, and the report says so."""
    places = Places(client)
    workloads = workloads_of(snapshot, places)
    unmeasured: list[str] = []
    edges = _measured(lambda: edges_of(client, snapshot, seconds), "traffic", unmeasured)
    calls = _measured(lambda: calls_of(client), "who called what", unmeasured)
    if calls is None and not unmeasured:
        unmeasured.append(
            "which permissions are used: nothing was recorded (argosy suggest authz --record 60s)"
        )
    return Facts(
        mesh=client.mesh,
        version=__version__,
        moment=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        trust_domain=snapshot.trust_domain,
        workloads=workloads,
        gateways=tuple(_gateways(snapshot, places)),
        certificates=tuple(_certificates(client, snapshot.root_namespace)),
        objects=tuple(_objects(snapshot, places)),
        proxies=tuple(_proxies(snapshot)),
        places=tuple(_policy_places(workloads, places)),
        edges=edges,
        calls=calls,
        since=seconds,
        unmeasured=tuple(unmeasured),
    )


def workloads_of(snapshot: Snapshot, places: Places | None = None) -> tuple[Workload, ...]:
    """Pods of one owner are one workload."""
    owners: dict[tuple[str, str, str], Json] = {}
    for pod in snapshot.all("Pod"):
        kind, name = owner_of(pod)
        owners.setdefault((kind or "Pod", namespace_of(pod), name or name_of(pod)), pod)
    return tuple(_workload(snapshot, places, *key, pod) for key, pod in sorted(owners.items()))


def _workload(
    snapshot: Snapshot, places: Places | None, kind: str, namespace: str, name: str, pod: Json
) -> Workload:
    found, labels = role(pod), pod["metadata"].get("labels") or {}
    gateway = found.type is ProxyType.ROUTER
    proxy = gateway or found.type is ProxyType.GRPC or _MESH_TLS in labels
    demands = snapshot.demands(namespace, labels)
    address = pod.get("status", {}).get("podIP", "")
    numbers = {
        endpoint.port
        for service in snapshot.services_of(namespace, labels)
        for port in service.ports
        for endpoint in snapshot.endpoints(service, port.number)
        if endpoint.address == address
    }
    return Workload(
        kind=kind,
        namespace=namespace,
        name=name,
        account=found.service_account,
        labels=tuple(sorted(_selector(snapshot, kind, namespace, name, labels).items())),
        proxy=proxy,
        gateway=gateway,
        mode=demands.other_ports,
        ports=tuple(Port(number, demands.mode(number)) for number in sorted(numbers)),
        policies=snapshot.policies(found) if proxy else (),
        place=places.of(kind, namespace, name) if places else NOWHERE,
        reported_as=workload_name(name_of(pod), labels),
    )


def _selector(
    snapshot: Snapshot, kind: str, namespace: str, name: str, labels: dict[str, str]
) -> dict[str, str]:
    """The labels by which the workload itself finds its pods.

    Never none of those that its pods have: a policy without any would hold for the whole namespace.
    """
    item = None if kind == "Pod" else snapshot.item(kind, namespace, name)
    if item is None:
        return labels
    spec = item["spec"]
    own: dict[str, str] = spec["template"].get("metadata", {}).get("labels") or labels
    return spec["selector"].get("matchLabels") or own


def _gateways(snapshot: Snapshot, places: Places) -> Iterable[GatewayServer]:
    for gateway in snapshot.all("Gateway"):
        if not gateway["apiVersion"].startswith("networking.istio.io/"):
            continue
        namespace, name = namespace_of(gateway), name_of(gateway)
        for index, server in enumerate(gateway["spec"].get("servers", ())):
            port, tls = server.get("port") or {}, server.get("tls") or {}
            protocol = str(port.get("protocol", "")).upper()
            encrypted = protocol in _ENCRYPTED or bool(tls.get("httpsRedirect"))
            field = f"spec.servers[{index}]"
            place = places.of("Gateway", namespace, name, field)
            number = int(port.get("number", 0))
            yield GatewayServer(namespace, name, index, number, protocol, encrypted, place)


def _certificates(client: ApiClient, root: str) -> Iterable[Certificate]:
    overview = client.get(f"{_OURS}/certificates")
    warnings = {one["about"]: one for one in overview["warnings"]}
    about = {authority["subject"]: root for authority in overview["authorities"]}
    about |= {
        f"{one['report']['pod']}.{one['report']['namespace']}": one["report"]["namespace"]
        for one in overview["workloads"]
    }
    about |= dict.fromkeys(warnings.keys() - about.keys(), root)
    for name, namespace in about.items():
        warned = warnings.get(name, {})
        level, message = warned.get("level", ""), warned.get("message", "")
        yield Certificate(namespace, name, level, message)


def _objects(snapshot: Snapshot, places: Places) -> Iterable[Checked]:
    found: dict[ObjectKey, list[Problem]] = {key: [] for key in snapshot.keys}
    for one in snapshot.analysis():
        problem = one.problem
        key = problem.object
        place = places.of(key.kind, key.namespace, key.name, problem.field)
        found.setdefault(key, []).append(
            Problem(
                one.level.value.lower(),
                one.code,
                problem.field,
                problem.message,
                problem.hint or "see argosy analyze",
                place,
            )
        )
    for key, problems in found.items():
        yield Checked(key.kind, key.namespace, key.name, tuple(problems))


def _proxies(snapshot: Snapshot) -> Iterable[Proxy]:
    for proxy in snapshot.proxies.values():
        refuses = tuple(
            (kind, state.get("error", ""))
            for kind, state in sorted(proxy["types"].items())
            if state["state"] == "NACK"
        )
        yield Proxy(proxy["namespace"], proxy["name"], refuses)


def _policy_places(
    workloads: Iterable[Workload], places: Places
) -> Iterable[tuple[tuple[ObjectKey, str], Place]]:
    for policy in held(tuple(workloads)):
        key = policy.object
        for field in ("", *map(rule_field, policy.rules)):
            yield (key, field), places.of(key.kind, key.namespace, key.name, field)


# What Mixer has measured.


def edges_of(client: ApiClient, snapshot: Snapshot, seconds: float) -> tuple[Edge, ...]:
    """Traffic by service edge. Raises CliError when Mixer does not answer.

    Without requests for services of the mesh that the caller's own proxy answered: they reached
    nobody.
    """
    answer = client.get(f"{MIXER}/edges", since=f"{seconds:g}")
    found = [_edge(row) for row in answer["edges"] if not row.get("other")]
    return tuple(e for e in found if e.destination or not _is_inside(snapshot, e.host))


def _is_inside(snapshot: Snapshot, host: str) -> bool:
    service = snapshot.service_of_host(Hostname(host)) if host else None
    return service is not None and not (service.external or service.external_name)


def _edge(row: Json) -> Edge:
    source, destination = row["source"], row["destination"]
    inside = destination["workload"] not in ("", UNKNOWN)
    security = row["security"]
    encrypted, plaintext = int(security["mutualTls"]), int(security["plaintext"])
    total = int(row["requests"])
    if not total:
        total = int(row["tcp"]["opened"])
        known = UNKNOWN not in (source["principal"], destination["principal"])
        encrypted, plaintext = (total, 0) if known else (0, total)
    host = row["service"]["host"]
    return Edge(
        source["namespace"],
        source["workload"],
        destination["namespace"] if inside else "",
        destination["workload"] if inside else "",
        host,
        encrypted,
        plaintext,
        total,
        registered=_is_registered(host),
    )


def _is_registered(host: str) -> bool:
    """Envoy's clusters for what nobody registered are called Passthrough and BlackHole."""
    return host not in ("", UNKNOWN, "PassthroughCluster", "BlackHoleCluster")


def recording_of(client: ApiClient, namespace: str = "") -> tuple[Json | None, tuple[Call, ...]]:
    """The last recording, and what it saw. Raises CliError when Mixer does not answer."""
    params = {"namespace": namespace} if namespace else {}
    answer = client.get(f"{MIXER}/records/observed", **params)
    return answer["recording"], tuple(_call(item) for item in answer["items"])


def calls_of(client: ApiClient) -> tuple[Call, ...] | None:
    """None where nothing was recorded."""
    recording, calls = recording_of(client)
    return calls if recording is not None else None


def _call(item: Json) -> Call:
    return Call(
        principal=item["sourcePrincipal"],
        namespace=item["namespace"],
        workload=item["workload"],
        port=int(item["port"]),
        http=item["protocol"] == "HTTP",
        method=item["method"],
        path=item["path"],
        count=int(item["count"]),
        denied=int(item["denied"]),
        first=float(item["first"]),
        last=float(item["last"]),
    )


def _measured(ask: Callable[[], T | None], what: str, unmeasured: list[str]) -> T | None:
    try:
        return ask()
    except CliError as error:
        unmeasured.append(f"{what}: {error}")
        return None
