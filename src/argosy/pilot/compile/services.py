"""Kubernetes Services → services of the mesh."""

from argosy.api import core
from argosy.base.names import Hostname, Namespace
from argosy.base.problems import Compiled
from argosy.model.service import Protocol, Resolution, Service, ServicePort
from argosy.pilot.compile.mesh import DEFAULT_MESH, PUBLIC, Mesh
from argosy.pilot.compile.report import Report

EXPORT_TO = "networking.istio.io/exportTo"
HEADLESS = "None"
"""What ``clusterIP`` says of a service without a virtual address."""

SERVER_FIRST_PORTS = frozenset({25, 53, 3306, 27017})
"""SMTP, DNS, MySQL and MongoDB: their servers speak first, so detection would wait for ever.

https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/
"""

_PROTOCOLS = {
    "http": Protocol.HTTP,
    "http2": Protocol.HTTP2,
    "grpc": Protocol.GRPC,
    "https": Protocol.HTTPS,
    "tls": Protocol.TLS,
    "tcp": Protocol.TCP,
    "mongo": Protocol.MONGO,
    "redis": Protocol.REDIS,
    "mysql": Protocol.MYSQL,
}

_KUBERNETES_APP_PROTOCOLS = {
    "kubernetes.io/h2c": Protocol.HTTP2,
    "kubernetes.io/ws": Protocol.HTTP,
    "kubernetes.io/wss": Protocol.HTTPS,
}
"""https://kubernetes.io/docs/concepts/services-networking/service/#application-protocol"""

_GRPC_WEB = "grpc-web"


def service(written: core.Service, mesh: Mesh = DEFAULT_MESH) -> Compiled[Service | None]:
    """Only TCP ports are kept. An ExternalName is resolved by DNS, if it is not of the mesh."""
    report = Report(written.key)
    spec = written.spec
    alias = spec.external_name.lower().removesuffix(".") if spec.type == "ExternalName" else ""
    outside = bool(alias) and not alias.endswith(f".svc.{mesh.domain}")
    namespace = Namespace(written.metadata.namespace)
    name = written.metadata.name
    compiled = Service(
        hostname=Hostname(f"{name}.{namespace}.svc.{mesh.domain}".lower()),
        name=name,
        namespace=namespace,
        ports=tuple(_port(port) for port in spec.ports if port.protocol == "TCP"),
        addresses=_addresses(spec),
        selector=() if alias else tuple(sorted(spec.selector.items())),
        headless=spec.cluster_ip == HEADLESS,
        publish_not_ready=spec.publish_not_ready_addresses,
        export_to=_export_to(written, mesh.service_export_to),
        resolution=Resolution.DNS if outside else Resolution.ENDPOINTS,
        external=outside,
        external_name=alias,
    )
    return Compiled(compiled, tuple(report.problems))


def protocol_of(number: int, name: str, app_protocol: str) -> Protocol:
    """``appProtocol`` wins over the port's name ``<protocol>[-<suffix>]``; AUTO when neither says.

    https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/
    """
    if app_protocol in _KUBERNETES_APP_PROTOCOLS:
        return _KUBERNETES_APP_PROTOCOLS[app_protocol]
    known = protocol_named(app_protocol or name)
    if known is not None:
        return known
    return Protocol.TCP if number in SERVER_FIRST_PORTS else Protocol.AUTO


def protocol_named(text: str) -> Protocol | None:
    """``http``, ``http-web``, ``GRPC-Web``; None when it says nothing."""
    hint = text.lower()
    if hint.startswith(_GRPC_WEB):
        return Protocol.GRPC_WEB
    return _PROTOCOLS.get(hint.partition("-")[0])


def export_to(written: tuple[str, ...], namespace: Namespace) -> frozenset[str]:
    """Istio's ``.`` (own namespace), ``~`` (nobody) and ``*`` resolved: namespaces, or ``*``."""
    if PUBLIC in written:
        return frozenset({PUBLIC})
    return frozenset(namespace if item == "." else item for item in written if item != "~")


def _export_to(written: core.Service, default: tuple[str, ...]) -> frozenset[str]:
    annotation = written.metadata.annotations.get(EXPORT_TO, "")
    items = tuple(item.strip() for item in annotation.split(",") if item.strip())
    namespace = Namespace(written.metadata.namespace)
    return export_to(items or default, namespace)


def _port(port: core.ServicePort) -> ServicePort:
    return ServicePort(
        number=port.port,
        name=port.name,
        protocol=protocol_of(port.port, port.name, port.app_protocol),
        target=port.port if port.target_port is None else port.target_port,
    )


def _addresses(spec: core.ServiceSpec) -> tuple[str, ...]:
    written = spec.cluster_ips or (spec.cluster_ip,)
    return tuple(address for address in written if address not in ("", HEADLESS))
