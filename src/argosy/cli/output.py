"""How answers are shown: tables, JSON, YAML, names; problems with file and line."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

Json = dict[str, Any]

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)
_tables = Console(highlight=False, width=10_000)
"""Tables are never cut to the terminal's width: a cut name is of no use."""


class Format(StrEnum):
    """What ``-o`` takes."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


def show_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def show_yaml(value: Any) -> None:
    yaml.dump(value, sys.stdout, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns as wide as their content; no lines, so that the output is easy to cut and search."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="")
    for column in columns:
        table.add_column(column, no_wrap=True, overflow="ignore")
    count = 0
    for row in rows:
        table.add_row(*map(escape, row))
        count += 1
    if count:
        _tables.print(table)
    else:
        err.print("Nothing found.")


def show_problem(problem: Json) -> None:
    """``file:12: VirtualService default/reviews: spec.http[0]...: what is wrong`` and what to do."""
    place = ":".join(str(problem[key]) for key in ("file", "line") if problem.get(key))
    about = " ".join(
        part
        for part in (
            problem.get("kind") or "",
            "/".join(p for p in (problem.get("namespace"), problem.get("name")) if p),
        )
        if part
    )
    severity = problem.get("severity") or "Error"
    style = "red" if severity == "Error" else "yellow"
    parts = [escape(p) for p in (place, about, problem.get("field") or "") if p]
    parts.append(escape(problem.get("message") or problem.get("code") or ""))
    err.print(f"[{style}]{severity}:[/] " + ": ".join(parts))
    if problem.get("hint"):
        err.print(f"       {escape(problem['hint'])}")


def age(timestamp: str | None) -> str:
    """``3m12s`` since an RFC 3339 time."""
    if not timestamp:
        return "<unknown>"
    since = datetime.now(UTC) - datetime.fromisoformat(timestamp)
    return duration(since.total_seconds())


def duration(seconds: float) -> str:
    """The two largest units: ``3m12s``, ``23h59m``, ``45s``."""
    left = max(int(seconds), 0)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or parts or unit == "s":
            parts.append(f"{count}{unit}")
        if len(parts) == 2:
            break
    return "".join(p for p in parts if not p.startswith("0") or len(parts) == 1)
