"""What ``argosy describe`` has to say of an object, before it is printed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from argosy.cli.client import Json, name_of, namespace_of

NONE = "-"


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    empty: str = ""
    """What is said without rows; nothing at all when this is empty too."""


@dataclass(frozen=True, slots=True)
class Description:
    """``facts`` with an empty value are left out."""

    facts: tuple[tuple[str, str], ...] = ()
    tables: tuple[Table, ...] = ()


def pairs(labels: Mapping[str, Any] | None, separator: str = ", ") -> str:
    """``app=reviews, version=v1``."""
    return separator.join(f"{key}={value}" for key, value in sorted((labels or {}).items()))


def path_of(item: Json) -> str:
    """``namespace/name``."""
    return "/".join(part for part in (namespace_of(item), name_of(item)) if part)


def spec_of(item: Json) -> Json:
    spec: Json = item.get("spec") or {}
    return spec
