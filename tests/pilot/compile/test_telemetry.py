"""How Telemetry objects of mesh, namespace and workload come together.

Rules as in https://istio.io/latest/docs/reference/config/telemetry/ and Istio's own tests
(``pilot/pkg/model/telemetry_test.go``, ``telemetry_logging_test.go``).
"""

import msgspec
import pytest
import yaml

from argosy.api import telemetry as api
from argosy.api.core import ConfigMap
from argosy.api.typed import decode_hook
from argosy.base.names import Namespace
from argosy.model.proxy import ClusterKey
from argosy.model.span_tags import EnvironmentTag, FormatterTag, HeaderTag, LiteralTag
from argosy.model.telemetry import (
    AccessLog,
    FileSink,
    HttpGrpcSink,
    JsonFormat,
    Metric,
    MetricOverride,
    Metrics,
    Mode,
    OtelSink,
    TagOverride,
    TcpGrpcSink,
    Telemetry,
    TextFormat,
)
from argosy.model.tracing import OpenTelemetryProvider, OtlpHttp, Tracing, ZipkinProvider
from argosy.pilot.compile import telemetry as compiling
from argosy.pilot.compile.mesh import mesh

PROVIDERS = """
extensionProviders:
- {name: a, envoyFileAccessLog: {path: /a}}
- {name: b, envoyFileAccessLog: {path: /b}}
- {name: zipkin, zipkin: {service: zipkin.test, port: 9411}}
- {name: otlp, opentelemetry: {service: otlp.test, port: 4318, http: {path: /v1/traces}}}
- {name: gone, opentelemetry: {service: gone.test, port: 4318}}
- {name: prom2, prometheus: {}}
"""
A, B, BUILT_IN = FileSink("/a"), FileSink("/b"), FileSink("/dev/stdout")


def spec(text: str) -> api.TelemetrySpec:
    return msgspec.convert(yaml.safe_load(text), api.TelemetrySpec, dec_hook=decode_hook)


def written(name: str, text: str, created: str = "") -> api.Telemetry:
    metadata = {"name": name, "namespace": "default", "creationTimestamp": created}
    whole = {"metadata": metadata, "spec": yaml.safe_load(text)}
    return msgspec.convert(whole, api.Telemetry, dec_hook=decode_hook)


def cluster_of(service: str, port: int) -> ClusterKey | None:
    return None if service == "gone.test" else ClusterKey(port, "", service)


def effective(*levels: str, config: str = "", mode: Mode = Mode.CLIENT) -> Telemetry:
    metadata = {"name": "istio", "namespace": "istio-system"}
    data = {"mesh": PROVIDERS + config}
    whole = msgspec.convert({"metadata": metadata, "data": data}, ConfigMap)
    compiled = mesh(whole)
    assert not compiled.problems
    defaults = compiled.value.telemetry
    chosen = compiling.choice([spec(level) for level in levels], mode, defaults)
    return compiling.telemetry(chosen, defaults, cluster_of)


def logs(*levels: str, config: str = "", mode: Mode = Mode.CLIENT) -> tuple[AccessLog, ...]:
    return effective(*levels, config=config, mode=mode).access_logs


LOG_A = "accessLogging: [{providers: [{name: a}]}]"
LOG_B = "accessLogging: [{providers: [{name: b}]}]"
NONE = "accessLogging: [{disabled: true}]"
DEFAULT_A = "defaultProviders: {accessLogging: [a]}"
FILE = "accessLogFile: /old"


