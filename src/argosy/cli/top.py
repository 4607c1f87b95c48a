"""``argosy top``: who calls whom right now, how often, how fast, how well."""

import contextlib
import time
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from argosy.cli import edges as shown
from argosy.cli.client import ApiClient, Json
from argosy.cli.options import MeshOption, OutputOption
from argosy.cli.output import Format, err, out, show_json, show_yaml

_PAUSE_SECONDS = 1.0


def top(
    once: Annotated[bool, typer.Option("--once", help="Show it once, and end.")] = False,
    since: shown.SinceOption = "30s",
    namespace: shown.NamespacesOption = "",
    output: OutputOption = Format.TABLE,
    mesh: MeshOption = "default",
) -> None:
    """Show the edges with the most traffic: rate, errors, p50, p90 and p99, again every second.

    Numbers are over the last --since, as the callers' proxies counted; they come every two seconds.
    """
    seconds = shown.seconds_of(since)
    with ApiClient(mesh) as client:
        answer = shown.ask(client, seconds, namespace)
        if output is Format.JSON:
            show_json(answer)
            return
        if output is Format.YAML:
            show_yaml(answer)
            return
        if once or not out.is_terminal:
            if not answer["edges"]:
                err.print(_nothing(since))
                return
            out.print(_view(answer, since, None))
            return
        with contextlib.suppress(KeyboardInterrupt), Live(console=out, screen=True) as live:
            while True:
                live.update(_view(answer, since, out), refresh=True)
                time.sleep(_PAUSE_SECONDS)
                answer = shown.ask(client, seconds, namespace)


def _view(answer: Json, since: str, screen: Console | None) -> Group:
    """With a ``screen`` what fits on it, else everything."""
    seconds = float(answer["seconds"])
    found = sorted(answer["edges"], key=lambda edge: (-shown.volume(edge), shown.source(edge)))
    room = len(found) if screen is None else max(1, screen.height - 6)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("SOURCE", "DESTINATION", "PROTOCOL"):
        table.add_column(name, no_wrap=True)
    for name in ("RATE", "ERRORS", "P50", "P90", "P99"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("SECURITY", no_wrap=True)
    for edge in found[:room]:
        table.add_row(*_cells(edge, seconds), style=shown.severity(edge))
    requests, errors = shown.totals(found)
    head = Text.assemble(
        (f"{shown.rate(requests, seconds)} requests", "bold"),
        f", {shown.share(errors, requests)} errors, over the last {since}",
    )
    parts: list[Text | Table] = [head, Text(), table]
    if len(found) > room:
        parts.append(Text(f"... and {len(found) - room} more: argosy top --once", "dim"))
    if not found:
        parts.append(Text(_nothing(since), "dim"))
    if screen is not None:
        parts += [Text(), Text("Ctrl-C ends.", "dim")]
    return Group(*parts)


def _cells(edge: Json, seconds: float) -> list[str]:
    ends = [shown.source(edge), shown.destination(edge), edge["protocol"]]
    if shown.is_tcp(edge):
        tcp = edge["tcp"]
        moved = f"{shown.size(tcp['sentBytes'] + tcp['receivedBytes'])}"
        return [*ends, f"{tcp['opened']} opened", "-", moved, "", "", shown.security(edge)]
    latency = edge["latency"]
    return [
        *ends,
        shown.rate(edge["requests"], seconds),
        shown.share(edge["errors"], edge["requests"]),
        *(shown.milliseconds(latency[name]) for name in ("p50", "p90", "p99")),
        shown.security(edge),
    ]


def _nothing(since: str) -> str:
    return f"No traffic in the last {since}: proxies tell every two seconds what they counted."
