"""Sidecars: which one rules a workload, and what it says of its two sides.

A Sidecar with a selector goes before its namespace's, that before the root namespace's; among
equals the oldest wins. https://istio.io/latest/docs/reference/config/networking/sidecar/
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from argosy.api import networking_sidecar as api
from argosy.api.validate_sidecar import HTTP_PROXY, UNIX
from argosy.base.names import Hostname, Namespace, ObjectKey
from argosy.base.problems import Compiled, Problem
from argosy.model.application import ApplicationEndpoint, Loopback, OwnAddress, UnixSocket
from argosy.model.authn import MtlsMode
from argosy.model.listener import OutboundTrafficPolicy
from argosy.model.proxy import ClusterKey
from argosy.model.route import Attachment
from argosy.model.service import Protocol, Service
from argosy.model.sidecar import (
    EVERY_NAMESPACE,
    OWN_NAMESPACE,
    Egress,
    EgressListener,
    Import,
    Ingress,
    IngressListener,
    Selection,
)
from argosy.model.traffic import FileCertificate, TerminatedTls, TrafficDefaults
from argosy.model.workload import Labels
from argosy.pilot.compile.hostnames import covers, is_wildcard, resolve
from argosy.pilot.compile.listeners import routed_by_port
from argosy.pilot.compile.report import Report
from argosy.pilot.compile.traffic_policy import connection_pool

EVERYTHING = Import(EVERY_NAMESPACE, Hostname("*"))
LOCALHOST = "127.0.0.1"
_EVERY_ADDRESS = ("", "0.0.0.0", "::")
_NO_NAMESPACE = "~"
_PROTOCOLS = {protocol.value.upper(): protocol for protocol in Protocol}


# Which one rules a workload.


def selection(written: api.Sidecar) -> Selection:
    selector = written.spec.workload_selector
    labels = frozenset() if selector is None else frozenset(selector.labels.items())
    return Selection(written.key, labels, written.metadata.creation_timestamp)


def ruling(
    own: Iterable[Selection], root: Iterable[Selection], namespace: Namespace, labels: Labels
) -> ObjectKey | None:
    """``own`` are the Sidecars of the workload's ``namespace``, ``root`` of the root namespace."""
    of_workload = frozenset(labels)
    fitting = [item for item in own if item.selects(namespace, of_workload)]
    for level in (
        (item for item in fitting if item.labels),
        (item for item in fitting if not item.labels),
        (item for item in root if not item.labels),
    ):
        found = min(level, key=lambda item: (item.created, item.key.name), default=None)
        if found is not None:
            return found.key
    return None


def conflicts(selections: Iterable[Selection]) -> tuple[Problem, ...]:
    """Of the Sidecars of one namespace, those that never rule because of an older one.

    Istio's IST0110 (the same workloads) and IST0111 (several without selector).
    """
    problems: list[Problem] = []
    winners: dict[frozenset[tuple[str, str]], Selection] = {}
    for item in sorted(selections, key=lambda item: (item.created, item.key.name)):
        winner = winners.setdefault(item.labels, item)
        if winner is item:
            continue
        if item.labels:
            Report(item.key, "spec.workloadSelector", problems).error(
                "ConflictingSidecarWorkloadSelectors",
                f"{winner.key} selects the same workloads and is older, so this one rules none",
                "merge the two, or select other workloads",
            )
        else:
            Report(item.key, "spec", problems).error(
                "MultipleSidecarsWithoutWorkloadSelectors",
                f"{winner.key} is for the whole namespace and older, so this one rules none",
                "keep one Sidecar without workloadSelector in a namespace",
            )
    return tuple(problems)


# The client's side.


def egress(written: api.Sidecar) -> Compiled[Egress | None]:
    """None: the proxies see and do what they would without this Sidecar."""
    report = Report(written.key)
    listeners = tuple(
        _egress_listener(listener, report.at(f"spec.egress[{index}]"))
        for index, listener in enumerate(written.spec.egress)
    )
    policy = written.spec.outbound_traffic_policy
    if not listeners and policy is None:
        return Compiled(None)
    compiled = Egress(
        listeners=listeners or (EgressListener((EVERYTHING,)),),
        outbound=None if policy is None else OutboundTrafficPolicy(policy.mode),
        egress_proxy=None if policy is None else _egress_proxy(policy, written.key.namespace),
    )
    return Compiled(compiled, tuple(report.problems))


