"""``argosy limits``: who is near a rate limit, or over it."""

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import typer

from argosy.cli.client import ApiClient, CliError, Json, name_of
from argosy.cli.options import (
    AllNamespacesOption,
    MeshOption,
    NamespaceOption,
    OutputOption,
    require_format,
)
from argosy.cli.output import (
    Format,
    duration,
    err,
    outlive_readers,
    show_json,
    show_table,
    show_yaml,
)

_LIMITS = "/mixer/limits"
_COLUMNS = (
    "LIMIT",
    "KEY",
    "STATE",
    "USED",
    "LEFT",
    "FULL IN",
    "ALLOWED",
    "REFUSED",
    "RATE",
    "WHERE",
)
_UNITS = {1: "s", 60: "min", 3600: "h", 86400: "day"}
_POLL_SECONDS = 1.0
_CLEAR = "\x1b[H\x1b[2J"


def limits(
    namespace: NamespaceOption = "default",
    all_namespaces: AllNamespacesOption = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Again every second.")] = False,
    output: OutputOption = Format.TABLE,
    mesh: MeshOption = "default",
) -> None:
    """Show the rate limits of a namespace: what is left of each, and who was refused.

    NEAR is from 80 % on, OVER was refused within the last minute. Of those that each replica counts
    for itself there is a line for each pod, which tells its numbers every five seconds.
    """
    require_format(output, Format.JSON, Format.YAML)
    chosen = "" if all_namespaces else namespace
    with ApiClient(mesh) as client:
        while True:
            items = _of_namespace(client.items(_LIMITS), chosen)
            if output in (Format.JSON, Format.YAML):
                (show_json if output is Format.JSON else show_yaml)({"items": items})
            else:
                _show(items, _pods(client, items), clear=watch and sys.stdout.isatty())
            if not watch:
                return
            sys.stdout.flush()
            time.sleep(_POLL_SECONDS)


def _of_namespace(items: Sequence[Json], namespace: str) -> list[Json]:
    return [one for one in items if not namespace or one["id"].partition("/")[0] == namespace]


def _show(items: Sequence[Json], pods: Mapping[str, str], *, clear: bool) -> None:
    outlive_readers()
    if clear:
        sys.stdout.write(_CLEAR)
    if not show_table(_COLUMNS, [row for one in items for row in _rows(one, pods)]):
        err.print("There is no rate limit here.")


def _rows(limit: Json, pods: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    """A line for each bucket or replica; one if nobody has used any."""
    where = f"{limit['file']}:{limit['line']}" if limit["file"] else "-"
    name = limit["id"] + (" (dry run)" if limit["dryRun"] else "")
    said = rate(limit["requests"], limit["period"], limit["burst"])
    for row in limit["rows"]:
        replica = row["replica"]
        yield (
            name,
            _replica(replica, pods) if replica else key(row["keys"], row["values"]),
            row["state"],
            _known(row["used"], "{:.0%}"),
            _known(row["remaining"]),
            duration(row["reset"] + 0.999) if row["reset"] else "-",
            _known(row["allowed"]),
            str(row["refused"]),
            said,
            where,
        )
    if not limit["rows"]:
        of = "-" if limit["shared"] else "per replica"
        yield (name, of, "OK", "0%", str(limit["burst"]), "-", "0", "0", said, where)


def _known(number: float | None, shown: str = "{}") -> str:
    return "-" if number is None else shown.format(number)


def _replica(replica: Json, pods: Mapping[str, str]) -> str:
    """``pod web-1``; of what is no pod the workload and the address."""
    pod = pods.get(replica["address"])
    return f"pod {pod}" if pod else f"{replica['workload'] or '-'} at {replica['address']}"


def _pods(client: ApiClient, items: Sequence[Json]) -> dict[str, str]:
    """Names by address, of the namespaces that replicas are in and that may be read."""
    replicas = (row["replica"] for one in items for row in one["rows"])
    found: dict[str, str] = {}
    for namespace in sorted({one["namespace"] for one in replicas if one}):
        with contextlib.suppress(CliError):
            for pod in client.items(f"/api/v1/namespaces/{namespace}/pods"):
                found[(pod.get("status") or {}).get("podIP", "")] = name_of(pod)
    return found


def rate(requests: int, period: int, burst: int) -> str:
    """``100/s``, or ``100/s, 20 at once``."""
    said = f"{requests}/{_UNITS.get(period, f'{period}s')}"
    return said if burst == requests else f"{said}, {burst} at once"


def key(names: Sequence[str], values: Sequence[str]) -> str:
    """``source.namespace=shop``; ``-`` where all are counted together."""
    if not values:
        return "-"
    if len(names) != len(values):
        return ", ".join(values)
    return ", ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))
