"""Formats of access logs: text with Envoy's command operators.

Envoy refuses whole listeners for one wrong operator, so they are checked here.
https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage#command-operators
"""

import json
import re
from collections.abc import Iterator

from argosy.base.cel import CelError, check_expression
from argosy.pilot.compile.header_values import OPERATORS

_MORE = frozenset({"CEL", "COALESCE", "COMMON_DURATION", "ENVIRONMENT", "REQ_WITHOUT_QUERY"})
_OPERATOR = re.compile(r"%([A-Z0-9_]+)(?:\((.*?)\))?(?::[0-9]+)?%")


def format_mistake(text: str) -> str:
    """What is wrong with the operators of a text; empty when nothing is. ``%%`` is a percent.

    Arguments are looked at in CEL only.
    """
    position = 0
    while (start := text.find("%", position)) >= 0:
        if text.startswith("%%", start):
            position = start + 2
            continue
        found = _OPERATOR.match(text, start)
        if found is None:
            return (
                f"the % at position {start + 1} begins no command operator; "
                "write %% for a percent sign"
            )
        name, argument = found.groups()
        if name not in OPERATORS | _MORE:
            return f"Envoy has no operator %{name}%"
        if name == "CEL":
            try:
                check_expression(argument or "")
            except CelError as error:
                return f"%CEL({argument})% is no expression: {error}"
        position = found.end()
    return ""


def fields_mistake(text: str) -> str:
    """As ``format_mistake``, of all texts in an object as JSON."""
    return next(filter(None, map(format_mistake, _texts(json.loads(text)))), "")


def _texts(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for inner in value.values():
                yield from _texts(inner)
        case list():
            for inner in value:
                yield from _texts(inner)
