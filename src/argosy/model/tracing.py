"""Traces of requests: which are reported, where to, and what spans tell."""

from dataclasses import dataclass
from datetime import timedelta

from argosy.model.proxy import ClusterKey
from argosy.model.span_tags import CustomTag

# Where spans go.


@dataclass(frozen=True, slots=True)
class CollectorHeader:
    """``variable``: ``value`` is the name of one in the proxy's environment."""

    name: str
    value: str
    variable: bool = False


Headers = tuple[CollectorHeader, ...]


@dataclass(frozen=True, slots=True)
class MixerProvider:
    """The mesh's own store, which every proxy with a Mixer reaches."""


@dataclass(frozen=True, slots=True)
class ZipkinProvider:
    """``max_tag_length`` 0, here and below: as usual. ``w3c``: ``traceparent`` is written and read
    beside B3's headers. ``short_trace_ids``: of 64 bits."""

    cluster: ClusterKey
    path: str = "/api/v2/spans"
    timeout: timedelta = timedelta(seconds=5)
    headers: Headers = ()
    max_tag_length: int = 0
    short_trace_ids: bool = False
    w3c: bool = False


@dataclass(frozen=True, slots=True)
class OtlpGrpc:
    """``timeout`` None: as long as it takes."""

    timeout: timedelta | None = None
    metadata: Headers = ()


@dataclass(frozen=True, slots=True)
class OtlpHttp:
    path: str
    timeout: timedelta = timedelta(seconds=5)
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class DynatraceSampler:
    """Who decides instead of a percentage; it asks ``cluster`` for how many of which requests."""

    tenant: str
    cluster_id: int
    cluster: ClusterKey
    http: OtlpHttp
    root_spans_per_minute: int = 0


@dataclass(frozen=True, slots=True)
class OpenTelemetryProvider:
    """``dynatrace``: spans tell what Dynatrace's agent knows of the host."""

    cluster: ClusterKey
    protocol: OtlpGrpc | OtlpHttp = OtlpGrpc()
    max_tag_length: int = 0
    dynatrace: bool = False
    sampler: DynatraceSampler | None = None


@dataclass(frozen=True, slots=True)
class DatadogProvider:
    cluster: ClusterKey
    max_tag_length: int = 0


@dataclass(frozen=True, slots=True)
class SkyWalkingProvider:
    cluster: ClusterKey
    access_token: str = ""


TracingProvider = (
    MixerProvider | ZipkinProvider | OpenTelemetryProvider | DatadogProvider | SkyWalkingProvider
)


@dataclass(frozen=True, slots=True)
class Tracing:
    """``random_sampling_percentage`` is of requests that nobody has decided about yet, 0 to 100;
    None: as the proxy's own configuration says.

    ``disable_span_reporting``: no spans are made, but what a request brings of its trace goes on.
    ``disable_context_propagation``: the proxy adds nothing of a trace to requests.
    ``use_request_id_for_sampling``: x-request-id tells the decision, and keeps it.
    ``custom_tags`` are sorted by name. ``enable_istio_tags``: spans tell of mesh, namespace,
    cluster and canonical service.
    """

    provider: TracingProvider
    random_sampling_percentage: float | None = None
    disable_span_reporting: bool = False
    disable_context_propagation: bool = False
    use_request_id_for_sampling: bool = True
    custom_tags: tuple[CustomTag, ...] = ()
    enable_istio_tags: bool = True
