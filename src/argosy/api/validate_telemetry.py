"""What must hold for one Telemetry alone.

Rules as in Istio's validation (``pkg/config/validation/validation.go``).
"""

import re
from collections.abc import Iterator, Sequence

from argosy.api import telemetry as api
from argosy.api.located import child
from argosy.api.policy_target import check_selection
from argosy.api.typed import Mistake, short
from argosy.api.validate_values import (
    check_duration,
    check_header_name,
    check_one_of,
    check_percent,
    warning,
)
from argosy.base.cel import CelError, check_expression

_MESSAGES = frozenset({"GRPC_REQUEST_MESSAGES", "GRPC_RESPONSE_MESSAGES"})
"""Stock Envoy counts both or none, by cluster, so nothing else can be said of them."""

MAX_EXPRESSION = 4096
"""Characters of a CEL expression."""

_OPERATOR_END = re.compile(r"\)(:[0-9]+)?%")
"""Tags of metrics are ``%CEL(...)%``.

https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage#command-operators
"""


def validate_telemetry(telemetry: api.Telemetry) -> Iterator[Mistake]:
    spec = telemetry.spec
    yield from check_selection(spec.selector, spec.target_ref, spec.target_refs, "Telemetry")
    for index, tracing in enumerate(spec.tracing):
        yield from _tracing(tracing, f"spec.tracing[{index}]")
    for index, metrics in enumerate(spec.metrics):
        yield from _metrics(metrics, f"spec.metrics[{index}]")
    for index, logging in enumerate(spec.access_logging):
        yield from _access_logging(logging, f"spec.accessLogging[{index}]")


def _tracing(tracing: api.Tracing, path: str) -> Iterator[Mistake]:
    yield from _providers(tracing.providers, path)
    if len(tracing.providers) > 1:
        message = f"spans go to one provider, which is {short(tracing.providers[0].name)}"
        yield warning(f"{path}.providers", "NoEffect", message, "Keep one of them")
    percentage = tracing.random_sampling_percentage
    yield from check_percent(percentage, f"{path}.randomSamplingPercentage")
    for name, tag in (tracing.custom_tags or {}).items():
        where = child(f"{path}.customTags", name)
        if not name:
            yield Mistake(where, "MissingField", "the tag has no name")
        yield from _custom_tag(tag, where)


def _custom_tag(tag: api.CustomTag, path: str) -> Iterator[Mistake]:
    kinds = {
        "literal": tag.literal,
        "environment": tag.environment,
        "header": tag.header,
        "formatter": tag.formatter,
    }
    yield from check_one_of(kinds, path, required=True)
    if tag.literal is not None and not tag.literal.value:
        yield Mistake(f"{path}.literal.value", "MissingField", "the tag's value is empty")
    if tag.environment is not None and not tag.environment.name:
        yield Mistake(f"{path}.environment.name", "MissingField", "the variable has no name")
    if tag.header is not None:
        yield from check_header_name(tag.header.name, f"{path}.header.name", pseudo=True)
    if tag.formatter is not None and not tag.formatter.value:
        yield Mistake(f"{path}.formatter.value", "MissingField", "the tag's value is empty")


def _metrics(metrics: api.Metrics, path: str) -> Iterator[Mistake]:
    yield from _providers(metrics.providers, path)
    interval = f"{path}.reportingInterval"
    wrong = list(check_duration(metrics.reporting_interval, interval))
    yield from wrong
    if metrics.reporting_interval is not None and not wrong:
        message = "it has no effect: bytes of a TCP connection are counted when the connection ends"
        yield warning(interval, "NotSupported", message, "Remove it")
    for index, override in enumerate(metrics.overrides):
        yield from _override(override, f"{path}.overrides[{index}]")
    yield from _half_disabled(metrics.overrides, f"{path}.overrides")


def _half_disabled(overrides: Sequence[api.MetricsOverrides], path: str) -> Iterator[Mistake]:
    """One of the two metrics of messages is disabled, and the other is not."""
    disabled = {
        (override.match.metric, override.match.mode)
        for override in overrides
        if override.match is not None and override.disabled
    }
    for index, override in enumerate(overrides):
        match = override.match
        if match is None or match.metric not in _MESSAGES or not override.disabled:
            continue
        (other,) = _MESSAGES - {match.metric}
        if (other, match.mode) not in disabled:
            message = f"it has no effect alone: {other} is counted by the same filter"
            hint = f"Disable {other} as well, or remove it"
            yield warning(f"{path}[{index}].disabled", "NotSupported", message, hint)


def _override(override: api.MetricsOverrides, path: str) -> Iterator[Mistake]:
    match = override.match
    if match is not None:
        selected = {"metric": match.metric, "customMetric": match.custom_metric}
        yield from check_one_of(selected, f"{path}.match", required=False)
        if match.custom_metric == "":
            where = f"{path}.match.customMetric"
            yield Mistake(where, "MissingField", "the metric has no name")
        elif match.custom_metric and match.metric is None and not override.disabled:
            message = (
                f"there is no metric {short(match.custom_metric)}: Istio's own are counted only"
            )
            yield warning(f"{path}.match.customMetric", "NotSupported", message, "Remove it")
        if match.metric in _MESSAGES and override.tag_overrides:
            message = f"it has no effect: the labels of {match.metric} are always the same"
            yield warning(f"{path}.tagOverrides", "NotSupported", message, "Remove it")
    for name, tag in override.tag_overrides.items():
        where = child(f"{path}.tagOverrides", name)
        if not name:
            yield Mistake(where, "MissingField", "the tag has no name")
        if tag.operation == "REMOVE":
            if tag.value:
                message = "a tag that is removed has no value"
                yield Mistake(f"{where}.value", "ConflictingFields", message, "Remove it")
        elif not tag.value:
            message = "it is not said what the tag's value is"
            hint = "Write a CEL expression such as request.method"
            yield Mistake(f"{where}.value", "MissingField", message, hint)
        else:
            yield from check_cel(tag.value, f"{where}.value")
            if _OPERATOR_END.search(tag.value):
                message = "Envoy takes )% for the end of the expression"
                yield Mistake(f"{where}.value", "InvalidExpression", message, "Write ) %")


def _access_logging(logging: api.AccessLogging, path: str) -> Iterator[Mistake]:
    yield from _providers(logging.providers, path)
    if logging.filter is not None:
        expression = logging.filter.expression
        where = f"{path}.filter.expression"
        if expression:
            yield from check_cel(expression, where)
        else:
            hint = "Write a CEL expression such as response.code >= 400"
            yield Mistake(where, "MissingField", "the filter has no expression", hint)


def check_cel(expression: str, path: str) -> Iterator[Mistake]:
    """A CEL expression that Envoy can be given."""
    if len(expression) > MAX_EXPRESSION:
        message = f"the expression has {len(expression)} characters; the limit is {MAX_EXPRESSION}"
        yield Mistake(path, "InvalidExpression", message)
        return
    try:
        check_expression(expression)
    except CelError as error:
        message = f"{short(expression)} is no CEL expression: {error}"
        hint = "Attributes are those of https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/advanced/attributes"
        yield Mistake(path, "InvalidExpression", message, hint)


def _providers(providers: Sequence[api.ProviderRef], path: str) -> Iterator[Mistake]:
    for index, provider in enumerate(providers):
        if not provider.name:
            where = f"{path}.providers[{index}].name"
            yield Mistake(where, "MissingField", "the provider has no name")