def _egress_listener(written: api.IstioEgressListener, report: Report) -> EgressListener:
    imports = tuple(
        Import(namespace, Hostname(host.lower()))
        for namespace, _, host in (text.partition("/") for text in written.hosts)
        if namespace != _NO_NAMESPACE
    )
    bound = written.capture_mode == "NONE" or written.bind.startswith(UNIX)
    if written.port is None:
        if bound:
            report.at("captureMode").warning(
                "LoopbackListeners",
                "the proxy listens at 127.0.0.1 on the port of every service that is imported",
                "give each listener a port of its own",
            )
        return EgressListener(imports, bound=bound)
    name = written.port.protocol.upper()
    return EgressListener(
        imports,
        port=written.port.number,
        protocol=None if name == HTTP_PROXY else _protocol(name),
        bind=written.bind or (LOCALHOST if bound else ""),
        bound=bound,
    )


def _egress_proxy(policy: api.OutboundTrafficPolicy, namespace: Namespace) -> ClusterKey | None:
    proxy = policy.egress_proxy
    if proxy is None or proxy.port is None:
        return None
    return ClusterKey(proxy.port.number, proxy.subset, resolve(proxy.host, namespace))


def imports_service(items: Iterable[Import], service: Service, seen_from: Namespace) -> bool:
    """Whether a proxy in ``seen_from`` imports the service."""
    wanted = _of_namespace(items, service.namespace, seen_from)
    return any(covers(host, service.hostname) for host in wanted)


def imports_rules(items: Iterable[Import], attachment: Attachment, seen_from: Namespace) -> bool:
    """Whether a proxy in ``seen_from`` imports a VirtualService: it and an import share a host."""
    wanted = _of_namespace(items, attachment.object.namespace, seen_from)
    return any(covers(a, b) or covers(b, a) for a in attachment.hosts for b in wanted)


def _of_namespace(
    items: Iterable[Import], of: Namespace, seen_from: Namespace
) -> tuple[Hostname, ...]:
    return tuple(
        item.host
        for item in items
        if item.namespace in (EVERY_NAMESPACE, of)
        or (item.namespace == OWN_NAMESPACE and of == seen_from)
    )


def imported_namespaces(
    items: Iterable[Import], seen_from: Namespace
) -> frozenset[Namespace] | None:
    """Where to look for what is imported; None: everywhere."""
    found = {seen_from if i.namespace == OWN_NAMESPACE else Namespace(i.namespace) for i in items}
    return None if EVERY_NAMESPACE in found else frozenset(found)


def behind(listener: EgressListener, service: Service, port: int | None = None) -> Service | None:
    """The service with those ports that a listener serves; None if it has none of them.

    ``port``: a rule leads to this one of its ports only.
    """
    wanted = [
        p
        for p in service.ports
        if (listener.all_ports or p.number == listener.port) and port in (None, p.number)
    ]
    if not wanted:
        return None
    return service if len(wanted) == len(service.ports) else replace(service, ports=tuple(wanted))


def joined(one: Service | None, other: Service) -> Service:
    """The ports that either has, of two parts of one service."""
    if one is None or one.ports == other.ports:
        return other
    ports = {port.number: port for port in (*one.ports, *other.ports)}
    return replace(other, ports=tuple(ports[number] for number in sorted(ports)))


def listener_of_port(egress: Egress, port: int) -> int | None:
    """Which listener's services the route table of ``port`` holds: its own, or the last one's."""
    for index, listener in enumerate(egress.listeners):
        if listener.port == port:
            return index
    last = len(egress.listeners) - 1
    return last if egress.listeners[last].port is None else None


def with_http_port(
    services: Iterable[Service], number: int, *, undeclared_too: bool = False
) -> tuple[Service, ...]:
    """Those with a port of this number that is declared HTTP, or found out at any address."""
    return tuple(
        service
        for service in services
        if any(
            p.number == number
            and (routed_by_port(service, p) or (undeclared_too and p.protocol is Protocol.AUTO))
            for p in service.ports
        )
    )


