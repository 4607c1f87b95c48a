"""MeshConfig → what holds of telemetry where no Telemetry says otherwise.

https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig-DefaultProviders
"""

import json
from dataclasses import dataclass
from typing import assert_never

from msgspec.structs import replace

from argosy.api import extension_providers, meshconfig
from argosy.api.extension_providers import ExtensionProvider
from argosy.api.telemetry_providers import unusable_fields
from argosy.api.tracing_providers import Zipkin
from argosy.model.telemetry import DEFAULT_FORMAT, FileSink, JsonFormat, LogFormat, TextFormat
from argosy.pilot.compile.hostnames import CLUSTER_DOMAIN
from argosy.pilot.compile.log_formats import fields_mistake, format_mistake
from argosy.pilot.compile.report import Report

STDOUT = "/dev/stdout"


ENABLED_TRACING = ExtensionProvider(
    name="zipkin",
    zipkin=Zipkin(service="zipkin.istio-system.svc.cluster.local", port=9411),
)
"""Where spans go by ``enableTracing`` alone; to Mixer, if there is no such service.

https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#Tracing
"""


@dataclass(frozen=True, slots=True)
class TelemetryDefaults:
    """``tracing``, ``metrics`` and ``access_logging`` are names of ``providers``.

    ``log_file`` is for what neither they nor any Telemetry decide (``accessLogFile``), and so is
    ``log_service``, host and port of an access log service.
    ``log_format`` is that of the built-in provider ``envoy``. ``listener_logs``: connections that no
    filter chain takes are logged too.
    """

    tracing: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ("prometheus",)
    access_logging: tuple[str, ...] = ()
    providers: tuple[ExtensionProvider, ...] = extension_providers.BUILT_IN
    log_file: FileSink | None = None
    log_service: tuple[str, int] | None = None
    log_format: LogFormat = DEFAULT_FORMAT
    listener_logs: bool = True

    def provider(self, name: str) -> ExtensionProvider | None:
        """As in Istio, case does not count."""
        wanted = name.lower()
        return next((one for one in self.providers if one.name.lower() == wanted), None)


NO_DEFAULTS = TelemetryDefaults()


def telemetry_defaults(written: meshconfig.MeshConfig, report: Report) -> TelemetryDefaults:
    own = {provider.name for provider in written.extension_providers}
    tracing = written.default_providers.tracing
    others: tuple[ExtensionProvider, ...] = extension_providers.BUILT_IN
    if written.enable_tracing and not tracing:
        tracing = (ENABLED_TRACING.name,)
        others = (*others, ENABLED_TRACING)
    log_format = _checked(
        _log_format(written, report.at("accessLogFormat")), report.at("accessLogFormat")
    )
    providers = tuple(
        _usable(provider, report.at(f"extensionProviders[{index}]"))
        for index, provider in enumerate(written.extension_providers)
    )
    chosen = written.default_providers
    found = TelemetryDefaults(
        tracing=tracing,
        metrics=chosen.metrics,
        access_logging=chosen.access_logging,
        providers=(
            *providers,
            *(one for one in others if one.name not in own),
        ),
        log_file=FileSink(written.access_log_file, log_format) if written.access_log_file else None,
        log_service=_log_service(written, report),
        log_format=log_format,
        listener_logs=not written.disable_envoy_listener_log,
    )
    for field, names in (
        ("tracing", found.tracing),
        ("metrics", found.metrics),
        ("accessLogging", found.access_logging),
    ):
        for index, name in enumerate(names):
            if found.provider(name) is None:
                known = ", ".join(sorted(provider.name for provider in found.providers))
                report.at(f"defaultProviders.{field}[{index}]").error(
                    "ProviderNotFound",
                    f"there is no provider {name}, so it gets nothing",
                    f"add it to extensionProviders; there are: {known}",
                )
    return found


def _checked(written: LogFormat, report: Report) -> LogFormat:
    match written:
        case TextFormat(text):
            mistake = format_mistake(text)
        case JsonFormat(text):
            mistake = fields_mistake(text) if text else ""
        case _:
            assert_never(written)
    if not mistake:
        return written
    _tell(mistake, report)
    return type(written)()


def _usable(provider: ExtensionProvider, report: Report) -> ExtensionProvider:
    """With the default format, if its own is one that Envoy would refuse."""
    file, otel = provider.envoy_file_access_log, provider.envoy_otel_als
    if file is not None and file.log_format is not None:
        mistake = format_mistake(file.log_format.text)
        mistake = mistake or fields_mistake(canonical(file.log_format.labels or {}))
        if mistake:
            _tell(mistake, report.at("envoyFileAccessLog.logFormat"))
            return replace(provider, envoy_file_access_log=replace(file, log_format=None))
    if otel is not None and otel.log_format is not None:
        mistake = format_mistake(otel.log_format.text)
        mistake = mistake or fields_mistake(canonical(otel.log_format.labels))
        if mistake:
            _tell(mistake, report.at("envoyOtelAls.logFormat"))
            return replace(provider, envoy_otel_als=replace(otel, log_format=None))
    return provider


def _tell(mistake: str, report: Report) -> None:
    report.error("InvalidAccessLogFormat", f"{mistake}; the default format is used", "correct it")


def _log_service(written: meshconfig.MeshConfig, report: Report) -> tuple[str, int] | None:
    if not written.enable_envoy_access_log_service:
        return None
    service = written.default_config.envoy_access_log_service
    address = "" if service is None else service.address
    host, _, port = address.rpartition(":")
    if host and port.isascii() and port.isdecimal() and 1 <= int(port) <= 65535:
        short = host.count(".") == 1
        return (f"{host}.svc.{CLUSTER_DOMAIN}" if short else host), int(port)
    report.at("enableEnvoyAccessLogService").error(
        "InvalidValue",
        f"{address!r} is not the address of an access log service, so none gets anything",
        "write defaultConfig.envoyAccessLogService.address: <name>.<namespace>:<port>",
    )
    return None


def ended(text: str) -> str:
    """Every entry is a line, whether the format ends it or not, as in Istio."""
    return text if not text or text.endswith("\n") else f"{text}\n"


def canonical(fields: object) -> str:
    return json.dumps(fields, sort_keys=True, ensure_ascii=False)


def _log_format(written: meshconfig.MeshConfig, report: Report) -> LogFormat:
    text = written.access_log_format
    if written.access_log_encoding == "TEXT":
        return TextFormat(ended(text))
    if not text:
        return JsonFormat()
    try:
        fields = json.loads(text)
    except ValueError as error:
        fields, reason = None, str(error)
    else:
        reason = unusable_fields(fields)
    if reason:
        report.error(
            "InvalidAccessLogFormat",
            f"with accessLogEncoding JSON the format must be JSON: {reason}; "
            "the default format is used",
        )
        return JsonFormat()
    return JsonFormat(canonical(fields))
