"""Semantic checks of one decoded object."""

from argosy.api.located import LocatedProblem
from argosy.api.meta import Object


def validated(value: Object) -> tuple[LocatedProblem, ...]:
    """Everything that is wrong with the object by itself, with lines."""
    return ()
