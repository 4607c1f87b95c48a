"""ProxyConfigs: which hold for a workload, and what they come to."""

from argosy.api.meta import Metadata, WorkloadSelector
from argosy.api.networking_proxy_config import ProxyConfig, ProxyConfigSpec
from argosy.api.proxy_config import ProxyConfig as Config
from argosy.api.proxy_config import proxy_config
from argosy.base.names import Namespace
from argosy.base.problems import Severity
from argosy.model.proxy import ProxyType
from argosy.model.proxy_traffic import USUAL_CAPTURE, Connections
from argosy.model.span_tags import DEFAULT_SAMPLING, LiteralTag, ProxyTracing
from argosy.pilot.compile.proxy_configs import conflicts, effective, ruling, traffic

ROOT, NAMESPACE = Namespace("istio-system"), Namespace("default")
LABELS = (("app", "curl"),)


def an_object(
    name: str, namespace: str, concurrency: int | None = None, app: str = "", **env: str
) -> ProxyConfig:
    selector = WorkloadSelector(match_labels={"app": app}) if app else None
    spec = ProxyConfigSpec(selector=selector, concurrency=concurrency, environment_variables=env)
    return ProxyConfig(metadata=Metadata(name=name, namespace=namespace), spec=spec)


def test_what_envoy_refuses_of_tracing_never_reaches_it() -> None:
    text = (
        "tracing: {sampling: -5, customTags: {b: {literal: {value: ''}}, a: {literal: {value: x}}}}"
    )
    config, mistakes = proxy_config(text, "here")
    assert [(m.field, m.severity) for m in mistakes] == [
        ("here.tracing.sampling", Severity.WARNING),
        ("here.tracing.customTags.b", Severity.WARNING),
    ]
    found = traffic(config, ProxyType.SIDECAR, USUAL_CAPTURE).tracing
    assert found == ProxyTracing(sampling=DEFAULT_SAMPLING, custom_tags=(LiteralTag("a", "x"),))


def test_the_narrower_goes_before_the_wider_field_by_field() -> None:
    """https://istio.io/latest/docs/reference/config/networking/proxy-config/"""
    root = an_object("root", ROOT, 1, A="root", B="root", C="root")
    wide = an_object("wide", NAMESPACE, 2, B="namespace", C="namespace")
    narrow = an_object("narrow", NAMESPACE, None, "curl", C="workload")
    other = an_object("other", NAMESPACE, 9, "other")
    found = ruling([narrow, other, wide, root], ROOT, NAMESPACE, LABELS)
    assert found == (root, wide, narrow)
    config = effective(Config(concurrency=7, service_cluster="mine"), found, "")
    assert config.concurrency == 2
    assert config.service_cluster == "mine"
    assert config.proxy_metadata == {"A": "root", "B": "namespace", "C": "workload"}
    annotated = effective(Config(), found, "concurrency: 4\nproxyMetadata: {C: pod}")
    assert annotated.concurrency == 4
    assert annotated.proxy_metadata["C"] == "pod"


def test_of_two_for_the_same_workloads_the_second_is_told() -> None:
    found = conflicts([an_object("b", NAMESPACE), an_object("a", NAMESPACE)])
    assert [problem.object.name for problem in found] == ["b"]


def test_an_annotation_with_errors_changes_nothing_and_unknown_fields_are_told() -> None:
    config, mistakes = proxy_config("concurrency: many", "at")
    assert config == Config()
    assert [mistake.field for mistake in mistakes] == ["at.concurrency"]
    config, mistakes = proxy_config("concurrency: 2\nstatNameLength: 5", "at")
    assert config.concurrency == 2
    assert len(mistakes) == 1


def test_a_part_of_the_edge_profile_may_be_set_otherwise() -> None:
    text = "connectionSettings: {profile: EDGE, httpMaxConcurrentStreams: 7}"
    config = proxy_config(text, "at")[0]
    found = traffic(config, ProxyType.ROUTER, USUAL_CAPTURE).connections
    assert found.max_concurrent_streams == 7
    assert found.buffer_limit == found.cluster_buffer_limit == 32 * 1024
    assert found.underscores == "REJECT_REQUEST"


def test_the_edge_profile_is_for_gateways_only() -> None:
    """https://istio.io/latest/docs/ops/configuration/traffic-management/edge-proxy/"""
    text = "connectionSettings: {profile: EDGE, httpMaxConcurrentStreams: 7}"
    config = proxy_config(text, "at")[0]
    found = traffic(config, ProxyType.SIDECAR, USUAL_CAPTURE).connections
    assert found == Connections(max_concurrent_streams=7)
