"""Telemetry objects → what a proxy reports on each side, as names of providers, and then whole.

The root namespace's object without selector comes first, then that of the workload's namespace,
then those that select the workload; what a later one says replaces what an earlier one said, block
by block. Of several objects without selector in a namespace the oldest counts.
https://istio.io/latest/docs/reference/config/telemetry/ (rules as in Istio's
``pilot/pkg/model/telemetry.go``)
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from argosy.api import telemetry as api
from argosy.api.extension_providers import MIXER
from argosy.base.names import Namespace, ObjectKey
from argosy.model.policy_scope import EVERYONE, PolicyScope
from argosy.model.span_tags import (
    CustomTag,
    EnvironmentTag,
    FormatterTag,
    HeaderTag,
    LiteralTag,
)
from argosy.model.telemetry import (
    AccessLog,
    HttpGrpcSink,
    LogSink,
    Metric,
    MetricOverride,
    Metrics,
    Mode,
    TagOverride,
    TcpGrpcSink,
    Telemetry,
)
from argosy.model.tracing import MixerProvider, Tracing
from argosy.model.workload import Labels
from argosy.pilot.compile.policy_targets import policy_scope, selects
from argosy.pilot.compile.span_tags import usable
from argosy.pilot.compile.telemetry_defaults import ENABLED_TRACING, TelemetryDefaults
from argosy.pilot.compile.telemetry_providers import (
    HTTP_LOG_NAME,
    TCP_LOG_NAME,
    ClusterOf,
    log_sink,
)
from argosy.pilot.compile.tracing_providers import tracing_provider

# Which objects hold.


def scope_of(written: api.Telemetry) -> PolicyScope:
    spec = written.spec
    return policy_scope(spec.selector, spec.target_ref, spec.target_refs)


def by_age(objects: Iterable[api.Telemetry]) -> tuple[api.Telemetry, ...]:
    """Oldest first."""
    return tuple(sorted(objects, key=lambda one: (one.metadata.creation_timestamp, one.key.name)))


def wide(objects: Iterable[api.Telemetry]) -> api.Telemetry | None:
    """That of a whole namespace, of the namespace's objects, oldest first."""
    return next((one for one in objects if scope_of(one) == EVERYONE), None)


def own(
    objects: Iterable[api.Telemetry], namespace: Namespace, labels: Labels
) -> tuple[ObjectKey, ...]:
    """Those that select a workload, of its namespace's objects, oldest first."""
    return tuple(
        one.key
        for one in objects
        if (scope := scope_of(one)) != EVERYONE
        if selects(scope, namespace, namespace, labels)
    )


# What they say.


@dataclass(frozen=True, slots=True)
class LogChoice:
    """One provider of access logs; ``expression`` is the filter, empty: none.

    ``provider`` empty: whoever logs where nobody is named.
    """

    provider: str
    disabled: bool = False
    expression: str = ""


@dataclass(frozen=True, slots=True)
class TracingChoice:
    """As ``Tracing``; ``provider`` is the built-in one if none is named."""

    provider: str
    sampling: float | None = None
    disabled: bool = False
    no_context: bool = False
    use_request_id: bool = True
    tags: tuple[CustomTag, ...] = ()
    istio_tags: bool = True


@dataclass(frozen=True, slots=True)
class Choice:
    """What objects say of one side of a proxy. ``logs`` None: nobody says anything of them.

    ``metrics`` are by provider; those that have been switched off are not there.
    """

    mode: Mode
    logs: tuple[LogChoice, ...] | None
    metrics: tuple[tuple[str, Metrics], ...]
    tracing: TracingChoice | None


def choice(levels: Sequence[api.TelemetrySpec], mode: Mode, defaults: TelemetryDefaults) -> Choice:
    """``levels`` in order: mesh, namespace, workload."""
    return Choice(
        mode,
        _logs([spec.access_logging for spec in levels if spec.access_logging], mode, defaults),
        _metrics([one for spec in levels for one in spec.metrics], mode, defaults.metrics),
        _tracing([one for spec in levels for one in spec.tracing], mode, defaults.tracing),
    )


def _holds(match: api.ModeSelector | api.MetricSelector | None, mode: Mode) -> bool:
    return match is None or match.mode in ("CLIENT_AND_SERVER", mode.value)


