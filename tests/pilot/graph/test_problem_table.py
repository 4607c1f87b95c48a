"""Each kind of rule is looked at as a whole: one row in the table of problems."""

from argosy.api import registry
from argosy.pilot.graph.problems import PROBLEMS


def test_rows_are_kinds() -> None:
    assert PROBLEMS.keys() <= registry.BY_KIND.keys()


def test_every_kind_of_rule_has_a_row() -> None:
    # An IngressClass is right or wrong by itself: nothing refers to it that could be missing.
    assert registry.STEERING - PROBLEMS.keys() == {"IngressClass"}
