"""MeshConfig: Istio's defaults, and what each setting becomes."""

from datetime import timedelta

import msgspec
import pytest

from argosy.api.core import ConfigMap
from argosy.base.problems import Compiled
from argosy.model.listener import OutboundTrafficPolicy, PathNormalization
from argosy.model.proxy_traffic import CapturePorts
from argosy.model.telemetry import FileSink, JsonFormat, TextFormat
from argosy.model.traffic import TcpKeepalive, TlsParameters
from argosy.pilot.compile.mesh import DEFAULT_MESH, Mesh, mesh


def config_map(text: str) -> ConfigMap:
    metadata = {"name": "istio", "namespace": "istio-system"}
    whole = {"kind": "ConfigMap", "metadata": metadata, "data": {"mesh": text}}
    return msgspec.convert(whole, ConfigMap)


def compiled(text: str) -> Mesh:
    result = mesh(config_map(text))
    assert not result.problems
    return result.value


@pytest.mark.parametrize("text", ["", "{}", "enableAutoMtls: true"])
def test_what_is_not_said_has_istios_default(text: str) -> None:
    assert compiled(text) == DEFAULT_MESH
    assert mesh(None).value == DEFAULT_MESH


def test_defaults() -> None:
    assert DEFAULT_MESH.traffic.connect_timeout == timedelta(seconds=10)
    assert DEFAULT_MESH.traffic.auto_mtls
    assert DEFAULT_MESH.listeners.outbound is OutboundTrafficPolicy.ALLOW_ANY
    assert DEFAULT_MESH.listeners.path_normalization is PathNormalization.BASE
    assert DEFAULT_MESH.telemetry.log_file is None
    assert DEFAULT_MESH.telemetry.metrics == ("prometheus",)


def test_settings() -> None:
    found = compiled("""
connectTimeout: 2500ms
tcpKeepalive: {probes: 3, time: 2h}
enableAutoMtls: false
h2UpgradePolicy: DO_NOT_UPGRADE
trustDomain: mesh.test
trustDomainAliases: [old.test]
rootNamespace: config
inboundTrafficPolicy: {mode: LOCALHOST}
outboundTrafficPolicy: {mode: REGISTRY_ONLY}
pathNormalization: {normalization: MERGE_SLASHES}
protocolDetectionTimeout: 5s
defaultServiceExportTo: ["."]
defaultDestinationRuleExportTo: [a, b]
defaultTrafficPolicy:
  connectionPool: {http: {http1MaxPendingRequests: 7}}
  outlierDetection: {consecutive5xxErrors: 3}
""")
    traffic, listeners = found.traffic, found.listeners
    assert traffic.connect_timeout == timedelta(milliseconds=2500)
    assert traffic.tcp_keepalive == TcpKeepalive(3, timedelta(hours=2))
    assert not traffic.auto_mtls
    assert traffic.h2_upgrade is False
    assert (traffic.trust_domain, traffic.root_namespace) == ("mesh.test", "config")
    assert traffic.loopback
    assert traffic.policy.connection_pool is not None
    pool = traffic.policy.connection_pool.pool
    assert pool.max_pending_requests == 7
    assert pool.connect_timeout == timedelta(milliseconds=2500)
    assert pool.tcp_keepalive == traffic.tcp_keepalive
    assert traffic.policy.outlier_detection is not None
    assert traffic.policy.outlier_detection.consecutive_5xx == 3
    assert listeners.outbound is OutboundTrafficPolicy.REGISTRY_ONLY
    assert listeners.path_normalization is PathNormalization.MERGE_SLASHES
    assert listeners.detection_timeout == timedelta(seconds=5)
    assert listeners.trust_domains == ("mesh.test", "old.test")
    assert found.service_export_to == (".",)
    assert found.destination_rule_export_to == ("a", "b")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("accessLogFile: /dev/stdout", FileSink("/dev/stdout")),
        ("{accessLogFile: /a, accessLogFormat: x}", FileSink("/a", TextFormat("x\n"))),
        ("{accessLogFile: /a, accessLogEncoding: JSON}", FileSink("/a", JsonFormat())),
        (
            '{accessLogFile: /a, accessLogEncoding: JSON, accessLogFormat: \'{"b": "%PROTOCOL%"}\'}',
            FileSink("/a", JsonFormat('{"b": "%PROTOCOL%"}')),
        ),
        ("accessLogEncoding: JSON", None),
    ],
)
def test_access_log(text: str, expected: FileSink | None) -> None:
    assert compiled(text).telemetry.log_file == expected


@pytest.mark.parametrize("format_", ["%PROTOCOL%", "[1]", '{"a": [{"b": true}]}'])
def test_a_format_that_is_not_json_is_reported(format_: str) -> None:
    text = f"accessLogFile: /a\naccessLogEncoding: JSON\naccessLogFormat: '{format_}'"
    result = mesh(config_map(text))
    (problem,) = result.problems
    assert (problem.field, problem.code) == ("data.mesh.accessLogFormat", "InvalidAccessLogFormat")
    assert result.value.telemetry.log_file == FileSink("/a", JsonFormat())


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("accessLogFormat: '%NOSUCH%'", "accessLogFormat"),
        ('{accessLogFormat: \'{"a": "50% of"}\', accessLogEncoding: JSON}', "accessLogFormat"),
        (
            "extensionProviders: [{name: a, envoyFileAccessLog: {logFormat: {text: '%NOSUCH%'}}}]",
            "extensionProviders[0].envoyFileAccessLog.logFormat",
        ),
        (
            "extensionProviders: [{name: a, envoyFileAccessLog: {logFormat: {labels: {a: ['%CEL(1 +)%']}}}}]",
            "extensionProviders[0].envoyFileAccessLog.logFormat",
        ),
        (
            "extensionProviders: [{name: a, envoyOtelAls: {service: a.test, port: 1, logFormat: {labels: {a: '%'}}}}]",
            "extensionProviders[0].envoyOtelAls.logFormat",
        ),
    ],
)
def test_operators_that_envoy_has_not_got(text: str, field: str) -> None:
    result = mesh(config_map(text))
    assert [(p.field, p.code) for p in result.problems] == [
        (f"data.mesh.{field}", "InvalidAccessLogFormat")
    ]
    found = result.value.telemetry
    assert isinstance(found.log_format, TextFormat | JsonFormat)
    assert found.log_format in (TextFormat(), JsonFormat())
    for provider in found.providers[:-2]:
        for log in (provider.envoy_file_access_log, provider.envoy_otel_als):
            assert log is None or log.log_format is None


