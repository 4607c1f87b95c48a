"""What must hold for one Gateway alone.

Rules as in Istio's validation (``pkg/config/validation/validation.go``).
"""

from collections.abc import Iterator

from argosy.api.networking_gateway import Gateway, Port, Server, ServerTLSSettings
from argosy.api.typed import Mistake, did_you_mean, short
from argosy.api.validate_metadata import check_labels, is_dns_label
from argosy.api.validate_values import check_host, check_port, check_unique, is_ip, warning

PROTOCOLS = ("HTTP", "HTTPS", "HTTP2", "GRPC", "GRPC-WEB", "TCP", "TLS", "MONGO", "REDIS", "MYSQL")
"""Compared without case."""

_TLS = frozenset({"HTTPS", "TLS"})
_HTTP = frozenset({"HTTP", "HTTP2", "GRPC", "GRPC-WEB"})
_UNIX = "unix://"


def validate_gateway(gateway: Gateway) -> Iterator[Mistake]:
    spec = gateway.spec
    if not spec.servers:
        yield Mistake("spec.servers", "MissingField", "a gateway needs at least one server")
    yield from check_labels(spec.selector, "spec.selector")
    if not spec.selector:
        message = "a gateway without selector is for every gateway proxy"
        yield warning("spec.selector", "EmptySelector", message, "Write istio: ingressgateway")
    names = (server.port.name for server in spec.servers)
    yield from check_unique(names, "spec.servers", "port.name", "servers' ports")
    for i, server in enumerate(spec.servers):
        yield from _server(server, f"spec.servers[{i}]")


def _server(server: Server, path: str) -> Iterator[Mistake]:
    if not server.hosts:
        yield Mistake(
            f"{path}.hosts", "MissingField", "the server has no hosts", 'Write "*" for all'
        )
    for i, host in enumerate(server.hosts):
        yield from _host(host, f"{path}.hosts[{i}]")
    yield from _port(server.port, server.bind, f"{path}.port")
    yield from _bind(server, f"{path}.bind")
    if server.default_endpoint:
        message = "defaultEndpoint has no effect, as in Istio"
        hint = "Remove it; a VirtualService for the Gateway says where requests go"
        yield warning(f"{path}.defaultEndpoint", "NoEffect", message, hint)
    protocol = server.port.protocol.upper()
    where = f"{path}.tls"
    tls = server.tls
    if tls is None:
        if protocol in _TLS:
            message = f"a server of protocol {protocol} needs tls settings"
            yield Mistake(where, "MissingField", message)
        return
    yield from check_server_tls(tls, where)
    if protocol in _HTTP and (tls.mode != "PASSTHROUGH" or tls.server_certificate):
        message = f"a server of protocol {protocol} is plain text: only httpsRedirect is allowed"
        yield Mistake(where, "ConflictingFields", message, "Write protocol: HTTPS")
    elif protocol in PROTOCOLS and protocol not in _TLS | _HTTP:
        message = f"a server of protocol {protocol} cannot have tls settings"
        yield Mistake(where, "ConflictingFields", message, "Write protocol: TLS")
    if tls.https_redirect and protocol not in _HTTP:
        message = f"httpsRedirect has no effect with protocol {protocol}"
        yield warning(f"{where}.httpsRedirect", "NoEffect", message)


def _host(host: str, path: str) -> Iterator[Mistake]:
    """``[namespace/]host``; the namespace may be ``*`` or ``.``, the host an IP address too."""
    namespace, slash, name = host.rpartition("/")
    if slash and namespace not in ("*", ".") and not is_dns_label(namespace):
        message = f"{short(namespace)} is not a namespace"
        yield Mistake(path, "InvalidHost", message, "Write namespace/host, ./host or */host")
    yield from check_host(name, path, ip=True)


def _port(port: Port, bind: str, path: str) -> Iterator[Mistake]:
    if port.protocol.upper() not in PROTOCOLS:
        hint = did_you_mean(port.protocol, PROTOCOLS) or f"Use one of {', '.join(PROTOCOLS)}"
        message = f"{short(port.protocol)} is not a protocol"
        yield Mistake(f"{path}.protocol", "InvalidValue", message, hint)
    if port.number or not bind.startswith(_UNIX):
        yield from check_port(port.number, f"{path}.number")
    if not port.name:
        yield Mistake(f"{path}.name", "MissingField", "the port has no name")
    if port.target_port:
        message = "targetPort has no effect: the gateway's Service maps ports"
        yield Mistake(f"{path}.targetPort", "NotAllowed", message, "Remove it")