@pytest.mark.parametrize(
    ("levels", "config", "expected"),
    [
        ((), "", ()),
        ((), DEFAULT_A, (A,)),
        ((), FILE, (FileSink("/old"),)),
        ((), f"{DEFAULT_A}\n{FILE}", (A,)),
        ((LOG_A,), "", (A,)),
        ((LOG_A,), FILE, (A,)),
        (("accessLogging: [{providers: [{name: A}]}]",), "", (A,)),
        (("accessLogging: [{providers: [{name: envoy}]}]",), "", (BUILT_IN,)),
        ((LOG_A, LOG_B), "", (B,)),
        ((LOG_A, "tracing: [{disableSpanReporting: true}]"), "", (A,)),
        (("accessLogging: [{providers: [{name: b}, {name: a}]}]",), "", (A, B)),
        (("accessLogging: [{providers: [{name: b}]}, {providers: [{name: a}]}]",), "", (A, B)),
        ((LOG_A, NONE), "", ()),
        ((LOG_A, NONE, "accessLogging: [{disabled: false}]"), "", (A,)),
        ((NONE,), DEFAULT_A, ()),
        ((NONE,), FILE, ()),
        ((NONE, LOG_B), FILE, (B,)),
        (("accessLogging: [{providers: [{name: a}], disabled: true}]",), FILE, ()),
        (("accessLogging: [{providers: [{name: nobody}]}]",), "", ()),
        (("accessLogging: [{providers: [{name: nobody}]}]",), FILE, (FileSink("/old"),)),
    ],
)
def test_who_gets_access_logs(
    levels: tuple[str, ...], config: str, expected: tuple[FileSink, ...]
) -> None:
    assert logs(*levels, config=config) == tuple(map(AccessLog, expected))


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (Mode.CLIENT, (AccessLog(A, "client"),)),
        (Mode.SERVER, (AccessLog(A, "server"), AccessLog(B))),
    ],
)
def test_each_side_has_its_own_logs(mode: Mode, expected: tuple[AccessLog, ...]) -> None:
    level = """
accessLogging:
- {match: {mode: CLIENT}, providers: [{name: a}], filter: {expression: client}}
- {match: {mode: SERVER}, providers: [{name: a}], filter: {expression: server}}
- {match: {mode: SERVER}, providers: [{name: b}]}
"""
    assert logs(level, mode=mode) == expected


def test_a_side_that_is_not_matched_has_the_old_file() -> None:
    level = "accessLogging: [{match: {mode: CLIENT}, providers: [{name: a}]}]"
    assert logs(level, config=FILE, mode=Mode.SERVER) == (AccessLog(FileSink("/old")),)
    assert logs(level, mode=Mode.SERVER) == ()


def test_a_filter_holds_for_whoever_takes_the_logs() -> None:
    only = "accessLogging: [{filter: {expression: x}}]"
    assert logs(only, config=DEFAULT_A) == (AccessLog(A, "x"),)
    assert logs(only, config=FILE) == (AccessLog(FileSink("/old"), "x"),)
    assert logs(LOG_A, only) == (AccessLog(A, "x"),)
    assert logs(LOG_A, only, "accessLogging: [{disabled: false}]") == (AccessLog(A, "x"),)
    assert logs(LOG_A, only, LOG_A) == (AccessLog(A),)


def test_the_built_in_log_has_the_meshs_format() -> None:
    level = "accessLogging: [{providers: [{name: envoy}]}]"
    text = FileSink("/dev/stdout", TextFormat("x\n"))
    assert logs(level, config="accessLogFormat: x") == (AccessLog(text),)
    json = FileSink("/dev/stdout", JsonFormat())
    assert logs(level, config="accessLogEncoding: JSON") == (AccessLog(json),)


def test_services_that_take_logs() -> None:
    more = """
- name: http
  envoyHttpAls: {service: als.test, port: 9000, additionalRequestHeadersToLog: [x-a]}
- {name: tcp, envoyTcpAls: {service: als.test, port: 9000, logName: own}}
- name: otel
  envoyOtelAls: {service: otel.test, port: 4317, logFormat: {text: t, labels: {b: c}}}
- {name: nowhere, envoyOtelAls: {service: gone.test, port: 4317}}
defaultProviders: {accessLogging: [http, tcp, otel, nowhere]}
"""
    als = ClusterKey(9000, "", "als.test")
    assert [log.sink for log in logs(config=more)] == [
        HttpGrpcSink(als, "http_envoy_accesslog", request_headers=("x-a",)),
        TcpGrpcSink(als, "own"),
        OtelSink(
            ClusterKey(4317, "", "otel.test"),
            "otel_envoy_accesslog",
            TextFormat("t"),
            (("b", "c"),),
        ),
    ]