def check_egress(
    written: Egress, owner: ObjectKey, sees: Iterable[Service], ruled: Collection[Hostname]
) -> tuple[Problem, ...]:
    """``sees``: what proxies of the Sidecar's own namespace see by it; ``ruled``: hosts of rules.

    The egress proxy must be one of these services; an import by name that brings nothing is
    mostly a misspelled one.
    """
    report = Report(owner)
    known = {service.hostname: service for service in sees}
    for index, listener in enumerate(written.listeners):
        for item in listener.imports:
            if not is_wildcard(item.host) and item.host not in known and item.host not in ruled:
                report.at(f"spec.egress[{index}].hosts").warning(
                    "HostNotFound",
                    f"{item.namespace}/{item.host} is no service that is exported to "
                    f"{owner.namespace}, or has no port that this listener serves",
                    "write the full name <name>.<namespace>.svc.cluster.local",
                )
    wanted = written.egress_proxy
    if wanted is None:
        return tuple(report.problems)
    report = report.at("spec.outboundTrafficPolicy.egressProxy")
    found = known.get(Hostname(wanted.host))
    if found is None:
        report.at("host").error(
            "HostNotFound",
            f"{wanted.host} is no service that this Sidecar imports; unknown traffic is refused",
            "import it in egress[].hosts, and check the spelling",
        )
    elif found.get_port(wanted.port) is None:
        ports = ", ".join(str(port.number) for port in found.ports)
        report.at("port").error(
            "PortNotFound",
            f"{wanted.host} has no port {wanted.port}; unknown traffic is refused",
            f"its ports: {ports}",
        )
    return tuple(report.problems)


# The workload's side.


def ingress(written: api.Sidecar, defaults: TrafficDefaults) -> Compiled[Ingress]:
    report = Report(written.key)
    listeners = tuple(
        _ingress_listener(listener, defaults, report.at(f"spec.ingress[{index}]"))
        for index, listener in enumerate(written.spec.ingress)
    )
    pool = connection_pool(written.spec.inbound_connection_pool, defaults)
    compiled = Ingress(written.key, listeners, None if pool is None else pool.pool)
    return Compiled(compiled, tuple(report.problems))


def _ingress_listener(
    written: api.IstioIngressListener, defaults: TrafficDefaults, report: Report
) -> IngressListener:
    bind = written.bind if written.capture_mode == "NONE" else ""
    if written.bind and not bind:
        report.at("bind").warning(
            "NoEffect",
            "connections are captured whatever address they are for, so bind has no effect",
            "write captureMode: NONE, or remove bind",
        )
    if written.capture_mode == "NONE" and bind in _EVERY_ADDRESS:
        bind = ""
        report.at("captureMode").warning(
            "NoEffect",
            "connections to the workload are always captured, so no socket is opened for them",
            "write a bind address if the application itself shall call this listener",
        )
    pool = connection_pool(written.connection_pool, defaults)
    return IngressListener(
        port=written.port.number,
        protocol=_protocol(written.port.protocol),
        name=written.port.name,
        endpoint=_endpoint(written.default_endpoint),
        bind=bind,
        tls=_terminated(written),
        pool=None if pool is None else pool.pool,
    )


def _protocol(written: str) -> Protocol:
    """Without one it is found out from the first bytes."""
    return _PROTOCOLS[written.upper()] if written else Protocol.AUTO


def _endpoint(written: str) -> ApplicationEndpoint:
    if not written:
        return OwnAddress()
    if written.startswith(UNIX):
        return UnixSocket(written.removeprefix(UNIX))
    host, _, port = written.rpartition(":")
    if host in ("0.0.0.0", "[::]"):
        return OwnAddress(int(port))
    return Loopback(host.strip("[]"), int(port))


def _terminated(written: api.IstioIngressListener) -> TerminatedTls | None:
    tls = written.tls
    if tls is None:
        return None
    return TerminatedTls(
        certificate=FileCertificate(tls.server_certificate, tls.private_key),
        ca="" if tls.mode == "SIMPLE" else tls.ca_certificates,
        crl=tls.ca_crl,
        optional=tls.mode == "OPTIONAL_MUTUAL",
        names=tls.subject_alt_names,
        spki=tls.verify_certificate_spki,
        hashes=tls.verify_certificate_hash,
        minimum=tls.min_protocol_version,
        maximum=tls.max_protocol_version,
        ciphers=tls.cipher_suites,
    )


def check_termination(
    written: Ingress, mode: Callable[[int | None], MtlsMode]
) -> tuple[Problem, ...]:
    """``mode`` is what peer authentication demands on a port of these workloads."""
    report = Report(written.owner)
    for index, listener in enumerate(written.listeners):
        if listener.tls is not None and mode(listener.port) is not MtlsMode.DISABLE:
            report.at(f"spec.ingress[{index}].tls").error(
                "MutualTlsNotDisabled",
                f"port {listener.port} takes the mesh's own mTLS, so these settings have no effect",
                f"write portLevelMtls: {{{listener.port}: {{mode: DISABLE}}}} in a "
                "PeerAuthentication for these workloads",
            )
    return tuple(report.problems)
