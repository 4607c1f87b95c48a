"""What is wrong with Telemetry objects, as only MeshConfig and other objects can tell."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from argosy.api import telemetry as api
from argosy.api.extension_providers import ExtensionProvider, kinds
from argosy.base.problems import Problem
from argosy.model.policy_scope import EVERYONE
from argosy.pilot.compile.report import Report
from argosy.pilot.compile.telemetry import scope_of
from argosy.pilot.compile.telemetry_defaults import TelemetryDefaults
from argosy.pilot.compile.telemetry_providers import service_of, takes_logs, takes_spans

IsReachable = Callable[[str, int], bool]
"""Whether proxies know a provider's service, by ``[<namespace>/]<host>``, with that port."""


@dataclass(frozen=True, slots=True)
class _Block:
    """``default``: who takes it where no provider is named."""

    field: str
    providers: tuple[api.ProviderRef, ...]
    default: tuple[str, ...]
    what: str
    takes: Callable[[ExtensionProvider], bool]


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


def provider_problems(
    written: api.Telemetry, defaults: TelemetryDefaults, is_reachable: IsReachable
) -> tuple[Problem, ...]:
    """Providers that are not there, or take nothing of the sort."""
    problems: list[Problem] = []
    for block in _blocks(written.spec, defaults):
        if not block.providers and not block.default:
            Report(written.key, block.field, problems).warning(
                "InvalidTelemetryProvider",
                f"no provider is named, and the mesh has no default, so nobody gets {block.what}",
                "name providers, or write defaultProviders in MeshConfig",
            )
        for index, reference in enumerate(block.providers):
            report = Report(written.key, f"{block.field}.providers[{index}].name", problems)
            _check(reference.name, block, defaults, is_reachable, report)
    return tuple(problems)


def _check(
    name: str,
    block: _Block,
    defaults: TelemetryDefaults,
    is_reachable: IsReachable,
    report: Report,
) -> None:
    provider = defaults.provider(name)
    if provider is None:
        known = ", ".join(sorted(one.name for one in defaults.providers))
        report.error(
            "ProviderNotFound",
            f"there is no provider {name}, so it gets no {block.what}",
            f"add it to extensionProviders of MeshConfig; there are: {known}",
        )
    elif not block.takes(provider):
        kind = ", ".join(kinds(provider)) or "nothing that is known"
        report.error(
            "ProviderNotFound",
            f"{name} takes no {block.what}: it is {kind}",
            "name another provider",
        )
    elif (service := service_of(provider)) is not None and not is_reachable(*service):
        report.error(
            "ProviderNotFound",
            f"proxies do not know the service {service[0]} with port {service[1]}, so {name} gets "
            f"no {block.what}",
            "correct extensionProviders of MeshConfig, or the Sidecar that hides it",
        )


def _blocks(spec: api.TelemetrySpec, defaults: TelemetryDefaults) -> Iterator[_Block]:
    log_file = ("accessLogFile",) if defaults.log_file is not None else ()
    for index, tracing in enumerate(spec.tracing):
        field = f"spec.tracing[{index}]"
        yield _Block(field, tracing.providers, defaults.tracing, "spans", takes_spans)
    for index, metrics in enumerate(spec.metrics):
        field = f"spec.metrics[{index}]"
        yield _Block(field, metrics.providers, defaults.metrics, "metrics", _takes_metrics)
    for index, logging in enumerate(spec.access_logging):
        field = f"spec.accessLogging[{index}]"
        default = defaults.access_logging or log_file
        yield _Block(field, logging.providers, default, "access logs", takes_logs)


def _takes_metrics(provider: ExtensionProvider) -> bool:
    return provider.prometheus is not None
