"""Telemetry: what one object may say."""

import msgspec
import pytest
import yaml

from argosy.api.telemetry import Telemetry
from argosy.api.typed import decode_hook
from argosy.api.validate import validate
from argosy.base.problems import Problem, Severity


def problems(spec: str) -> list[Problem]:
    whole = {"metadata": {"name": "t", "namespace": "default"}, "spec": yaml.safe_load(spec)}
    return list(validate(msgspec.convert(whole, Telemetry, dec_hook=decode_hook)))


@pytest.mark.parametrize(
    "spec",
    [
        "{}",
        "selector: {matchLabels: {app: a}}",
        "tracing: [{randomSamplingPercentage: 100, customTags: {a: {literal: {value: b}}}}]",
        "tracing: [{customTags: {a: {formatter: {value: '%PROTOCOL%'}}}}]",
        "metrics: [{overrides: [{match: {metric: ALL_METRICS}, tagOverrides: {a: {operation: REMOVE}}}]}]",
        "metrics: [{overrides: [{tagOverrides: {a: {value: request.host}}}]}]",
        "metrics: [{overrides: [{tagOverrides: {a: {value: 'int(request.size) % 2 == 1'}}}]}]",
        "accessLogging: [{providers: [{name: envoy}], filter: {expression: 'response.code >= 400'}}]",
        "accessLogging: [{disabled: true}]",
    ],
)
def test_good(spec: str) -> None:
    assert problems(spec) == []


@pytest.mark.parametrize(
    ("spec", "field", "code"),
    [
        (
            "{selector: {matchLabels: {a: b}}, targetRefs: [{kind: Gateway, name: g, group: gateway.networking.k8s.io}]}",
            "spec.targetRefs",
            "ConflictingFields",
        ),
        (
            "tracing: [{randomSamplingPercentage: 101}]",
            "spec.tracing[0].randomSamplingPercentage",
            "OutOfRange",
        ),
        ("tracing: [{customTags: {a: {}}}]", "spec.tracing[0].customTags.a", "MissingField"),
        (
            "tracing: [{customTags: {a: {literal: {value: b}, header: {name: c}}}}]",
            "spec.tracing[0].customTags.a",
            "ConflictingFields",
        ),
        (
            "tracing: [{customTags: {a: {header: {name: 'b c'}}}}]",
            "spec.tracing[0].customTags.a.header.name",
            "InvalidHeader",
        ),
        (
            "metrics: [{overrides: [{match: {metric: REQUEST_COUNT, customMetric: a}}]}]",
            "spec.metrics[0].overrides[0].match",
            "ConflictingFields",
        ),
        (
            "metrics: [{overrides: [{tagOverrides: {a: {}}}]}]",
            "spec.metrics[0].overrides[0].tagOverrides.a.value",
            "MissingField",
        ),
        (
            "metrics: [{overrides: [{tagOverrides: {a: {operation: REMOVE, value: b}}}]}]",
            "spec.metrics[0].overrides[0].tagOverrides.a.value",
            "ConflictingFields",
        ),
        (
            "metrics: [{overrides: [{tagOverrides: {a: {value: 'request.'}}}]}]",
            "spec.metrics[0].overrides[0].tagOverrides.a.value",
            "InvalidExpression",
        ),
        (
            "metrics: [{overrides: [{tagOverrides: {a: {value: 'int(request.size)%2 == 1'}}}]}]",
            "spec.metrics[0].overrides[0].tagOverrides.a.value",
            "InvalidExpression",
        ),
        (
            "metrics: [{reportingInterval: 0s}]",
            "spec.metrics[0].reportingInterval",
            "InvalidDuration",
        ),
        (
            "accessLogging: [{providers: [{name: ''}]}]",
            "spec.accessLogging[0].providers[0].name",
            "MissingField",
        ),
        (
            "accessLogging: [{filter: {}}]",
            "spec.accessLogging[0].filter.expression",
            "MissingField",
        ),
        (
            "accessLogging: [{filter: {expression: 'response.code >= '}}]",
            "spec.accessLogging[0].filter.expression",
            "InvalidExpression",
        ),
    ],
)
def test_bad(spec: str, field: str, code: str) -> None:
    (problem,) = problems(spec)
    assert (problem.field, problem.code, problem.severity) == (field, code, Severity.ERROR)


def test_an_expression_is_told_what_is_wrong_with_it_and_where() -> None:
    (problem,) = problems("accessLogging: [{filter: {expression: 'response.code >= 400 ||'}}]")
    assert "'<EOF>' at character 24" in problem.message
    (problem,) = problems("accessLogging: [{filter: {expression: 'frobnicate(1)'}}]")
    assert "there is no function frobnicate" in problem.message


def test_spans_go_to_one_provider() -> None:
    (problem,) = problems("tracing: [{providers: [{name: a}, {name: b}]}]")
    assert (problem.field, problem.severity) == ("spec.tracing[0].providers", Severity.WARNING)


def test_metrics_that_are_not_there_are_told() -> None:
    own = "match: {customMetric: own}"
    (problem,) = problems(f"metrics: [{{overrides: [{{{own}, disabled: false}}]}}]")
    assert problem.field == "spec.metrics[0].overrides[0].match.customMetric"
    assert (problem.code, problem.severity) == ("NotSupported", Severity.WARNING)
    assert not problems(f"metrics: [{{overrides: [{{{own}, disabled: true}}]}}]")


REQUESTS, RESPONSES = (
    f"match: {{metric: GRPC_{side}_MESSAGES%s}}, disabled: true" for side in ("REQUEST", "RESPONSE")
)


@pytest.mark.parametrize(
    ("overrides", "fields"),
    [
        (f"{{{REQUESTS % ''}}}, {{{RESPONSES % ''}}}", []),
        (f"{{{RESPONSES % ', mode: CLIENT'}}}, {{{REQUESTS % ', mode: CLIENT'}}}", []),
        ("{match: {metric: GRPC_REQUEST_MESSAGES}, disabled: false}", []),
        (f"{{{REQUESTS % ''}}}", ["[0].disabled"]),
        (
            f"{{{REQUESTS % ', mode: SERVER'}}}, {{{RESPONSES % ', mode: CLIENT'}}}",
            ["[0].disabled", "[1].disabled"],
        ),
        (
            "{match: {metric: GRPC_RESPONSE_MESSAGES}, tagOverrides: {a: {operation: REMOVE}}}",
            ["[0].tagOverrides"],
        ),
    ],
)
def test_messages_are_counted_or_not_and_nothing_else(overrides: str, fields: list[str]) -> None:
    found = problems(f"metrics: [{{overrides: [{overrides}]}}]")
    assert [one.field for one in found] == [f"spec.metrics[0].overrides{field}" for field in fields]
    assert {(one.code, one.severity) for one in found} <= {("NotSupported", Severity.WARNING)}


def test_an_interval_is_said_to_have_no_effect() -> None:
    (problem,) = problems("metrics: [{reportingInterval: 5s}]")
    assert (problem.field, problem.severity) == (
        "spec.metrics[0].reportingInterval",
        Severity.WARNING,
    )
