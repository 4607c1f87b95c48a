"""What became of one message of spans."""

from dataclasses import dataclass

from argosy.mixer.traces.span import Span


class MalformedError(ValueError):
    """A message of which nothing can be read; its text says why."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """``rejected`` spans could not be placed in a trace, the first of them for ``reason``."""

    spans: tuple[Span, ...]
    rejected: int = 0
    reason: str = ""