def _names(providers: Iterable[api.ProviderRef]) -> tuple[str, ...]:
    return tuple(provider.name for provider in providers)


def _logs(
    levels: Sequence[Sequence[api.AccessLogging]], mode: Mode, defaults: TelemetryDefaults
) -> tuple[LogChoice, ...] | None:
    """The providers that the last level names count, others are left. A filter is its block's."""
    if not levels:
        return tuple(map(LogChoice, defaults.access_logging)) or None
    last = defaults.access_logging
    for level in levels:
        named = [_names(block.providers) for block in level if _holds(block.match, mode)]
        last = tuple(dict.fromkeys(name for names in named for name in names)) or last
    found: dict[str, LogChoice] = {}
    inherited = defaults.access_logging
    for block in (block for level in levels for block in level):
        inherited = _names(block.providers) or inherited
        if not _holds(block.match, mode):
            continue
        for name in inherited:
            if name in last:
                before = found.get(name, LogChoice(name))
                written = "" if block.filter is None else block.filter.expression
                kept = "" if block.providers else before.expression
                found[name] = LogChoice(name, bool(block.disabled), written or kept)
        if not inherited:
            written = "" if block.filter is None else block.filter.expression
            found[""] = LogChoice("", bool(block.disabled), written)
    return tuple(found[name] for name in sorted(found)) or None


def _tracing(
    blocks: Sequence[api.Tracing], mode: Mode, defaults: tuple[str, ...]
) -> TracingChoice | None:
    if not blocks and not defaults:
        return None
    found = TracingChoice(defaults[0] if defaults else MIXER)
    for block in blocks:
        if not _holds(block.match, mode):
            continue
        if block.providers:
            found = replace(found, provider=block.providers[0].name)
        if block.random_sampling_percentage is not None:
            found = replace(found, sampling=block.random_sampling_percentage)
        if block.disable_span_reporting is not None:
            found = replace(found, disabled=block.disable_span_reporting)
        if block.disable_context_propagation is not None:
            found = replace(found, no_context=block.disable_context_propagation)
        if block.use_request_id_for_trace_sampling is not None:
            found = replace(found, use_request_id=block.use_request_id_for_trace_sampling)
        if block.custom_tags is not None:
            found = replace(found, tags=usable(tags(block.custom_tags)))
        if block.enable_istio_tags is not None:
            found = replace(found, istio_tags=block.enable_istio_tags)
    return found


def tags(written: Mapping[str, api.CustomTag]) -> tuple[CustomTag, ...]:
    """All of them, sorted by name."""
    return tuple(_tag(name, written[name]) for name in sorted(written))


def _tag(name: str, tag: api.CustomTag) -> CustomTag:
    if tag.literal is not None:
        return LiteralTag(name, tag.literal.value)
    if tag.environment is not None:
        return EnvironmentTag(name, tag.environment.name, tag.environment.default_value)
    if tag.header is not None:
        return HeaderTag(name, tag.header.name, tag.header.default_value)
    assert tag.formatter is not None, "validation demands one of them"
    return FormatterTag(name, tag.formatter.value)


def _metrics(
    blocks: Sequence[api.Metrics], mode: Mode, defaults: tuple[str, ...]
) -> tuple[tuple[str, Metrics], ...]:
    if not blocks:
        return tuple((name, Metrics()) for name in defaults)
    last = next((_names(b.providers) for b in reversed(blocks) if b.providers), defaults)
    found: dict[str, Metrics] = {}
    off: set[str] = set()
    inherited = defaults
    for block in blocks:
        inherited = _names(block.providers) or inherited
        for name in inherited:
            if name not in last:
                continue
            metrics = found.get(name, Metrics())
            for override in block.overrides:
                if not _holds(override.match, mode):
                    continue
                if _is_all(override.match) and override.disabled:
                    off.add(name)
                    continue
                off.discard(name)
                metrics = replace(metrics, overrides=_overridden(metrics.overrides, override))
            found[name] = metrics
    return tuple((name, found[name]) for name in sorted(found) if name not in off)


def _is_all(match: api.MetricSelector | None) -> bool:
    return match is None or (match.custom_metric is None and match.metric in (None, "ALL_METRICS"))


