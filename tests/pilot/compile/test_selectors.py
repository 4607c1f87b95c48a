"""Kubernetes' label selectors."""

import pytest

from argosy.api.meta import LabelSelector, LabelSelectorRequirement
from argosy.pilot.compile.selectors import matches

LABELS = {"env": "prod", "team": "a"}


@pytest.mark.parametrize(
    ("operator", "key", "values", "expected"),
    [
        ("In", "env", ("prod", "test"), True),
        ("In", "absent", ("prod",), False),
        ("NotIn", "env", ("prod",), False),
        ("NotIn", "absent", ("prod",), True),
        ("Exists", "team", (), True),
        ("Exists", "absent", (), False),
        ("DoesNotExist", "team", (), False),
        ("DoesNotExist", "absent", (), True),
    ],
)
def test_expressions(operator: str, key: str, values: tuple[str, ...], expected: bool) -> None:
    """https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/"""
    requirement = LabelSelectorRequirement(key=key, operator=operator, values=values)
    assert matches(LabelSelector(match_expressions=(requirement,)), LABELS) is expected


def test_everything_must_hold_and_nothing_asked_is_always_had() -> None:
    exists = LabelSelectorRequirement(key="team", operator="Exists")
    assert matches(LabelSelector(), {})
    assert matches(LabelSelector(match_labels={"env": "prod"}, match_expressions=(exists,)), LABELS)
    assert not matches(
        LabelSelector(match_labels={"env": "test"}, match_expressions=(exists,)), LABELS
    )