def test_providers() -> None:
    found = compiled("""
extensionProviders:
- {name: envoy, envoyFileAccessLog: {path: /x}}
- {name: Spans, opentelemetry: {service: spans.test, port: 4317}}
defaultProviders: {tracing: [spans], metrics: []}
""").telemetry
    names = [provider.name for provider in found.providers]
    assert names == ["envoy", "Spans", "prometheus", "mixer"]
    assert (found.tracing, found.metrics, found.access_logging) == (("spans",), (), ())


def test_enabled_tracing_has_a_provider() -> None:
    found = compiled("enableTracing: true").telemetry
    (name,) = found.tracing
    provider = found.provider(name)
    assert provider is not None
    assert provider.zipkin is not None
    assert provider.zipkin.service == "zipkin.istio-system.svc.cluster.local"


@pytest.mark.parametrize("address", ["", "als", "als:", ":9000", "als.logs:70000"])
def test_a_log_service_has_an_address(address: str) -> None:
    text = (
        "enableEnvoyAccessLogService: true\n"
        f"defaultConfig: {{envoyAccessLogService: {{address: '{address}'}}}}"
    )
    (problem,) = mesh(config_map(text)).problems
    assert (problem.field, problem.code) == (
        "data.mesh.enableEnvoyAccessLogService",
        "InvalidValue",
    )


def test_a_default_provider_that_is_not_there_is_reported() -> None:
    (problem,) = mesh(config_map("defaultProviders: {accessLogging: [envoy, nobody]}")).problems
    assert (problem.field, problem.code) == (
        "data.mesh.defaultProviders.accessLogging[1]",
        "ProviderNotFound",
    )


def test_tags_of_spans_that_envoy_refuses_are_reported() -> None:
    tags = "{good: {literal: {value: x}}, bad: {environment: {name: ''}}}"
    (problem,) = mesh(config_map("defaultConfig: {tracing: {sampling: 101}}")).problems
    assert (problem.field, problem.code) == (
        "data.mesh.defaultConfig.tracing.sampling",
        "OutOfRange",
    )
    (problem,) = mesh(config_map(f"defaultConfig: {{tracing: {{customTags: {tags}}}}}")).problems
    assert problem.field == "data.mesh.defaultConfig.tracing.customTags.bad"
    assert problem.code == "InvalidTag"


def test_mesh_tls_does_not_heed_curves() -> None:
    """https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig-mesh_mTLS"""
    result = mesh(config_map("meshMTLS: {cipherSuites: [A], ecdhCurves: [P-256]}"))
    assert result.value.listeners.mesh_tls == TlsParameters(ciphers=("A",))
    assert [(p.field, p.code) for p in result.problems] == [
        ("data.mesh.meshMTLS.ecdhCurves", "NoEffect")
    ]


def test_services_local_to_the_cluster_are_so_anyway() -> None:
    """https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig-ServiceSettings-Settings"""
    text = "serviceSettings: [{settings: {clusterLocal: true}, hosts: ['*']}]"
    assert mesh(config_map(text)) == Compiled(DEFAULT_MESH)


@pytest.mark.parametrize(
    ("text", "expected", "field"),
    [
        ("proxyListenPort: 1", (1, 15006), ""),
        ("proxyListenPort: 15101\nproxyInboundListenPort: 15106", (15101, 15106), ""),
        ("proxyListenPort: 70000", (15001, 15006), "proxyListenPort"),
        ("proxyInboundListenPort: 15021", (15001, 15006), "proxyInboundListenPort"),
        ("proxyListenPort: 15006", (15001, 15006), "proxyInboundListenPort"),
    ],
)
def test_ports_of_capture(text: str, expected: tuple[int, int], field: str) -> None:
    result = mesh(config_map(text))
    assert result.value.capture == CapturePorts(*expected)
    assert [p.field for p in result.problems] == ([f"data.mesh.{field}"] if field else [])


def test_errors_leave_the_defaults_and_are_reported() -> None:
    result = mesh(config_map("connectTimeout: soon"))
    assert result.value == DEFAULT_MESH
    assert result.problems


def test_networks_are_told_to_have_no_effect() -> None:
    """MeshNetworks stands beside MeshConfig; Istio's own installation writes an empty one."""
    bare = config_map("")
    for text, codes in (
        ("networks: {}", []),
        ("networks: {far: {gateways: [{address: 192.0.2.1, port: 15443}]}}", ["FieldNotSupported"]),
    ):
        found = mesh(msgspec.structs.replace(bare, data={**bare.data, "meshNetworks": text}))
        assert found.value == DEFAULT_MESH
        assert [p.code for p in found.problems] == codes
        assert all(p.field == "data.meshNetworks" for p in found.problems)