def _selected(match: api.MetricSelector | None) -> tuple[Metric | str, ...]:
    if match is None or _is_all(match):
        return tuple(Metric)
    if match.custom_metric is not None:
        return (match.custom_metric,)
    assert match.metric is not None, "otherwise it is all of them"
    return (Metric[match.metric],)


def _overridden(
    before: tuple[MetricOverride, ...], written: api.MetricsOverrides
) -> tuple[MetricOverride, ...]:
    found = {override.metric: override for override in before}
    for metric in _selected(written.match):
        known = found.get(metric, MetricOverride(metric))
        tags = {tag.name: tag for tag in known.tags}
        for name, tag in written.tag_overrides.items():
            tags[name] = TagOverride(name, None if tag.operation == "REMOVE" else tag.value)
        found[metric] = MetricOverride(
            metric,
            known.disabled if written.disabled is None else written.disabled,
            tuple(tags[name] for name in sorted(tags)),
        )
    return tuple(sorted(found.values(), key=lambda one: metric_name(one.metric)))


def metric_name(metric: Metric | str) -> str:
    """Without ``istio_``."""
    return metric.value if isinstance(metric, Metric) else metric


# What it comes to.


def telemetry(
    chosen: Choice, defaults: TelemetryDefaults, cluster_of: ClusterOf, *, mixer: bool = False
) -> Telemetry:
    """``cluster_of`` answers for the proxies that report. ``mixer``: the mesh has one."""
    return Telemetry(
        mode=chosen.mode,
        access_logs=_access_logs(chosen.logs, defaults, cluster_of),
        listener_logs=defaults.listener_logs,
        records=mixer,
        metrics=_prometheus(chosen.metrics, defaults),
        tracing=_traced(chosen.tracing, defaults, cluster_of, mixer=mixer),
    )


def _access_logs(
    chosen: tuple[LogChoice, ...] | None, defaults: TelemetryDefaults, cluster_of: ClusterOf
) -> tuple[AccessLog, ...]:
    """Where no provider is named that there is, MeshConfig's older settings hold."""
    known = []
    for one in chosen or ():
        provider = defaults.provider(one.provider)
        sink = None if provider is None else log_sink(provider, defaults, cluster_of)
        if sink is not None:
            known.append((one, sink))
    if not known:
        unnamed = next((one for one in chosen or () if not one.provider), LogChoice(""))
        known = [(unnamed, sink) for sink in _older_sinks(defaults, cluster_of)]
    return tuple(AccessLog(sink, one.expression) for one, sink in known if not one.disabled)


def _older_sinks(defaults: TelemetryDefaults, cluster_of: ClusterOf) -> Iterator[LogSink]:
    if defaults.log_file is not None:
        yield defaults.log_file
    cluster = None if defaults.log_service is None else cluster_of(*defaults.log_service)
    if cluster is not None:
        yield HttpGrpcSink(cluster, HTTP_LOG_NAME)
        yield TcpGrpcSink(cluster, TCP_LOG_NAME)


def _prometheus(
    chosen: tuple[tuple[str, Metrics], ...], defaults: TelemetryDefaults
) -> Metrics | None:
    """Only Prometheus takes metrics."""
    for name, metrics in chosen:
        if (provider := defaults.provider(name)) is not None and provider.prometheus is not None:
            return metrics
    return None


def _traced(
    chosen: TracingChoice | None,
    defaults: TelemetryDefaults,
    cluster_of: ClusterOf,
    *,
    mixer: bool,
) -> Tracing | None:
    if chosen is None:
        return None
    written = defaults.provider(chosen.provider)
    provider = None if written is None else tracing_provider(written, cluster_of, mixer=mixer)
    if provider is None and mixer and written is ENABLED_TRACING:
        provider = MixerProvider()
    if provider is None:
        return None
    return Tracing(
        provider=provider,
        random_sampling_percentage=chosen.sampling,
        disable_span_reporting=chosen.disabled,
        disable_context_propagation=chosen.no_context,
        use_request_id_for_sampling=chosen.use_request_id,
        custom_tags=chosen.tags,
        enable_istio_tags=chosen.istio_tags,
    )
