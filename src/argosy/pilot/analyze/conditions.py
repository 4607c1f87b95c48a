"""Conditions that somebody has written into an object's status, and that are not fulfilled."""

from argosy.base.names import ObjectKey
from argosy.base.problems import Problem, Severity
from argosy.derive import Reader, formula
from argosy.pilot.analyze.workloads import object_of


@formula
def negative_conditions(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    status = getattr(get(object_of, key), "status", None)
    return tuple(
        Problem(
            key,
            f"status.conditions[{index}]",
            "NegativeConditionStatus",
            f"the condition {condition.type} is False ({condition.reason}): {condition.message}",
            severity=Severity.WARNING,
        )
        for index, condition in enumerate(getattr(status, "conditions", ()))
        if condition.status == "False"
    )