def test_the_older_service_takes_what_nobody_else_does() -> None:
    config = """
enableEnvoyAccessLogService: true
defaultConfig: {envoyAccessLogService: {address: "als.logs:9000"}}
"""
    als = ClusterKey(9000, "", "als.logs.svc.cluster.local")
    http = AccessLog(HttpGrpcSink(als, "http_envoy_accesslog"))
    tcp = AccessLog(TcpGrpcSink(als, "tcp_envoy_accesslog"))
    assert logs(config=config) == (http, tcp)
    assert logs(config=config + FILE) == (AccessLog(FileSink("/old")), http, tcp)
    assert logs(LOG_A, config=config) == (AccessLog(A),)
    assert logs(NONE, config=config) == ()


def test_connections_that_nothing_takes_may_be_left_out() -> None:
    assert effective().listener_logs
    assert not effective(config="disableEnvoyListenerLog: true").listener_logs


# Tracing.

ZIPKIN = ZipkinProvider(ClusterKey(9411, "", "zipkin.test"))
OTLP = OpenTelemetryProvider(ClusterKey(4318, "", "otlp.test"), OtlpHttp("/v1/traces"))
SPANS = "defaultProviders: {tracing: [zipkin, otlp]}"


def tracing(*levels: str, config: str = "", mode: Mode = Mode.CLIENT) -> Tracing | None:
    return effective(*levels, config=config, mode=mode).tracing


@pytest.mark.parametrize(
    ("levels", "config", "expected"),
    [
        ((), "", None),
        ((), SPANS, Tracing(ZIPKIN)),
        (("tracing: [{randomSamplingPercentage: 10}]",), "", None),
        (("tracing: [{providers: [{name: OTLP}]}]",), SPANS, Tracing(OTLP)),
        (("tracing: [{providers: [{name: gone}]}]",), SPANS, None),
        (
            (
                "tracing: [{providers: [{name: otlp}], randomSamplingPercentage: 10}]",
                "tracing: [{disableSpanReporting: true, enableIstioTags: false}]",
                "tracing: [{disableContextPropagation: true, useRequestIdForTraceSampling: false}]",
            ),
            "",
            Tracing(OTLP, 10, True, True, False, (), False),
        ),
        (
            (
                "tracing: [{disableSpanReporting: true, randomSamplingPercentage: 0}]",
                "tracing: [{disableSpanReporting: false}]",
            ),
            SPANS,
            Tracing(ZIPKIN, 0),
        ),
    ],
)
def test_tracing(levels: tuple[str, ...], config: str, expected: Tracing | None) -> None:
    assert tracing(*levels, config=config) == expected


def test_tags_replace_those_of_the_wider_object() -> None:
    tags = """
tracing:
- customTags:
    d: {formatter: {value: "%PROTOCOL%"}}
    b: {environment: {name: HOST, defaultValue: none}}
    c: {header: {name: x-a, defaultValue: none}}
    a: {literal: {value: x}}
"""
    found = tracing("tracing: [{customTags: {old: {literal: {value: y}}}}]", tags, config=SPANS)
    assert found == Tracing(
        ZIPKIN,
        custom_tags=(
            LiteralTag("a", "x"),
            EnvironmentTag("b", "HOST", "none"),
            HeaderTag("c", "x-a", "none"),
            FormatterTag("d", "%PROTOCOL%"),
        ),
    )


def test_each_side_is_traced_by_itself() -> None:
    level = """
tracing:
- {match: {mode: SERVER}, randomSamplingPercentage: 5}
- {match: {mode: CLIENT}, providers: [{name: otlp}]}
"""
    assert tracing(level, config=SPANS) == Tracing(OTLP)
    assert tracing(level, config=SPANS, mode=Mode.SERVER) == Tracing(ZIPKIN, 5)


# Metrics.


def metrics(*levels: str, config: str = "", mode: Mode = Mode.CLIENT) -> Metrics | None:
    return effective(*levels, config=config, mode=mode).metrics


