"""``argosy graph``: who calls whom, as text or for other programs."""

from collections.abc import Sequence
from enum import StrEnum
from itertools import groupby
from typing import Annotated

import typer
from rich.text import Text

from argosy.cli import edges as shown
from argosy.cli import graph_drawings as drawings
from argosy.cli.client import ApiClient, Json
from argosy.cli.durations import seconds_of
from argosy.cli.options import MeshOption
from argosy.cli.output import err, out, show_json

_COLUMNS = ("WORKLOAD", "PROTOCOL", "REQUESTS", "ERRORS", "P50", "P90", "P99", "SECURITY", "")
_NUMBERS = frozenset(("REQUESTS", "ERRORS", "P50", "P90", "P99"))


class GraphFormat(StrEnum):
    """What ``-o`` takes here."""

    TEXT = "text"
    JSON = "json"
    DOT = "dot"
    MERMAID = "mermaid"
    SVG = "svg"


def graph(
    since: shown.SinceOption = "1h",
    namespace: shown.NamespacesOption = "",
    output: Annotated[
        GraphFormat, typer.Option("--output", "-o", help="How to show it.")
    ] = GraphFormat.TEXT,
    mesh: MeshOption = "default",
) -> None:
    """Show which workloads called which, with counts, errors, latencies and mutual TLS.

    Requests are as the callers' proxies counted them, whole minutes; -o json has both sides.
    """
    seconds = seconds_of(since, "--since")
    with ApiClient(mesh) as client:
        answer = shown.ask(client, seconds, namespace)
    edges = answer["edges"]
    match output:
        case GraphFormat.JSON:
            show_json(answer)
        case GraphFormat.DOT:
            typer.echo(drawings.dot(edges), nl=False)
        case GraphFormat.MERMAID:
            typer.echo(drawings.mermaid(edges), nl=False)
        case GraphFormat.SVG:
            typer.echo(drawings.svg(edges), nl=False)
        case GraphFormat.TEXT if not edges:
            err.print(f"No traffic in the last {since}.")
        case GraphFormat.TEXT:
            for line in _tree(edges):
                out.print(line)
            out.print()
            out.print(_summary(edges, since, answer["overflowed"]), markup=False)


def _tree(edges: Sequence[Json]) -> list[Text]:
    """Each caller once, and below it what it calls."""
    rows: list[shown.Row] = []
    ordered = sorted(edges, key=lambda edge: (shown.source(edge), shown.destination(edge)))
    for source, calls in groupby(ordered, key=shown.source):
        rows.append(shown.Row(Text(source, "bold")))
        below = list(calls)
        for edge in below:
            branch = "└─▶ " if edge is below[-1] else "├─▶ "
            first = Text.assemble((branch, "dim"), shown.destination(edge))
            rows.append(shown.Row(first, _cells(edge), shown.severity(edge)))
    return shown.aligned(_COLUMNS, rows, _NUMBERS)


def _cells(edge: Json) -> tuple[str, ...]:
    if shown.is_tcp(edge):
        count = f"{edge['tcp']['opened']:,}"
        return ("tcp", count, "-", "-", "-", "-", shown.security(edge), shown.moved(edge))
    latency = edge["latency"]
    return (
        edge["protocol"],
        f"{edge['requests']:,}",
        shown.share(edge["errors"], edge["requests"]),
        *(shown.milliseconds(latency[name]) for name in ("p50", "p90", "p99")),
        shown.security(edge),
        "",
    )


def _summary(edges: Sequence[Json], since: str, overflowed: int) -> str:
    requests, errors = shown.totals(edges)
    text = f"{requests:,} requests on {len(edges)} edges in the last {since}, {errors:,} errors"
    if overflowed:
        text += f"; {overflowed:,} times there was no room for another edge"
    return text
