"""Structured logs: one event constant, facts as keys. Text for people, JSON with ``ARGOSY_LOG=json``."""

import logging
import os
import sys

import structlog


class Secret(bytes):
    """Bytes that never print: keys and tokens."""

    def __repr__(self) -> str:
        return "[redacted]"

    __str__ = __repr__


def configure(level: str = "info") -> None:
    """Set up structlog for this process; call once, at the entry point. Writes to stderr."""
    renderer: structlog.typing.Processor
    if os.environ.get("ARGOSY_LOG") == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
