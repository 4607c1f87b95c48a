"""``argosy graph``: who calls whom, as text or for other programs."""

from collections.abc import Sequence
from enum import StrEnum
from itertools import groupby
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from argosy.cli import edges as shown
from argosy.cli import graph_drawings as drawings
from argosy.cli.client import ApiClient, Json
from argosy.cli.options import MeshOption
from argosy.cli.output import err, out, show_json


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
    seconds = shown.seconds_of(since)
    with ApiClient(mesh) as client:
        answer = shown.ask(client, seconds, namespace)
    edges, length = answer["edges"], float(answer["seconds"])
    match output:
        case GraphFormat.JSON:
            show_json(answer)
        case GraphFormat.DOT:
            typer.echo(drawings.dot(edges, length), nl=False)
        case GraphFormat.MERMAID:
            typer.echo(drawings.mermaid(edges, length), nl=False)
        case GraphFormat.SVG:
            typer.echo(drawings.svg(edges, length), nl=False)
        case GraphFormat.TEXT if not edges:
            err.print(f"No traffic in the last {since}.")
        case GraphFormat.TEXT:
            out.print(_tree(edges))
            out.print()
            out.print(_summary(edges, since, answer["overflowed"]), markup=False)


def _tree(edges: Sequence[Json]) -> Table:
    """Each caller once, and below it what it calls."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("WORKLOAD", no_wrap=True)
    table.add_column("PROTOCOL", no_wrap=True)
    for name in ("REQUESTS", "ERRORS", "P50", "P90", "P99"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("SECURITY", no_wrap=True)
    ordered = sorted(edges, key=lambda edge: (shown.source(edge), shown.destination(edge)))
    for source, calls in groupby(ordered, key=shown.source):
        table.add_row(Text(source, "bold"))
        below = list(calls)
        for edge in below:
            branch = "└─▶ " if edge is below[-1] else "├─▶ "
            row = Text.assemble((branch, "dim"), shown.destination(edge))
            table.add_row(row, *_cells(edge), style=shown.severity(edge))
    return table


def _cells(edge: Json) -> list[str]:
    if shown.is_tcp(edge):
        tcp = edge["tcp"]
        moved = f"{shown.size(tcp['sentBytes'])} out, {shown.size(tcp['receivedBytes'])} in"
        return ["tcp", f"{tcp['opened']:,}", "-", moved, "", "", shown.security(edge)]
    latency = edge["latency"]
    return [
        edge["protocol"],
        f"{edge['requests']:,}",
        shown.share(edge["errors"], edge["requests"]),
        *(shown.milliseconds(latency[name]) for name in ("p50", "p90", "p99")),
        shown.security(edge),
    ]


def _summary(edges: Sequence[Json], since: str, overflowed: int) -> str:
    requests, errors = shown.totals(edges)
    text = f"{requests:,} requests on {len(edges)} edges in the last {since}, {errors:,} errors"
    if overflowed:
        text += f"; {overflowed:,} times there was no room for another edge"
    return text
