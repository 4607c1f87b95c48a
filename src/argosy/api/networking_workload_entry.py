"""WorkloadEntry and WorkloadGroup of ``networking.istio.io``.

Fields as in https://istio.io/latest/docs/reference/config/networking/workload-entry/ and
https://istio.io/latest/docs/reference/config/networking/workload-group/
"""

from collections.abc import Mapping
from typing import Literal

from argosy.api.meta import Int32, IstioStatus, Object, Part, UInt32

Scheme = Literal["", "HTTP", "HTTPS"]


class WorkloadEntrySpec(Part, frozen=True, kw_only=True):
    """``weight`` 0 counts as 1. ``ports`` maps names of service ports to numbers."""

    address: str = ""
    ports: Mapping[str, UInt32] = {}
    labels: Mapping[str, str] = {}
    network: str = ""
    locality: str = ""
    weight: UInt32 = 0
    service_account: str = ""


class WorkloadEntry(Object, frozen=True, kw_only=True):
    api_version: str = "networking.istio.io/v1"
    kind: str = "WorkloadEntry"
    spec: WorkloadEntrySpec = WorkloadEntrySpec()
    status: IstioStatus | None = None


class HTTPHeader(Part, frozen=True, kw_only=True):
    name: str = ""
    value: str = ""


class HTTPHealthCheck(Part, frozen=True, kw_only=True):
    port: UInt32 = 0
    path: str = ""
    host: str = ""
    scheme: Scheme = ""
    http_headers: tuple[HTTPHeader, ...] = ()


class TCPHealthCheck(Part, frozen=True, kw_only=True):
    port: UInt32 = 0
    host: str = ""


class ExecHealthCheck(Part, frozen=True, kw_only=True):
    command: tuple[str, ...] = ()


class GrpcHealthCheck(Part, frozen=True, kw_only=True):
    port: UInt32 = 0
    service: str | None = None


class ReadinessProbe(Part, frozen=True, kw_only=True):
    """0 is "not set": Istio's defaults are those of Kubernetes."""

    initial_delay_seconds: Int32 = 0
    timeout_seconds: Int32 = 0
    period_seconds: Int32 = 0
    success_threshold: Int32 = 0
    failure_threshold: Int32 = 0
    http_get: HTTPHealthCheck | None = None
    tcp_socket: TCPHealthCheck | None = None
    exec: ExecHealthCheck | None = None
    grpc: GrpcHealthCheck | None = None


class WorkloadGroupMetadata(Part, frozen=True, kw_only=True):
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}


class WorkloadGroupSpec(Part, frozen=True, kw_only=True):
    metadata: WorkloadGroupMetadata | None = None
    template: WorkloadEntrySpec | None = None
    probe: ReadinessProbe | None = None


class WorkloadGroup(Object, frozen=True, kw_only=True):
    api_version: str = "networking.istio.io/v1"
    kind: str = "WorkloadGroup"
    spec: WorkloadGroupSpec = WorkloadGroupSpec()
    status: IstioStatus | None = None
