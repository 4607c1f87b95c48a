"""What must hold for one Sidecar alone.

Rules as in Istio's validation (``pkg/config/validation/validation.go``).
"""

from collections.abc import Iterator

from argosy.api.networking_sidecar import (
    IstioEgressListener,
    IstioIngressListener,
    OutboundTrafficPolicy,
    Sidecar,
    SidecarPort,
)
from argosy.api.typed import Mistake, did_you_mean, short
from argosy.api.validate_gateway import check_server_tls
from argosy.api.validate_metadata import check_labels, is_dns_label
from argosy.api.validate_traffic import check_connection_pool
from argosy.api.validate_values import check_host, check_port, is_ip, warning

PROTOCOLS = (
    "HTTP",
    "HTTPS",
    "HTTP2",
    "GRPC",
    "GRPC-WEB",
    "TCP",
    "TLS",
    "MONGO",
    "REDIS",
    "MYSQL",
)
"""Compared without case."""

HTTP_PROXY = "HTTP_PROXY"
"""Of egress listeners: clients send absolute URLs, for hosts and ports of all kinds."""

UNIX = "unix://"
TERMINATED_MODES = ("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL")
_ENDPOINT_HOSTS = ("127.0.0.1", "0.0.0.0", "[::1]", "[::]")
_RESERVED_PORTS = frozenset({15000, 15001, 15006, 15020, 15021, 15053, 15090})
"""The proxy listens there itself."""

_TLS_PROTOCOLS = ("HTTPS", "TLS")


def validate_sidecar(sidecar: Sidecar) -> Iterator[Mistake]:
    spec = sidecar.spec
    if spec.workload_selector is not None:
        yield from check_labels(spec.workload_selector.labels, "spec.workloadSelector.labels")
    if spec.ingress and (spec.workload_selector is None or not spec.workload_selector.labels):
        message = "ingress listeners are those of certain workloads: a workloadSelector is usual"
        yield warning("spec.ingress", "MissingSelector", message, "Write workloadSelector.labels")
    ports: dict[int, int] = {}
    for i, ingress in enumerate(spec.ingress):
        path = f"spec.ingress[{i}]"
        other = ports.setdefault(ingress.port.number, i)
        if other != i:
            message = f"port {ingress.port.number} is that of ingress[{other}] already"
            yield Mistake(f"{path}.port.number", "Duplicate", message)
        yield from _ingress(ingress, path)
    yield from _egress_listeners(spec.egress)
    sockets = {
        (listener.bind or "127.0.0.1", listener.port.number)
        for listener in spec.egress
        if listener.port is not None and (listener.bind or listener.capture_mode == "NONE")
    }
    for i, ingress in enumerate(spec.ingress):
        if (ingress.bind, ingress.port.number) in sockets:
            message = f"an egress listener is at {ingress.bind}:{ingress.port.number} already"
            yield Mistake(f"spec.ingress[{i}].bind", "Duplicate", message)
    yield from check_connection_pool(spec.inbound_connection_pool, "spec.inboundConnectionPool")
    if spec.outbound_traffic_policy is not None:
        yield from _outbound(spec.outbound_traffic_policy, "spec.outboundTrafficPolicy")


def _ingress(listener: IstioIngressListener, path: str) -> Iterator[Mistake]:
    yield from _port(listener.port, f"{path}.port")
    yield from check_port(listener.port.number, f"{path}.port.number")
    yield from _bind(listener.bind, f"{path}.bind")
    if listener.bind.startswith(UNIX):
        message = "an ingress listener binds an address, not a UNIX socket"
        yield Mistake(f"{path}.bind", "InvalidAddress", message, "Write an IP address")
    yield from _default_endpoint(listener.default_endpoint, f"{path}.defaultEndpoint")
    yield from check_connection_pool(listener.connection_pool, f"{path}.connectionPool")
    tls = listener.tls
    if tls is None:
        return
    where = f"{path}.tls"
    if tls.mode not in TERMINATED_MODES:
        message = f"mode {tls.mode} is for gateways"
        hint = f"Use one of {', '.join(TERMINATED_MODES)}"
        yield Mistake(f"{where}.mode", "InvalidValue", message, hint)
        return
    if listener.port.protocol.upper() not in _TLS_PROTOCOLS:
        message = f"tls settings do not go with protocol {listener.port.protocol}"
        yield Mistake(where, "ConflictingFields", message, "Write protocol: HTTPS or TLS")
    if tls.https_redirect:
        message = "httpsRedirect is for gateways"
        yield Mistake(f"{where}.httpsRedirect", "NotAllowed", message, "Remove it")
    for name, value in (
        ("credentialName", tls.credential_name),
        ("credentialNames", tls.credential_names),
        ("tlsCertificates", tls.tls_certificates),
    ):
        if value:
            message = f"a sidecar's certificates are files, so {name} cannot be used here"
            hint = "Mount a Secret (sidecar.istio.io/userVolumeMount), write serverCertificate"
            yield Mistake(f"{where}.{name}", "NotAllowed", message, hint)
    yield from check_server_tls(tls, where)