ALL_OFF = "metrics: [{overrides: [{disabled: true}]}]"


@pytest.mark.parametrize(
    ("levels", "config", "expected"),
    [
        ((), "", Metrics()),
        ((), "defaultProviders: {metrics: []}", None),
        ((), "defaultProviders: {metrics: [a]}", None),
        ((), "defaultProviders: {tracing: [zipkin]}", Metrics()),
        (("metrics: [{providers: [{name: zipkin}]}]",), "", None),
        (("metrics: [{reportingInterval: 15s}]",), "", Metrics()),
        ((ALL_OFF,), "", None),
        (("metrics: [{overrides: [{match: {metric: ALL_METRICS}, disabled: true}]}]",), "", None),
        (
            (ALL_OFF, "metrics: [{overrides: [{match: {customMetric: own}, disabled: false}]}]"),
            "",
            Metrics((MetricOverride("own", disabled=False),)),
        ),
        (
            (
                "metrics: [{overrides: [{match: {metric: REQUEST_COUNT}, tagOverrides: {b: {value: x}, a: {value: y}}}]}]",
                "metrics: [{overrides: [{match: {metric: REQUEST_COUNT}, tagOverrides: {b: {operation: REMOVE}}}]}]",
                "metrics: [{overrides: [{match: {metric: GRPC_REQUEST_MESSAGES}, disabled: true}]}]",
            ),
            "",
            Metrics(
                (
                    MetricOverride(Metric.GRPC_REQUEST_MESSAGES, True),
                    MetricOverride(
                        Metric.REQUEST_COUNT,
                        tags=(TagOverride("a", "y"), TagOverride("b", None)),
                    ),
                )
            ),
        ),
        (
            (
                "metrics: [{overrides: [{match: {metric: REQUEST_COUNT}, disabled: true}]}]",
                "metrics: [{providers: [{name: prom2}], overrides: [{match: {metric: TCP_SENT_BYTES}, disabled: true}]}]",
            ),
            "",
            Metrics((MetricOverride(Metric.TCP_SENT_BYTES, True),)),
        ),
    ],
)
def test_metrics(levels: tuple[str, ...], config: str, expected: Metrics | None) -> None:
    assert metrics(*levels, config=config) == expected


def test_an_override_without_metric_is_for_every_one_of_istios() -> None:
    found = metrics("metrics: [{overrides: [{tagOverrides: {a: {value: x}}}]}]")
    assert found is not None
    assert {override.metric for override in found.overrides} == set(Metric)
    assert all(override.tags == (TagOverride("a", "x"),) for override in found.overrides)


def test_each_side_has_its_own_metrics() -> None:
    level = "metrics: [{overrides: [{match: {mode: SERVER}, disabled: true}]}]"
    assert metrics(level) == Metrics()
    assert metrics(level, mode=Mode.SERVER) is None


# Which objects hold.


def test_the_oldest_without_selector_holds_and_those_that_select_after_it() -> None:
    objects = compiling.by_age(
        [
            written("younger", "{}", "2026-01-02T00:00:00Z"),
            written("older", "{}", "2026-01-01T00:00:00Z"),
            written("web2", "selector: {matchLabels: {app: web}}", "2026-01-04T00:00:00Z"),
            written("web1", "selector: {matchLabels: {app: web}}", "2026-01-03T00:00:00Z"),
            written("db", "selector: {matchLabels: {app: db}}"),
        ]
    )
    found = compiling.wide(objects)
    assert found is not None
    assert found.key.name == "older"
    own = compiling.own(objects, Namespace("default"), (("app", "web"),))
    assert [key.name for key in own] == ["web1", "web2"]


def test_a_target_is_a_gateway_of_the_gateway_api() -> None:
    target = "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]"
    objects = [written("edge", target)]
    assert compiling.wide(objects) is None
    labels = (("gateway.networking.k8s.io/gateway-name", "edge"),)
    assert compiling.own(objects, Namespace("default"), labels) == (objects[0].key,)
    assert compiling.own(objects, Namespace("default"), (("app", "edge"),)) == ()
