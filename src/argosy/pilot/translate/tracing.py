"""Tracing of a connection manager: whom spans are sent to, of which requests, and what they tell.

Nothing of one proxy stands here, for listeners are shared: a proxy's name comes from its node or its
environment. https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/observability/tracing
"""

from typing import TypeAlias, assert_never

from envoy.config.core.v3 import (
    base_pb2,
    extension_pb2,
    grpc_service_pb2,
    http_service_pb2,
)
from envoy.config.trace.v3 import (
    datadog_pb2,
    http_tracer_pb2,
    opentelemetry_pb2,
    skywalking_pb2,
    zipkin_pb2,
)
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.request_id.uuid.v3 import uuid_pb2
from envoy.extensions.tracers.opentelemetry.resource_detectors.v3 import (
    dynatrace_resource_detector_pb2,
    environment_resource_detector_pb2,
)
from envoy.extensions.tracers.opentelemetry.samplers.v3 import dynatrace_sampler_pb2
from envoy.type.tracing.v3 import custom_tag_pb2
from google.protobuf.message import Message

from argosy.model.mixer import MIXER_CLUSTER
from argosy.model.proxy import ClusterKey
from argosy.model.span_tags import (
    DEFAULT_SAMPLING,
    ISTIO_TAGS,
    CustomTag,
    EnvironmentTag,
    FormatterTag,
    HeaderTag,
    LiteralTag,
    ProxyTracing,
)
from argosy.model.tracing import (
    CollectorHeader,
    DatadogProvider,
    DynatraceSampler,
    MixerProvider,
    OpenTelemetryProvider,
    OtlpGrpc,
    OtlpHttp,
    SkyWalkingProvider,
    Tracing,
    TracingProvider,
    ZipkinProvider,
)
from argosy.pilot.translate import names
from argosy.pilot.translate.rbac import DRY_RUN_ALLOW, DRY_RUN_DENY, HTTP_RBAC_FILTER

ZIPKIN = "envoy.tracers.zipkin"
OPENTELEMETRY = "envoy.tracers.opentelemetry"
DATADOG = "envoy.tracers.datadog"
SKYWALKING = "envoy.tracers.skywalking"
REQUEST_ID = "envoy.request_id.uuid"

UNNAMED = "envoy"
"""For tracers that demand a name: the proxy's environment has a better one, which goes before it."""

_ENVIRONMENT_DETECTOR = "envoy.tracers.opentelemetry.resource_detectors.environment"
_DYNATRACE_DETECTOR = "envoy.tracers.opentelemetry.resource_detectors.dynatrace"
_DYNATRACE_SAMPLER = "envoy.tracers.opentelemetry.samplers.dynatrace"

_NO_CONTEXT_PROPAGATION = b"\x68\x01"
"""Field 13 of ``Tracing``, true: Envoy has it, the generated code does not yet."""

_Manager: TypeAlias = http_connection_manager_pb2.HttpConnectionManager


def trace(
    manager: _Manager, tracing: Tracing | None, proxy: ProxyTracing, *, gateway: bool = False
) -> None:
    """``gateway``: what a gateway sends on is a span of its own, as in Istio.

    The three percentages are those of Istio's ``configureSampling`` (pilot/pkg/networking/core/tracing.go).
    What callers have decided follows from them: docs/tasks/distributed-tracing.md tells how.
    """
    if tracing is None or tracing.disable_span_reporting:
        return
    proto = manager.tracing
    provider = tracing.provider
    proto.provider.CopyFrom(_provider(provider))
    proto.client_sampling.value = 100.0
    proto.overall_sampling.value = 100.0
    proto.random_sampling.value = _sampling(tracing, proxy)
    if gateway or isinstance(provider, SkyWalkingProvider):
        proto.spawn_upstream_span.value = True
    if length := _max_tag_length(provider) or proxy.max_path_tag_length:
        proto.max_path_tag_length.value = length
    proto.custom_tags.extend(_tags(tracing, proxy))
    if tracing.disable_context_propagation:
        proto.MergeFromString(_NO_CONTEXT_PROPAGATION)
    if not tracing.use_request_id_for_sampling:
        config = uuid_pb2.UuidRequestIdConfig()
        config.use_request_id_for_trace_sampling.value = False
        manager.request_id_extension.typed_config.Pack(config, deterministic=True)


