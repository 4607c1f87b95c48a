"""``argosy top``: who calls whom right now, how often, how fast, how well."""

import contextlib
import time
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from argosy.cli import edges as shown
from argosy.cli.client import ApiClient, Json
from argosy.cli.durations import seconds_of
from argosy.cli.options import MeshOption, OutputOption, require_format
from argosy.cli.output import Format, err, out, show_json, show_yaml

_PAUSE_SECONDS = 1.0
_COLUMNS = (
    *("SOURCE", "DESTINATION", "PROTOCOL", "RATE", "ERRORS", "P50", "P90", "P99"),
    *("SECURITY", ""),
)
_NUMBERS = frozenset(("RATE", "ERRORS", "P50", "P90", "P99"))


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
    require_format(output, Format.JSON, Format.YAML)
    seconds = seconds_of(since, "--since")
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
            for line in _view(answer, since, None):
                out.print(line)
            return
        with contextlib.suppress(KeyboardInterrupt), Live(console=out, screen=True) as live:
            while True:
                lines = _view(answer, since, out)
                for line in lines:
                    line.no_wrap, line.overflow = True, "crop"
                live.update(Group(*lines), refresh=True)
                time.sleep(_PAUSE_SECONDS)
                answer = shown.ask(client, seconds, namespace)


def _view(answer: Json, since: str, screen: Console | None) -> list[Text]:
    """With a ``screen`` what fits on it, else everything."""
    seconds = float(answer["seconds"])
    found = sorted(answer["edges"], key=lambda edge: (-shown.volume(edge), shown.source(edge)))
    room = len(found) if screen is None else max(1, screen.height - 6)
    rows = [
        shown.Row(Text(shown.source(edge)), _cells(edge, seconds), shown.severity(edge))
        for edge in found[:room]
    ]
    requests, errors = shown.totals(found)
    head = Text.assemble(
        (f"{requests / seconds:,.1f} requests/s", "bold"),
        f", {shown.share(errors, requests)} errors, over the last {since}",
    )
    parts = [head, Text(), *(shown.aligned(_COLUMNS, rows, _NUMBERS) if rows else [])]
    if len(found) > room:
        parts.append(Text(f"... and {len(found) - room} more: argosy top --once", "dim"))
    if not found:
        parts.append(Text(_nothing(since), "dim"))
    if screen is not None:
        parts += [Text(), Text("Ctrl-C ends.", "dim")]
    return parts


def _cells(edge: Json, seconds: float) -> tuple[str, ...]:
    ends = (shown.destination(edge), edge["protocol"])
    if shown.is_tcp(edge):
        opened = shown.rate(edge["tcp"]["opened"], seconds)
        return (*ends, opened, "-", "-", "-", "-", shown.security(edge), shown.moved(edge))
    latency = edge["latency"]
    return (
        *ends,
        shown.rate(edge["requests"], seconds),
        shown.share(edge["errors"], edge["requests"]),
        *(shown.milliseconds(latency[name]) for name in ("p50", "p90", "p99")),
        shown.security(edge),
        "",
    )


def _nothing(since: str) -> str:
    return f"No traffic in the last {since}: proxies tell every two seconds what they counted."
