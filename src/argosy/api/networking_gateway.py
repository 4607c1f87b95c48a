"""Gateway of ``networking.istio.io``.

Fields as in https://istio.io/latest/docs/reference/config/networking/gateway/
"""

from collections.abc import Mapping
from typing import Literal

from argosy.api.meta import IstioStatus, Object, Part, UInt32

ServerTLSMode = Literal[
    "PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"
]
TLSProtocol = Literal["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"]


class Port(Part, frozen=True, kw_only=True):
    """``target_port`` is deprecated and has no effect."""

    number: UInt32
    protocol: str
    name: str = ""
    target_port: UInt32 = 0


class TLSCertificate(Part, frozen=True, kw_only=True):
    server_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""


class ServerTLSSettings(Part, frozen=True, kw_only=True):
    """``mode`` is PASSTHROUGH when it is not written, as protobuf's first value."""

    https_redirect: bool = False
    mode: ServerTLSMode = "PASSTHROUGH"
    server_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""
    ca_crl: str = ""
    credential_name: str = ""
    credential_names: tuple[str, ...] = ()
    ca_cert_credential_name: str = ""
    tls_certificates: tuple[TLSCertificate, ...] = ()
    subject_alt_names: tuple[str, ...] = ()
    verify_certificate_spki: tuple[str, ...] = ()
    verify_certificate_hash: tuple[str, ...] = ()
    min_protocol_version: TLSProtocol = "TLS_AUTO"
    max_protocol_version: TLSProtocol = "TLS_AUTO"
    cipher_suites: tuple[str, ...] = ()
    insecure_skip_verify: bool | None = None


class Server(Part, frozen=True, kw_only=True):
    port: Port
    bind: str = ""
    hosts: tuple[str, ...] = ()
    tls: ServerTLSSettings | None = None
    default_endpoint: str = ""
    name: str = ""


class GatewaySpec(Part, frozen=True, kw_only=True):
    servers: tuple[Server, ...] = ()
    selector: Mapping[str, str] = {}


class Gateway(Object, frozen=True, kw_only=True):
    api_version: str = "networking.istio.io/v1"
    kind: str = "Gateway"
    spec: GatewaySpec = GatewaySpec()
    status: IstioStatus | None = None
