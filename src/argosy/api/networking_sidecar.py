"""Sidecar of ``networking.istio.io``.

Fields as in https://istio.io/latest/docs/reference/config/networking/sidecar/
"""

from collections.abc import Mapping
from typing import Literal

from argosy.api.meta import IstioStatus, Object, Part, UInt32
from argosy.api.networking_destination_rule import ConnectionPoolSettings
from argosy.api.networking_gateway import ServerTLSSettings
from argosy.api.networking_virtual_service import Destination

CaptureMode = Literal["DEFAULT", "IPTABLES", "NONE"]
OutboundMode = Literal["REGISTRY_ONLY", "ALLOW_ANY"]


class SidecarPort(Part, frozen=True, kw_only=True):
    """``number`` 0 is for UNIX sockets. ``target_port`` is deprecated and has no effect."""

    number: UInt32 = 0
    protocol: str = ""
    name: str = ""
    target_port: UInt32 = 0


class LabelSelection(Part, frozen=True, kw_only=True):
    """``networking.WorkloadSelector``: all labels must be equal."""

    labels: Mapping[str, str] = {}


class OutboundTrafficPolicy(Part, frozen=True, kw_only=True):
    """``mode`` is REGISTRY_ONLY when it is not written, as protobuf's first value."""

    mode: OutboundMode = "REGISTRY_ONLY"
    egress_proxy: Destination | None = None


class IstioIngressListener(Part, frozen=True, kw_only=True):
    port: SidecarPort
    bind: str = ""
    capture_mode: CaptureMode = "DEFAULT"
    default_endpoint: str = ""
    tls: ServerTLSSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None


class IstioEgressListener(Part, frozen=True, kw_only=True):
    """``hosts`` are ``namespace/host``. Without ``port`` it is for every port that has no other."""

    port: SidecarPort | None = None
    bind: str = ""
    capture_mode: CaptureMode = "DEFAULT"
    hosts: tuple[str, ...] = ()


class SidecarSpec(Part, frozen=True, kw_only=True):
    workload_selector: LabelSelection | None = None
    ingress: tuple[IstioIngressListener, ...] = ()
    egress: tuple[IstioEgressListener, ...] = ()
    inbound_connection_pool: ConnectionPoolSettings | None = None
    outbound_traffic_policy: OutboundTrafficPolicy | None = None


class Sidecar(Object, frozen=True, kw_only=True):
    api_version: str = "networking.istio.io/v1"
    kind: str = "Sidecar"
    spec: SidecarSpec = SidecarSpec()
    status: IstioStatus | None = None