def _sampling(tracing: Tracing, proxy: ProxyTracing) -> float:
    """The sampler decides, if there is one: then every request is put to it."""
    if isinstance(tracing.provider, OpenTelemetryProvider) and tracing.provider.sampler is not None:
        return 100.0
    if tracing.random_sampling_percentage is not None:
        return tracing.random_sampling_percentage
    return DEFAULT_SAMPLING if proxy.sampling is None else proxy.sampling


def _max_tag_length(provider: TracingProvider) -> int:
    match provider:
        case ZipkinProvider() | OpenTelemetryProvider() | DatadogProvider():
            return provider.max_tag_length
        case MixerProvider() | SkyWalkingProvider():
            return 0
        case _:
            assert_never(provider)


# Providers.


def _provider(provider: TracingProvider) -> http_tracer_pb2.Tracing.Http:
    match provider:
        case MixerProvider():
            return _http(OPENTELEMETRY, _otlp(_grpc_service(MIXER_CLUSTER, MIXER_CLUSTER)))
        case ZipkinProvider():
            return _http(ZIPKIN, _zipkin(provider))
        case OpenTelemetryProvider():
            return _http(OPENTELEMETRY, _opentelemetry(provider))
        case DatadogProvider(cluster):
            config = datadog_pb2.DatadogConfig(
                collector_cluster=names.cluster_name(cluster),
                collector_hostname=cluster.host,
                service_name=UNNAMED,
            )
            return _http(DATADOG, config)
        case SkyWalkingProvider(cluster, token):
            walking = skywalking_pb2.SkyWalkingConfig(
                grpc_service=_grpc_service(names.cluster_name(cluster), cluster.host)
            )
            if token:
                walking.client_config.backend_token = token
            return _http(SKYWALKING, walking)
        case _:
            assert_never(provider)


def _http(name: str, config: Message) -> http_tracer_pb2.Tracing.Http:
    proto = http_tracer_pb2.Tracing.Http(name=name)
    proto.typed_config.Pack(config, deterministic=True)
    return proto


def _zipkin(provider: ZipkinProvider) -> zipkin_pb2.ZipkinConfig:
    # Two spans for the two ends of a call, and not one that both write.
    proto = zipkin_pb2.ZipkinConfig(
        collector_endpoint_version=zipkin_pb2.ZipkinConfig.HTTP_JSON,
        trace_id_128bit=not provider.short_trace_ids,
    )
    proto.shared_span_context.value = False
    if provider.w3c:
        proto.trace_context_option = zipkin_pb2.ZipkinConfig.USE_B3_WITH_W3C_PROPAGATION
    http = OtlpHttp(provider.path, provider.timeout, provider.headers)
    proto.collector_service.CopyFrom(_http_service(provider.cluster, http))
    return proto


def _opentelemetry(provider: OpenTelemetryProvider) -> opentelemetry_pb2.OpenTelemetryConfig:
    match provider.protocol:
        case OtlpHttp() as http:
            proto = _named(opentelemetry_pb2.OpenTelemetryConfig())
            proto.http_service.CopyFrom(_http_service(provider.cluster, http))
        case OtlpGrpc(timeout, metadata):
            service = _grpc_service(names.cluster_name(provider.cluster), provider.cluster.host)
            if timeout is not None:
                service.timeout.FromTimedelta(timeout)
            service.initial_metadata.extend(map(_header, metadata))
            proto = _otlp(service)
        case other:
            assert_never(other)
    if provider.dynatrace:
        detector = dynatrace_resource_detector_pb2.DynatraceResourceDetectorConfig()
        proto.resource_detectors.append(_extension(_DYNATRACE_DETECTOR, detector))
    if provider.sampler is not None:
        proto.sampler.CopyFrom(_extension(_DYNATRACE_SAMPLER, _dynatrace(provider.sampler)))
    return proto


def _otlp(service: grpc_service_pb2.GrpcService) -> opentelemetry_pb2.OpenTelemetryConfig:
    return _named(opentelemetry_pb2.OpenTelemetryConfig(grpc_service=service))


