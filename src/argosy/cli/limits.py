"""``argosy limits``: who is near a rate limit, or over it."""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from argosy.cli.client import ApiClient, Json, name_of, namespace_of
from argosy.cli.options import AllNamespacesOption, MeshOption, NamespaceOption, OutputOption
from argosy.cli.output import (
    Format,
    duration,
    err,
    outlive_readers,
    show_json,
    show_table,
    show_yaml,
)
from argosy.cli.places import Places

_SHARED = "/mixer/limits"
_RATE_LIMITS = "/apis/argosy.dev/v1alpha1/ratelimits"
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
_PERIODS = {"SECOND": 1, "MINUTE": 60, "HOUR": 3600, "DAY": 86400}
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

    NEAR is above 80 %, OVER was refused within the last minute. Those that each replica counts for
    itself are listed without numbers: argosy exec and Envoy's statistics have them.
    """
    chosen = "" if all_namespaces else namespace
    with ApiClient(mesh) as client:
        while True:
            items = _of_namespace(client.items(_SHARED), chosen)
            if output in (Format.JSON, Format.YAML):
                (show_json if output is Format.JSON else show_yaml)({"items": items})
            else:
                _show(items, _own(client, chosen), clear=watch and sys.stdout.isatty())
            if not watch:
                return
            sys.stdout.flush()
            time.sleep(_POLL_SECONDS)


def _of_namespace(items: Sequence[Json], namespace: str) -> list[Json]:
    return [one for one in items if not namespace or one["id"].partition("/")[0] == namespace]


def _show(shared: Sequence[Json], own: Sequence[tuple[str, ...]], *, clear: bool) -> None:
    outlive_readers()
    if clear:
        sys.stdout.write(_CLEAR)
    rows = [row for one in shared for row in _rows(one)]
    if not show_table(_COLUMNS, (*rows, *own)):
        err.print("There is no rate limit here.")


def _rows(limit: Json) -> Iterator[tuple[str, ...]]:
    """A line for each bucket; one if nobody has used any."""
    where = f"{limit['file']}:{limit['line']}" if limit["file"] else "-"
    name = limit["id"] + (" (dry run)" if limit["dryRun"] else "")
    said = rate(limit["requests"], limit["period"], limit["burst"])
    for row in limit["rows"]:
        yield (
            name,
            key(row["keys"], row["values"]),
            row["state"],
            f"{row['used']:.0%}",
            str(row["remaining"]),
            duration(row["reset"] + 0.999) if row["reset"] else "-",
            str(row["allowed"]),
            str(row["refused"]),
            said,
            where,
        )
    if not limit["rows"]:
        yield (name, "-", "OK", "0%", str(limit["burst"]), "-", "0", "0", said, where)


def _own(client: ApiClient, namespace: str) -> list[tuple[str, ...]]:
    """Those that replicas count for themselves."""
    places = Places(client)
    found: list[tuple[str, ...]] = []
    for item in client.items(_RATE_LIMITS):
        of, name = namespace_of(item), name_of(item)
        if namespace and of != namespace:
            continue
        for index, rule in enumerate(item["spec"].get("rules", ())):
            if rule.get("scope") == "SHARED":
                continue
            limit = rule["limit"]
            said = rate(
                limit["requests"],
                _PERIODS[limit["unit"]],
                limit.get("burst", limit["requests"]),
            )
            called = f"{of}/{name}/{rule.get('name') or index}"
            called += " (dry run)" if rule.get("dryRun") else ""
            where = str(places.of("RateLimit", of, name, f"spec.rules[{index}]")) or "-"
            found.append((called, "-", "per replica", *("-",) * 5, said, where))
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
