"""Label and field selectors of list and watch requests.

https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
Field selectors: ``metadata.name`` and ``metadata.namespace``, as every Kubernetes kind has them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from argosy.base.names import ObjectKey

_KEY = r"(?:[a-z0-9.-]+/)?[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?"
_SET = re.compile(rf"({_KEY})\s+(in|notin)\s*\(([^()]*)\)")
_EQUALITY = re.compile(rf"({_KEY})\s*(==|=|!=)\s*({_VALUE})")
_EXISTS = re.compile(rf"(!?)\s*({_KEY})")


class SelectorError(ValueError):
    """A selector that does not parse, in words for the caller."""


class Operator(Enum):
    IN = "in"
    NOT_IN = "notin"
    EXISTS = "exists"
    NOT_EXISTS = "!"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One comma-separated part. As in Kubernetes, NOT_IN also matches a missing label."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case Operator.IN:
                return value in self.values
            case Operator.NOT_IN:
                return value not in self.values
            case Operator.EXISTS:
                return value is not None
            case Operator.NOT_EXISTS:
                return value is None


@dataclass(frozen=True, slots=True)
class Selector:
    """What a request asks for; the empty selector matches everything."""

    labels: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()

    def matches(self, key: ObjectKey, labels: Mapping[str, str]) -> bool:
        if self.fields:
            fields = {"metadata.name": key.name, "metadata.namespace": key.namespace}
            if not all(requirement.matches(fields) for requirement in self.fields):
                return False
        return all(requirement.matches(labels) for requirement in self.labels)


def selector(labels: str, fields: str) -> Selector:
    """Parse the two query parameters; raises :class:`SelectorError`."""
    return Selector(label_requirements(labels), field_requirements(fields))


def label_requirements(text: str) -> tuple[Requirement, ...]:
    """``app=web,tier in (a,b),!legacy`` and the like."""
    return tuple(_label_requirement(part) for part in _split(text))


def field_requirements(text: str) -> tuple[Requirement, ...]:
    """``metadata.name=reviews`` and the like."""
    requirements: list[Requirement] = []
    for part in _split(text):
        match = re.fullmatch(r"([\w.]+)\s*(==|=|!=)\s*(.*)", part)
        if match is None:
            raise SelectorError(f"unable to parse the field selector {part!r}")
        key, operator, value = match.groups()
        if key not in ("metadata.name", "metadata.namespace"):
            raise SelectorError(
                f"field label not supported: {key} (metadata.name and metadata.namespace are)"
            )
        requirements.append(_equality(key, operator, value))
    return tuple(requirements)


def _label_requirement(part: str) -> Requirement:
    if match := _SET.fullmatch(part):
        key, operator, values = match.groups()
        return Requirement(
            key, Operator(operator), frozenset(value.strip() for value in values.split(","))
        )
    if match := _EQUALITY.fullmatch(part):
        return _equality(*match.groups())
    if match := _EXISTS.fullmatch(part):
        operator = Operator.NOT_EXISTS if match.group(1) else Operator.EXISTS
        return Requirement(match.group(2), operator)
    raise SelectorError(f"unable to parse the label selector {part!r}")


def _equality(key: str, operator: str, value: str) -> Requirement:
    wanted = Operator.NOT_IN if operator == "!=" else Operator.IN
    return Requirement(key, wanted, frozenset({value}))


def _split(text: str) -> list[str]:
    """Parts between commas that are not inside parentheses."""
    parts = [part.strip() for part in re.split(r",(?![^()]*\))", text)]
    return [part for part in parts if part] if text.strip() else []