def _bind(server: Server, path: str) -> Iterator[Mistake]:
    bind = server.bind
    if bind.startswith(_UNIX):
        socket = bind.removeprefix(_UNIX)
        if not socket.startswith(("/", "@")) or len(socket) > 107:
            message = f"{short(bind)} is not the path of a socket"
            yield Mistake(path, "InvalidAddress", message, "Write unix:///path or unix://@name")
        if server.port.number:
            message = "the port's number must be 0 where a socket is bound"
            yield Mistake(path, "ConflictingFields", message)
    elif bind and not is_ip(bind):
        message = f"{short(bind)} is not an IP address"
        yield Mistake(path, "InvalidAddress", message, "Write an address or unix:///path")


def check_server_tls(tls: ServerTLSSettings, path: str) -> Iterator[Mistake]:
    """Certificates fit the mode, and come from one source."""
    files = {
        "serverCertificate": tls.server_certificate,
        "privateKey": tls.private_key,
        "caCertificates": tls.ca_certificates,
        "tlsCertificates": tls.tls_certificates,
        "credentialName": tls.credential_name,
        "credentialNames": tls.credential_names,
    }
    written = [name for name, value in files.items() if value]
    yield from _versions(tls, path)
    if tls.mode == "ISTIO_MUTUAL":
        for name in written:
            message = f"mode ISTIO_MUTUAL uses the mesh's own certificates, not {name}"
            yield Mistake(f"{path}.{name}", "ConflictingFields", message, "Remove it")
        return
    if tls.mode in ("PASSTHROUGH", "AUTO_PASSTHROUGH"):
        for name in written:
            message = f"mode {tls.mode} does not use {name}"
            yield warning(f"{path}.{name}", "NoEffect", message, "Write mode: SIMPLE")
        return
    sources = [
        name for name in ("credentialName", "credentialNames", "tlsCertificates") if name in written
    ] + (["serverCertificate"] if tls.server_certificate and tls.private_key else [])
    if len(sources) > 1:
        message = f"{' and '.join(sources)} exclude each other"
        yield Mistake(path, "ConflictingFields", message, "Keep one way to give certificates")
    if len(tls.credential_names) > 2:
        message = "at most two credentials: one RSA, one ECDSA"
        yield Mistake(f"{path}.credentialNames", "OutOfRange", message)
    if tls.ca_crl and (tls.credential_name or tls.mode == "SIMPLE"):
        why = "mode SIMPLE" if tls.mode == "SIMPLE" else "credentialName"
        yield Mistake(f"{path}.caCrl", "ConflictingFields", f"caCrl does not go with {why}")
    if not (tls.credential_name or tls.credential_names):
        yield from _certificate_files(tls, path)


def _certificate_files(tls: ServerTLSSettings, path: str) -> Iterator[Mistake]:
    if tls.mode != "SIMPLE" and not tls.ca_certificates:
        message = f"mode {tls.mode} needs caCertificates to verify clients, or credentialName"
        yield Mistake(f"{path}.caCertificates", "MissingField", message)
    for i, certificate in enumerate(tls.tls_certificates):
        pair = {
            "serverCertificate": certificate.server_certificate,
            "privateKey": certificate.private_key,
        }
        for name in (name for name, value in pair.items() if not value):
            message = f"the certificate has no {name}"
            yield Mistake(f"{path}.tlsCertificates[{i}].{name}", "MissingField", message)
        if certificate.ca_certificates:
            message = "clients are verified by caCertificates of tls, whatever the certificate"
            where = f"{path}.tlsCertificates[{i}].caCertificates"
            yield warning(where, "NoEffect", message, "Write tls.caCertificates")
    if tls.tls_certificates:
        return
    pair = {"serverCertificate": tls.server_certificate, "privateKey": tls.private_key}
    for name in (name for name, value in pair.items() if not value):
        message = f"mode {tls.mode} needs {name}, or credentialName"
        yield Mistake(f"{path}.{name}", "MissingField", message, "Write credentialName")


def _versions(tls: ServerTLSSettings, path: str) -> Iterator[Mistake]:
    low, high = tls.min_protocol_version, tls.max_protocol_version
    if "TLS_AUTO" not in (low, high) and low > high:
        message = f"the highest version {high} is below the lowest {low}"
        yield Mistake(f"{path}.maxProtocolVersion", "ConflictingFields", message)
    if low in ("TLSV1_0", "TLSV1_1") and not tls.cipher_suites:
        message = f"{low} needs cipherSuites: the default ones are for TLS 1.2 and later"
        yield warning(f"{path}.minProtocolVersion", "NoEffect", message)
