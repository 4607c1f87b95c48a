"""What is wrong with Telemetry objects, as only MeshConfig and other objects can tell."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from argosy.api import telemetry as api
from argosy.api.extension_providers import MIXER, ExtensionProvider, kinds
from argosy.api.located import child
from argosy.base.names import ObjectKey
from argosy.base.problems import Problem
from argosy.model.policy_scope import EVERYONE
from argosy.pilot.compile.report import Report
from argosy.pilot.compile.span_tags import tag_mistake
from argosy.pilot.compile.telemetry import scope_of, tags
from argosy.pilot.compile.telemetry_defaults import ENABLED_TRACING, TelemetryDefaults
from argosy.pilot.compile.telemetry_providers import service_of, takes_logs
from argosy.pilot.compile.tracing_providers import takes_spans

IsReachable = Callable[[str, int], bool]
"""Whether proxies know a provider's service, by ``[<namespace>/]<host>``, with that port."""


Blocks = Sequence[api.Tracing | api.Metrics | api.AccessLogging]


@dataclass(frozen=True, slots=True)
class _Sort:
    """``default``: who takes it where no provider is named."""

    what: str
    takes: Callable[[ExtensionProvider], bool]
    default: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Block:
    """``missing``: nobody is named, neither here nor in a wider object nor by default."""

    field: str
    providers: tuple[api.ProviderRef, ...]
    sort: _Sort
    missing: bool


def conflicts(objects: Iterable[api.Telemetry]) -> tuple[Problem, ...]:
    """Objects of one namespace, oldest first, that another one without selector hides."""
    problems: list[Problem] = []
    winner: api.Telemetry | None = None
    for one in objects:
        if scope_of(one) != EVERYONE:
            continue
        if winner is None:
            winner = one
        else:
            Report(one.key, "spec.selector", problems).warning(
                "MultipleTelemetriesWithoutWorkloadSelectors",
                f"{winner.key} is older and for the whole namespace too, so this one has no effect",
                "merge the two, or give one a selector",
            )
    return tuple(problems)


def tag_problems(written: api.Telemetry) -> tuple[Problem, ...]:
    """Tags of spans that Envoy would refuse; they are left out."""
    problems: list[Problem] = []
    for index, block in enumerate(written.spec.tracing):
        for tag in tags(block.custom_tags or {}):
            if mistake := tag_mistake(tag):
                field = child(f"spec.tracing[{index}].customTags", tag.name)
                Report(written.key, field, problems).error(
                    "InvalidTag", f"{mistake}; the tag is left out", "correct it"
                )
    return tuple(problems)


def provider_problems(
    written: api.Telemetry,
    wider: Sequence[api.TelemetrySpec],
    defaults: TelemetryDefaults,
    is_reachable: IsReachable,
    *,
    mixer: bool,
) -> tuple[Problem, ...]:
    """Providers that are not there, or take nothing of the sort. ``mixer``: the mesh has one."""
    problems: list[Problem] = []
    for block in _blocks(written.spec, wider, defaults, mixer=mixer):
        if block.missing:
            what = block.sort.what
            Report(written.key, block.field, problems).warning(
                "InvalidTelemetryProvider",
                f"no provider is named, and the mesh has no default, so nobody gets {what}",
                "name providers, or write defaultProviders in MeshConfig",
            )
        for index, reference in enumerate(block.providers):
            report = Report(written.key, f"{block.field}.providers[{index}].name", problems)
            _check(reference.name, block.sort, defaults, is_reachable, report)
            provider = defaults.provider(reference.name)
            if provider is not None and provider.mixer is not None and not mixer:
                report.error(
                    "ProviderNotFound",
                    f"this mesh was started without Mixer, so {reference.name} gets nothing",
                    "name another provider, or start the mesh with Mixer",
                )
    return tuple(problems)


def default_problems(
    config: ObjectKey, defaults: TelemetryDefaults, is_reachable: IsReachable, *, mixer: bool
) -> tuple[Problem, ...]:
    """Of the providers that MeshConfig itself names: services that are not there.

    ``mixer``: the mesh has one, and it takes the spans that ``enableTracing`` alone demands.
    """
    problems: list[Problem] = []
    named: list[tuple[str, tuple[str, int] | None]] = [
        ("enableEnvoyAccessLogService", defaults.log_service)
    ]
    for field, names in (
        ("accessLogging", defaults.access_logging),
        ("tracing", defaults.tracing),
    ):
        for index, name in enumerate(names):
            provider = defaults.provider(name)
            if provider is not None and not (mixer and provider == ENABLED_TRACING):
                where = f"defaultProviders.{field}[{index}]"
                where = "enableTracing" if provider == ENABLED_TRACING else where
                named.append((where, service_of(provider)))
    for field, service in named:
        if service is not None and not is_reachable(*service):
            Report(config, f"data.mesh.{field}", problems).warning(
                "ProviderNotFound",
                f"there is no service {service[0]} with port {service[1]}, so it gets nothing",
                "correct the provider, or start the service",
            )
    return tuple(problems)


def _check(
    name: str,
    sort: _Sort,
    defaults: TelemetryDefaults,
    is_reachable: IsReachable,
    report: Report,
) -> None:
    provider = defaults.provider(name)
    if provider is None:
        known = ", ".join(sorted(one.name for one in defaults.providers))
        report.error(
            "ProviderNotFound",
            f"there is no provider {name}, so it gets no {sort.what}",
            f"add it to extensionProviders of MeshConfig; there are: {known}",
        )
    elif not sort.takes(provider):
        kind = ", ".join(kinds(provider)) or "nothing that is known"
        report.error(
            "ProviderNotFound",
            f"{name} takes no {sort.what}: it is {kind}",
            "name another provider",
        )
    elif (service := service_of(provider)) is not None and not is_reachable(*service):
        report.error(
            "ProviderNotFound",
            f"proxies do not know the service {service[0]} with port {service[1]}, so {name} gets "
            f"no {sort.what}",
            "correct extensionProviders of MeshConfig, or the Sidecar that hides it",
        )


def _blocks(
    spec: api.TelemetrySpec,
    wider: Sequence[api.TelemetrySpec],
    defaults: TelemetryDefaults,
    *,
    mixer: bool,
) -> Iterator[_Block]:
    spans = defaults.tracing or ((MIXER,) if mixer else ())
    older = ("accessLogFile",) if defaults.log_file or defaults.log_service else ()
    sorts: tuple[tuple[str, Callable[[api.TelemetrySpec], Blocks], _Sort], ...] = (
        ("tracing", lambda of: of.tracing, _Sort("spans", takes_spans, spans)),
        ("metrics", lambda of: of.metrics, _Sort("metrics", _takes_metrics, defaults.metrics)),
        (
            "accessLogging",
            lambda of: of.access_logging,
            _Sort("access logs", takes_logs, defaults.access_logging or older),
        ),
    )
    for field, blocks_of, sort in sorts:
        named = bool(sort.default) or any(b.providers for one in wider for b in blocks_of(one))
        for index, block in enumerate(blocks_of(spec)):
            named = named or bool(block.providers)
            missing = not named and not _switches_off(block)
            yield _Block(f"spec.{field}[{index}]", block.providers, sort, missing)


def _switches_off(block: api.Tracing | api.Metrics | api.AccessLogging) -> bool:
    return isinstance(block, api.AccessLogging) and bool(block.disabled)


def _takes_metrics(provider: ExtensionProvider) -> bool:
    return provider.prometheus is not None
