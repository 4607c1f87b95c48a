"""How answers are shown: tables, JSON, YAML, names; problems with file and line."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from rich.console import Console
from rich.markup import escape

from argosy.api.yaml_output import as_yaml

Json = dict[str, Any]


class Outlet(Console):
    """A console whose reader may leave: ``argosy get pods | head -1``.

    The command then ends, as others do, unless it ``outlives`` its reader.
    """

    outlives = False

    def on_broken_pipe(self) -> None:
        """Called by rich. What is written from now on goes nowhere."""
        if not self.outlives:
            super().on_broken_pipe()
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())
        os.close(nowhere)


out = Outlet(highlight=False, soft_wrap=True)
err = Outlet(stderr=True, highlight=False, soft_wrap=True)


def outlive_readers() -> None:
    """From now on the command goes on to its end when nobody reads what it says any more."""
    out.outlives = err.outlives = True


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
    sys.stdout.write(as_yaml(value))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> bool:
    """Columns as wide as their content; no lines, so that the output is easy to cut and search.

    A line has no spaces at its end, and is never cut to the terminal's width: a cut name is of no
    use. Whether there was a row; without one nothing is printed.
    """
    cells = [tuple(columns), *map(tuple, rows)]
    if len(cells) == 1:
        return False
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        line = "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write(line.rstrip() + "\n")
    return True


def show_facts(facts: Iterable[tuple[str, str]], indent: str = "") -> None:
    """``Name:  value`` lines, the values below each other; a value may have several lines."""
    kept = [(name, value) for name, value in facts if value]
    width = max((len(name) for name, _ in kept), default=0) + 2
    for name, value in kept:
        title = f"{name}:"
        for line in value.splitlines():
            sys.stdout.write(f"{indent}{title:{width}} {line}".rstrip() + "\n")
            title = ""


def severity_of(problem: Json) -> str:
    """``Error``, ``Warning`` or ``Info``, of a problem of an apply or of a status."""
    return str(problem.get("severity") or problem.get("level") or "Error").capitalize()


def style_of(severity: str) -> str:
    return {"Error": "red", "Warning": "yellow"}.get(severity, "cyan")


def code_of(problem: Json) -> str:
    """Istio's code for it, of a problem of an apply or of a status, to stand behind its words."""
    kind = problem.get("type")
    code = kind.get("code") if isinstance(kind, dict) else problem.get("istioCode")
    return escape(f" [{code}]") if code else ""


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
    severity = severity_of(problem)
    parts = [escape(p) for p in (place, about, problem.get("field") or "") if p]
    parts.append(escape(problem.get("message") or problem.get("code") or ""))
    err.print(f"[{style_of(severity)}]{severity}:[/] " + ": ".join(parts) + code_of(problem))
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


def show_error(message: str, hint: str = "") -> None:
    """What went wrong, and what to do."""
    err.print(f"[red]Error:[/] {escape(message)}")
    if hint:
        err.print(f"       {escape(hint)}")
