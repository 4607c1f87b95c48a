"""Which mistakes one object has that its types do not show.

One function for all kinds; the rules are in ``validate_<kind>``, named by the kind's row in
``registry``. They look at the object alone: what it names (hosts, subsets, gateways, secrets) is
looked up where configuration is compiled. Metadata is checked by decoding already.
"""

from collections.abc import Iterable, Iterator

from argosy.api import registry
from argosy.api.meta import Object
from argosy.api.typed import Mistake
from argosy.base.problems import Problem, Severity

MAX_PROBLEMS = 200
"""Errors told for one object, and as many warnings."""


def validate(obj: Object) -> tuple[Problem, ...]:
    """All mistakes, errors and warnings, in the order of the rules.

    Looking ends after ``MAX_PROBLEMS``: nobody reads more, and it bounds the time.
    """
    found = _bounded(registry.require_struct(type(obj)).validate(obj))
    return tuple(Problem(obj.key, m.field, m.code, m.message, m.hint, m.severity) for m in found)


def _bounded(mistakes: Iterable[Mistake]) -> Iterator[Mistake]:
    """The first ``MAX_PROBLEMS`` mistakes; warnings alone never hide an error behind them."""
    warnings = 0
    errors = 0
    for mistake in mistakes:
        if mistake.severity is Severity.ERROR:
            errors += 1
        else:
            warnings += 1
            if warnings > MAX_PROBLEMS:
                continue
        yield mistake
        if errors == MAX_PROBLEMS:
            return
