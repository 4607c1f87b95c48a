"""Limits as envoyproxy/ratelimit's configuration files say them. Pure.

https://github.com/envoyproxy/ratelimit#configuration
Counting differs: buckets that fill continuously instead of windows that begin with the clock's, so
at the border of two windows no client gets twice what is written.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Literal

import msgspec

from argosy.model.rate_limit import Rate

_PERIODS = {
    "second": timedelta(seconds=1),
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
    "month": timedelta(days=30),
    "year": timedelta(days=365),
}

Entry = tuple[str, str]
"""Key and value of a descriptor's entry."""

Unit = Literal["second", "minute", "hour", "day", "week", "month", "year"]


class ConfigurationError(Exception):
    """A file cannot be read; the text says which, and why."""


class _RateLimit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    unit: str = ""
    requests_per_unit: int = 0
    unlimited: bool = False
    name: str = ""


class _Descriptor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``value`` empty: any value, and each counts for itself; ``value*``: those that begin so."""

    key: str
    value: str = ""
    rate_limit: _RateLimit | None = None
    descriptors: tuple["_Descriptor", ...] = ()
    shadow_mode: bool = False
    detailed_metric: bool = False


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    domain: str
    descriptors: tuple[_Descriptor, ...] = ()


class DescriptorLimit(msgspec.Struct, frozen=True):
    """``rate`` None: unlimited. ``shadow``: it counts and refuses nothing."""

    rate: Rate | None
    shadow: bool = False
    name: str = ""


class Configuration:
    """All domains of a directory."""

    def __init__(self, files: Iterable[tuple[str, str]] = ()) -> None:
        """``files`` are names and contents. Raises ``ConfigurationError``."""
        self._domains: dict[str, tuple[_Descriptor, ...]] = {}
        for name, content in files:
            try:
                found = msgspec.yaml.decode(content, type=_File)
                for descriptor in found.descriptors:
                    _check(descriptor)
            except (msgspec.DecodeError, ValueError) as error:
                raise ConfigurationError(f"{name}: {error}") from error
            if found.domain in self._domains:
                raise ConfigurationError(f"{name}: the domain {found.domain} is in two files")
            self._domains[found.domain] = found.descriptors

    @property
    def domains(self) -> tuple[str, ...]:
        return tuple(sorted(self._domains))

    def find(self, domain: str, entries: Sequence[Entry]) -> DescriptorLimit | None:
        """The limit of a descriptor: that of the last of ``entries``, below those before it."""
        level = self._domains.get(domain, ())
        found: _Descriptor | None = None
        for key, value in entries:
            found = _best(level, key, value)
            if found is None:
                return None
            level = found.descriptors
        if found is None or found.rate_limit is None:
            return None
        written = found.rate_limit
        name = written.name or domain
        if written.unlimited:
            return DescriptorLimit(None, found.shadow_mode, name)
        rate = rate_of(written.requests_per_unit, written.unit)
        return DescriptorLimit(rate, found.shadow_mode, name)


def rate_of(requests: int, unit: str) -> Rate:
    """Raises ValueError for units that there are not."""
    period = _PERIODS.get(unit.lower())
    if period is None:
        raise ValueError(f"{unit!r} is no unit: write one of {', '.join(_PERIODS)}")
    return Rate(max(1, requests), period, requests)


def _best(level: Sequence[_Descriptor], key: str, value: str) -> _Descriptor | None:
    """That of the value itself, then of a beginning, then of any value."""
    named = [one for one in level if one.key == key]
    for one in named:
        if one.value and one.value == value:
            return one
    for one in named:
        if one.value.endswith("*") and value.startswith(one.value[:-1]):
            return one
    return next((one for one in named if not one.value), None)


def _check(descriptor: _Descriptor) -> None:
    limit = descriptor.rate_limit
    if limit is not None and limit.unlimited == bool(limit.unit):
        raise ValueError(f"rate_limit of {descriptor.key} has either a unit, or unlimited: true")
    if limit is not None and limit.unit:
        rate_of(limit.requests_per_unit, limit.unit)
    for inner in descriptor.descriptors:
        _check(inner)