def _named(proto: opentelemetry_pb2.OpenTelemetryConfig) -> opentelemetry_pb2.OpenTelemetryConfig:
    """The proxy's environment says whose spans they are."""
    detector = environment_resource_detector_pb2.EnvironmentResourceDetectorConfig()
    proto.resource_detectors.append(_extension(_ENVIRONMENT_DETECTOR, detector))
    return proto


def _dynatrace(sampler: DynatraceSampler) -> dynatrace_sampler_pb2.DynatraceSamplerConfig:
    return dynatrace_sampler_pb2.DynatraceSamplerConfig(
        tenant=sampler.tenant,
        cluster_id=sampler.cluster_id,
        http_service=_http_service(sampler.cluster, sampler.http),
        root_spans_per_minute=sampler.root_spans_per_minute,
    )


def _grpc_service(cluster: str, authority: str) -> grpc_service_pb2.GrpcService:
    proto = grpc_service_pb2.GrpcService()
    proto.envoy_grpc.cluster_name = cluster
    proto.envoy_grpc.authority = authority
    return proto


def _http_service(cluster: ClusterKey, http: OtlpHttp) -> http_service_pb2.HttpService:
    proto = http_service_pb2.HttpService()
    path = http.path if http.path.startswith("/") else f"/{http.path}"
    proto.http_uri.uri = f"http://{cluster.host}{path}"
    proto.http_uri.cluster = names.cluster_name(cluster)
    proto.http_uri.timeout.FromTimedelta(http.timeout)
    for header in http.headers:
        option = proto.request_headers_to_add.add()
        option.header.CopyFrom(_header(header))
        option.append_action = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
    return proto


def _header(header: CollectorHeader) -> base_pb2.HeaderValue:
    literal = header.value.replace("%", "%%")
    value = f"%ENVIRONMENT({header.value})%" if header.variable else literal
    return base_pb2.HeaderValue(key=header.name, value=value)


def _extension(name: str, config: Message) -> extension_pb2.TypedExtensionConfig:
    proto = extension_pb2.TypedExtensionConfig(name=name)
    proto.typed_config.Pack(config, deterministic=True)
    return proto


# Tags.


def _tags(tracing: Tracing, proxy: ProxyTracing) -> list[custom_tag_pb2.CustomTag]:
    """Sorted by name; of two the user's own counts."""
    found: dict[str, custom_tag_pb2.CustomTag] = {}
    if tracing.enable_istio_tags:
        found |= {tag.tag: tag for tag in (*map(_tag, ISTIO_TAGS), *_dry_runs())}
    found |= {tag.name: _tag(tag) for tag in tracing.custom_tags or proxy.custom_tags}
    return [found[name] for name in sorted(found)]


def _tag(tag: CustomTag) -> custom_tag_pb2.CustomTag:
    proto = custom_tag_pb2.CustomTag(tag=tag.name)
    match tag:
        case LiteralTag(_, value):
            proto.literal.value = value
        case EnvironmentTag(_, variable, default):
            proto.environment.name = variable
            proto.environment.default_value = default
        case HeaderTag(_, header, default):
            proto.request_header.name = header
            proto.request_header.default_value = default
        case FormatterTag(_, text):
            proto.value = text
        case _:
            assert_never(tag)
    return proto


def _dry_runs() -> list[custom_tag_pb2.CustomTag]:
    """What policies that are only tried would have done; absent where there is none.

    https://istio.io/latest/docs/tasks/security/authorization/authz-dry-run/
    """
    found = []
    for action, prefix in (("allow", DRY_RUN_ALLOW), ("deny", DRY_RUN_DENY)):
        for name, key in (
            ("name", "shadow_effective_policy_id"),
            ("result", "shadow_engine_result"),
        ):
            tag = f"istio.authorization.dry_run.{action}_policy.{name}"
            proto = custom_tag_pb2.CustomTag(tag=tag)
            proto.metadata.kind.request.SetInParent()
            proto.metadata.metadata_key.key = HTTP_RBAC_FILTER
            proto.metadata.metadata_key.path.add().key = f"{prefix}{key}"
            found.append(proto)
    return found
