"""Telemetry of ``telemetry.istio.io``.

Fields as in https://istio.io/latest/docs/reference/config/telemetry/
"""

from collections.abc import Mapping
from typing import Literal

from argosy.api.meta import Duration, IstioStatus, Object, Part, WorkloadSelector
from argosy.api.policy_target import PolicyTargetReference

WorkloadMode = Literal["CLIENT_AND_SERVER", "CLIENT", "SERVER"]

IstioMetric = Literal[
    "ALL_METRICS",
    "REQUEST_COUNT",
    "REQUEST_DURATION",
    "REQUEST_SIZE",
    "RESPONSE_SIZE",
    "TCP_OPENED_CONNECTIONS",
    "TCP_CLOSED_CONNECTIONS",
    "TCP_SENT_BYTES",
    "TCP_RECEIVED_BYTES",
    "GRPC_REQUEST_MESSAGES",
    "GRPC_RESPONSE_MESSAGES",
]


class ProviderRef(Part, frozen=True, kw_only=True):
    """The name of one of MeshConfig's ``extensionProviders``."""

    name: str


class ModeSelector(Part, frozen=True, kw_only=True):
    mode: WorkloadMode = "CLIENT_AND_SERVER"


class Literally(Part, frozen=True, kw_only=True):
    value: str


class Environment(Part, frozen=True, kw_only=True):
    """``name`` is a variable of the proxy's environment."""

    name: str
    default_value: str = ""


class RequestHeader(Part, frozen=True, kw_only=True):
    name: str
    default_value: str = ""


class Formatter(Part, frozen=True, kw_only=True):
    """``value`` is text with Envoy's command operators."""

    value: str


class CustomTag(Part, frozen=True, kw_only=True):
    """Exactly one of them."""

    literal: Literally | None = None
    environment: Environment | None = None
    header: RequestHeader | None = None
    formatter: Formatter | None = None


class Tracing(Part, frozen=True, kw_only=True):
    """None is what the wider object says."""

    match: ModeSelector | None = None
    providers: tuple[ProviderRef, ...] = ()
    random_sampling_percentage: float | None = None
    disable_span_reporting: bool | None = None
    custom_tags: Mapping[str, CustomTag] | None = None
    use_request_id_for_trace_sampling: bool | None = None
    enable_istio_tags: bool | None = None
    disable_context_propagation: bool | None = None


class TagOverride(Part, frozen=True, kw_only=True):
    """``value`` is a CEL expression."""

    operation: Literal["UPSERT", "REMOVE"] = "UPSERT"
    value: str = ""


class MetricSelector(Part, frozen=True, kw_only=True):
    """At most one of ``metric`` and ``custom_metric``; neither is every metric."""

    metric: IstioMetric | None = None
    custom_metric: str | None = None
    mode: WorkloadMode = "CLIENT_AND_SERVER"


class MetricsOverrides(Part, frozen=True, kw_only=True):
    match: MetricSelector | None = None
    disabled: bool | None = None
    tag_overrides: Mapping[str, TagOverride] = {}


class Metrics(Part, frozen=True, kw_only=True):
    providers: tuple[ProviderRef, ...] = ()
    overrides: tuple[MetricsOverrides, ...] = ()
    reporting_interval: Duration | None = None


class AccessLogFilter(Part, frozen=True, kw_only=True):
    """``expression`` is CEL."""

    expression: str = ""


class AccessLogging(Part, frozen=True, kw_only=True):
    match: ModeSelector | None = None
    providers: tuple[ProviderRef, ...] = ()
    disabled: bool | None = None
    filter: AccessLogFilter | None = None


class TelemetrySpec(Part, frozen=True, kw_only=True):
    """``target_ref`` is the older form of ``target_refs``."""

    selector: WorkloadSelector | None = None
    target_ref: PolicyTargetReference | None = None
    target_refs: tuple[PolicyTargetReference, ...] = ()
    tracing: tuple[Tracing, ...] = ()
    metrics: tuple[Metrics, ...] = ()
    access_logging: tuple[AccessLogging, ...] = ()


class Telemetry(Object, frozen=True, kw_only=True):
    api_version: str = "telemetry.istio.io/v1"
    kind: str = "Telemetry"
    spec: TelemetrySpec = TelemetrySpec()
    status: IstioStatus | None = None