def _default_endpoint(text: str, path: str) -> Iterator[Mistake]:
    if not text:
        return
    hint = "Write 127.0.0.1:PORT, 0.0.0.0:PORT (the workload's own address) or unix:///PATH"
    if text.startswith(UNIX):
        if not text.removeprefix(UNIX).startswith(("/", "@")):
            yield Mistake(path, "InvalidAddress", f"{short(text)} is not a socket's path", hint)
        return
    host, _, port = text.rpartition(":")
    if host not in _ENDPOINT_HOSTS or not port.isascii() or not port.isdigit():
        message = f"{short(text)} is no place of the application beside the proxy"
        yield Mistake(path, "InvalidAddress", message, hint)
        return
    yield from check_port(int(port), path)


def _egress_listeners(listeners: tuple[IstioEgressListener, ...]) -> Iterator[Mistake]:
    places: dict[tuple[str, int], int] = {}
    for i, listener in enumerate(listeners):
        path = f"spec.egress[{i}]"
        if listener.port is None and i != len(listeners) - 1:
            message = "a listener without port is for all other ports, so it must come last"
            yield Mistake(path, "Unreachable", message, "Move it to the end, or give it a port")
        if listener.port is not None:
            other = places.setdefault((listener.bind, listener.port.number), i)
            if other != i:
                message = f"egress[{other}] has the same bind and port"
                yield Mistake(f"{path}.port.number", "Duplicate", message)
        yield from _egress(listener, path)


def _egress(listener: IstioEgressListener, path: str) -> Iterator[Mistake]:
    yield from _bind(listener.bind, f"{path}.bind")
    is_unix = listener.bind.startswith(UNIX)
    if listener.port is None:
        if listener.bind:
            message = "a listener for all ports cannot bind an address of its own"
            yield Mistake(f"{path}.bind", "ConflictingFields", message, "Write port")
    else:
        yield from _port(listener.port, f"{path}.port", HTTP_PROXY)
        if not is_unix:
            yield from check_port(listener.port.number, f"{path}.port.number")
        elif listener.port.number:
            message = "the port's number must be 0 where a socket is bound"
            yield Mistake(f"{path}.port.number", "ConflictingFields", message)
    if is_unix and listener.capture_mode == "IPTABLES":
        message = "connections to a UNIX socket cannot be captured"
        yield Mistake(f"{path}.captureMode", "ConflictingFields", message, "Write NONE")
    if not listener.hosts:
        message = "the listener has no hosts"
        yield Mistake(f"{path}.hosts", "MissingField", message, 'Write "*/*" for all')
    for i, host in enumerate(listener.hosts):
        yield from _egress_host(host, f"{path}.hosts[{i}]")


def _egress_host(host: str, path: str) -> Iterator[Mistake]:
    """``namespace/host``; the namespace may be ``*``, ``.`` or ``~``."""
    namespace, slash, name = host.partition("/")
    hint = "Write namespace/host, ./host, */host or ~/*"
    if not slash:
        yield Mistake(path, "InvalidHost", f"{short(host)} has no namespace", hint)
        return
    if namespace not in ("*", ".", "~") and not is_dns_label(namespace):
        yield Mistake(path, "InvalidHost", f"{short(namespace)} is not a namespace", hint)
    if namespace == "~" and name != "*":
        yield Mistake(path, "InvalidHost", "the namespace ~ means nothing at all", "Write ~/*")
    else:
        yield from check_host(name, path)


def _port(port: SidecarPort, path: str, *more: str) -> Iterator[Mistake]:
    """Without a protocol it is found out; the name is optional."""
    known = (*PROTOCOLS, *more)
    if port.protocol and port.protocol.upper() not in known:
        hint = did_you_mean(port.protocol.upper(), known) or f"Use one of {', '.join(known)}"
        message = f"{short(port.protocol)} is not a protocol"
        yield Mistake(f"{path}.protocol", "InvalidValue", message, hint)
    if port.number in _RESERVED_PORTS:
        message = f"port {port.number} is one of the proxy's own"
        yield Mistake(f"{path}.number", "ReservedPort", message, "Choose another port")
    if port.name and not is_dns_label(port.name):
        message = f"{short(port.name)} is not the name of a port"
        hint = "Use lower case letters, digits and -"
        yield Mistake(f"{path}.name", "InvalidValue", message, hint)
    if port.target_port:
        message = "targetPort has no effect"
        yield warning(f"{path}.targetPort", "NoEffect", message, "Write defaultEndpoint")


def _bind(bind: str, path: str) -> Iterator[Mistake]:
    if bind.startswith(UNIX):
        socket = bind.removeprefix(UNIX)
        if not socket.startswith(("/", "@")) or len(socket) > 107:
            message = f"{short(bind)} is not the path of a socket"
            yield Mistake(path, "InvalidAddress", message, "Write unix:///path or unix://@name")
    elif bind and not is_ip(bind):
        message = f"{short(bind)} is not an IP address"
        yield Mistake(path, "InvalidAddress", message, "Write an address or unix:///path")


def _outbound(policy: OutboundTrafficPolicy, path: str) -> Iterator[Mistake]:
    proxy = policy.egress_proxy
    if proxy is None:
        return
    if policy.mode != "ALLOW_ANY":
        message = "egressProxy is where unknown traffic goes, and this mode lets none go"
        yield Mistake(f"{path}.egressProxy", "ConflictingFields", message, "Write mode: ALLOW_ANY")
    yield from check_host(proxy.host, f"{path}.egressProxy.host")
    if proxy.port is None:
        message = "the egress proxy's port is not given"
        yield Mistake(f"{path}.egressProxy.port", "MissingField", message, "Write port.number")
