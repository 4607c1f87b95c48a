"""What a pod's annotations say of its proxy, by Istio's names.

https://istio.io/latest/docs/reference/config/annotations/
https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#ProxyConfig
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from argosy.proxy.bootstrap import StatsInclusion

PROXY_CONFIG = "proxy.istio.io/config"
_LIST_ANNOTATIONS = {
    "prefixes": "sidecar.istio.io/statsInclusionPrefixes",
    "suffixes": "sidecar.istio.io/statsInclusionSuffixes",
    "regexps": "sidecar.istio.io/statsInclusionRegexps",
}
_LOG_LEVEL = "sidecar.istio.io/logLevel"
_LOG_LEVELS = frozenset({"trace", "debug", "info", "warning", "error", "critical", "off"})
_MAX_CONCURRENCY = 64
_DEFAULT_PERIOD, _DEFAULT_FAILURES = 5, 2
_PERIOD = "readiness.status.sidecar.istio.io/periodSeconds"
_FAILURES = "readiness.status.sidecar.istio.io/failureThreshold"


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """``concurrency`` is a number of worker threads. ``mistakes`` are texts for a person.

    ``readiness_period`` are seconds; after so many ``readiness_failures`` the pod is not ready.
    """

    concurrency: int = 1
    log_level: str = "warning"
    stats: StatsInclusion = field(default_factory=StatsInclusion)
    mistakes: tuple[str, ...] = ()
    readiness_period: int = _DEFAULT_PERIOD
    readiness_failures: int = _DEFAULT_FAILURES


def proxy_settings(annotations: Mapping[str, str]) -> ProxySettings:
    """The settings; what cannot be understood is left at its default and said."""
    mistakes: list[str] = []
    config = _proxy_config(annotations.get(PROXY_CONFIG, ""), mistakes)
    matcher = config.get("proxyStatsMatcher")
    stats = {
        name: _texts(matcher, f"inclusion{name.capitalize()}", mistakes)
        + tuple(filter(None, annotations.get(annotation, "").split(",")))
        for name, annotation in _LIST_ANNOTATIONS.items()
    }
    concurrency = config.get("concurrency", 1)
    if not isinstance(concurrency, int) or not 1 <= concurrency <= _MAX_CONCURRENCY:
        mistakes.append(f"{PROXY_CONFIG}: concurrency is a number from 1 to {_MAX_CONCURRENCY}")
        concurrency = 1
    level = annotations.get(_LOG_LEVEL, "warning")
    if level not in _LOG_LEVELS:
        mistakes.append(f"{_LOG_LEVEL} is one of {', '.join(sorted(_LOG_LEVELS))}")
        level = "warning"
    return ProxySettings(
        concurrency,
        level,
        StatsInclusion(**stats),
        readiness_period=_positive(annotations, _PERIOD, _DEFAULT_PERIOD, mistakes),
        readiness_failures=_positive(annotations, _FAILURES, _DEFAULT_FAILURES, mistakes),
        mistakes=tuple(mistakes),
    )


def _positive(annotations: Mapping[str, str], name: str, default: int, mistakes: list[str]) -> int:
    text = annotations.get(name, "")
    if text.isdigit() and int(text) > 0:
        return int(text)
    if text:
        mistakes.append(f"{name} is a number from 1 on")
    return default


def _proxy_config(text: str, mistakes: list[str]) -> dict[str, Any]:
    try:
        config = yaml.load(text, yaml.CSafeLoader) if text else {}
    except yaml.YAMLError as error:
        mistakes.append(f"{PROXY_CONFIG} is not YAML: {error}")
        return {}
    if not isinstance(config, dict):
        mistakes.append(f"{PROXY_CONFIG} is not a map")
        return {}
    return config


def _texts(matcher: object, name: str, mistakes: list[str]) -> tuple[str, ...]:
    if not isinstance(matcher, dict):
        return ()
    values = matcher.get(name, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        mistakes.append(f"{PROXY_CONFIG}: proxyStatsMatcher.{name} is a list of texts")
        return ()
    return tuple(values)
