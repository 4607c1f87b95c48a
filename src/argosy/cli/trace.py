"""``argosy trace``: the last traces that Mixer keeps, and one of them as a tree."""

import time
from collections.abc import Iterable
from typing import Annotated
from urllib.parse import quote

import typer
from rich.text import Text

from argosy.cli.client import ApiClient, CliError, Json
from argosy.cli.options import MeshOption, OutputOption
from argosy.cli.output import Format, err, out, show_json, show_yaml
from argosy.cli.trace_view import list_lines, short_id, trace_lines

_TRACES = "/mixer/traces"
_LIST_OPTIONS = "--last, --slow, --errors, --service, --control-plane and --min"
_NOTHING = (
    "Of all requests 1 % is traced, unless something says otherwise. To trace each of them:\n\n"
    "  argosy apply -f - <<EOF\n"
    "  apiVersion: telemetry.istio.io/v1\n"
    "  kind: Telemetry\n"
    "  metadata: {name: tracing, namespace: istio-system}\n"
    "  spec:\n"
    "    tracing: [{randomSamplingPercentage: 100}]\n"
    "  EOF"
)


def trace(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]", help="A trace, by its id, how that begins, or its x-request-id."
        ),
    ] = None,
    last: Annotated[
        int, typer.Option("--last", min=1, max=1000, help="How many traces to list.")
    ] = 10,
    slow: Annotated[bool, typer.Option("--slow", help="Those that took longest.")] = False,
    errors: Annotated[
        bool, typer.Option("--errors", help="Only those in which something failed.")
    ] = False,
    service: Annotated[
        str, typer.Option("--service", help="Only those in which it had a part: reviews.")
    ] = "",
    control_plane: Annotated[
        bool,
        typer.Option("--control-plane", help="Those of changes of the mesh, not of requests."),
    ] = False,
    least: Annotated[
        float, typer.Option("--min", min=0, help="Only those of so many ms, or more.")
    ] = 0.0,
    output: OutputOption = Format.TABLE,
    mesh: MeshOption = "default",
) -> None:
    """Show where the time of requests went: the last traces, or one of them span by span.

    With --control-plane: where the time of changes went, from `argosy apply` to the last proxy.

    Without an ID the last traces are listed, the newest first. Each line of a trace is a span:
    who, → calls or ← answers, what, how it ended, how long it took, and when.
    """
    listed = slow or errors or control_plane or bool(service) or bool(least)
    if name is not None and listed:
        raise CliError(f"{_LIST_OPTIONS} are for lists, and {name} is one trace", code=2)
    with ApiClient(mesh) as client:
        if name is not None:
            _show(client.get(f"{_TRACES}/{quote(name, safe='')}"), output)
            return
        asked = {"limit": str(last)}
        asked |= {"slow": "true"} if slow else {}
        asked |= {"errors": "true"} if errors else {}
        asked |= {"service": service} if service else {}
        asked |= {"controlPlane": "true"} if control_plane else {}
        asked |= {"minMillis": str(least)} if least else {}
        narrowed = errors or bool(service or least)
        found = client.get(_TRACES, **asked)
        _list(found, output, narrowed=narrowed, control_plane=control_plane)


def _show(found: Json, output: Format) -> None:
    if output is Format.NAME:
        typer.echo(found["traceId"])
    elif not _structured(found, output):
        _print(trace_lines(found, out.width, time.time(), details=output is Format.WIDE))


def _list(found: Json, output: Format, *, narrowed: bool, control_plane: bool) -> None:
    traces = found["traces"]
    if output is Format.NAME:
        for one in traces:
            typer.echo(one["traceId"])
        return
    if _structured(found, output):
        return
    if not traces:
        kept = found["kept"]["traces"]
        if control_plane:
            err.print(
                "Mixer has no trace of a change like that yet: what changes the mesh makes one."
            )
        elif narrowed and kept:
            err.print(f"None of the {kept} traces that Mixer keeps is like that.")
        else:
            err.print(f"Mixer has no trace of a request yet. {_NOTHING}")
        return
    _print(list_lines(traces, out.width, time.time()))
    err.print(f"[dim]One of them: argosy trace {short_id(traces[0]['traceId'])}[/]")


def _structured(found: Json, output: Format) -> bool:
    if output is Format.JSON:
        show_json(found)
    elif output is Format.YAML:
        show_yaml(found)
    else:
        return False
    return True


def _print(lines: Iterable[Text]) -> None:
    for line in lines:
        line.rstrip()
        out.print(line)
