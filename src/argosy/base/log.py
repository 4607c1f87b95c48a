"""Structured logs: one event constant, facts as keys. Text for people, JSON with ``ARGOSY_LOG=json``.

An event's name begins with its scope (``xds.connected``, ``certificate.issued``). Each scope may have a
level of its own, also while the process runs.
"""

import logging
import os
import re
import sys
from collections.abc import Mapping

import structlog
from structlog.typing import EventDict, WrappedLogger

FORMAT_VARIABLE = "ARGOSY_LOG"
LEVELS_VARIABLE = "ARGOSY_LOG_LEVEL"
"""``info``, or by scope ``default:info,xds:debug``, as Istio's ``--log_output_level``."""

DEFAULT = "default"
"""The scope of everything that has no level of its own."""

LEVELS = ("debug", "info", "warning", "error", "none")
MAX_SCOPES = 50

_NUMBERS = {**logging.getLevelNamesMapping(), "NONE": logging.CRITICAL + 1}
_SCOPE = re.compile(r"[a-z][a-z_-]{0,40}")
_levels: dict[str, int] = {DEFAULT: logging.INFO}
_METHODS = {"exception": "ERROR", "warn": "WARNING"}


class Secret(bytes):
    """Bytes that never print: keys and tokens."""

    def __repr__(self) -> str:
        return "[redacted]"

    __str__ = __repr__


class LevelError(ValueError):
    """What is no level, or no scope; the message says which."""


def parse_levels(text: str) -> dict[str, str]:
    """``debug`` or ``xds:debug,default:info`` to levels by scope. Raises ``LevelError``."""
    found = {}
    for part in filter(None, map(str.strip, text.split(","))):
        scope, colon, level = part.rpartition(":")
        found[scope if colon else DEFAULT] = level
    return checked(found)


def checked(levels: Mapping[str, str]) -> dict[str, str]:
    """The same. Raises ``LevelError``."""
    for scope, level in levels.items():
        if level not in LEVELS:
            raise LevelError(f"{level!r} is no level of logs: use {', '.join(LEVELS)}")
        if not _SCOPE.fullmatch(scope):
            raise LevelError(f"{scope!r} is no scope: it is how an event begins, as xds or jwks")
    if len(levels) > MAX_SCOPES:
        raise LevelError(f"more than {MAX_SCOPES} scopes")
    return dict(levels)


def set_levels(levels: Mapping[str, str]) -> None:
    """From now on, of this process. Scopes that are not named follow ``default`` again."""
    numbers = {scope: _NUMBERS[level.upper()] for scope, level in checked(levels).items()}
    _levels.update(numbers)
    for scope in _levels.keys() - numbers.keys() - {DEFAULT}:  # other threads log meanwhile
        del _levels[scope]


def levels() -> dict[str, str]:
    """By scope, those that have one of their own."""
    names = {_NUMBERS[name.upper()]: name for name in LEVELS}
    return {scope: names[number] for scope, number in sorted(_levels.items())}


def configure(levels: str = "") -> None:
    """Set up structlog for this process; call once, at the entry point. Writes to stderr.

    Raises ``LevelError``.
    """
    set_levels(parse_levels(levels or os.environ.get(LEVELS_VARIABLE, "")))
    renderer: structlog.typing.Processor
    if os.environ.get(FORMAT_VARIABLE) == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            _drop_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _drop_by_level(_logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    scope = str(event.get("event", "")).partition(".")[0]
    least = _levels.get(scope, _levels[DEFAULT])
    if _NUMBERS[_METHODS.get(method, method.upper())] < least:
        raise structlog.DropEvent
    return event
