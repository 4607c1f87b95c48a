"""Edges of the graph as commands show them: asked of Mixer, and said in a person's words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.cells import cell_len
from rich.text import Text

from argosy.cli.client import ApiClient, Json

UNKNOWN = "unknown"

SinceOption = Annotated[
    str, typer.Option("--since", help="How far back: 30s, 15m, 24h; at the most a day.")
]
NamespacesOption = Annotated[
    str,
    typer.Option("--namespace", "-n", help="Edges with an end in this namespace; else all."),
]


def ask(client: ApiClient, since: float, namespace: str = "") -> Json:
    """``edges``, and ``seconds``: how long they were counted."""
    return client.get("/mixer/edges", since=f"{since:g}", namespace=namespace)


def workload(end: Json) -> str:
    """``reviews-v1``, or ``reviews-v1.shop`` outside of the namespace default."""
    name, namespace = str(end["workload"]), str(end["namespace"])
    return name if namespace in ("default", "", UNKNOWN) else f"{name}.{namespace}"


def source(edge: Json) -> str:
    if edge["other"]:
        return "(other edges)"
    end = edge["source"]
    return "(outside)" if end["workload"] == UNKNOWN else workload(end)


def destination(edge: Json) -> str:
    """The workload; where none was reached or it is not of the mesh, the service."""
    if edge["other"]:
        return "(other edges)"
    end = edge["destination"]
    if end["workload"] != UNKNOWN:
        return workload(end)
    host = str(edge["service"]["host"])
    return "(nowhere)" if host == UNKNOWN else host


def milliseconds(value: float | None) -> str:
    """``0.4 ms``, ``12 ms``, ``1.5 s``."""
    if value is None:
        return "-"
    if value >= 1000:
        return f"{value / 1000:.1f} s"
    return f"{value:.1f} ms" if value < 10 else f"{value:.0f} ms"


def rate(count: float, seconds: float) -> str:
    """``0``, ``0.3/s``, ``12.5/s``, ``1,204/s``."""
    value = count / seconds
    if not count:
        return "0"
    return f"{value:,.0f}/s" if value >= 100 else f"{value:.1f}/s" if value >= 0.1 else "<0.1/s"


def share(part: int, whole: int) -> str:
    """In percent: ``0 %``, ``<0.1 %``, ``12.5 %``; ``-`` of nothing."""
    if not whole:
        return "-"
    percent = 100 * part / whole
    if part and percent < 0.1:
        return "<0.1 %"
    return f"{percent:.0f} %" if percent in (0, 100) else f"{percent:.1f} %"


def security(edge: Json) -> str:
    """``mTLS``, ``plain``, a share of both, or ``-`` where no proxy of the mesh saw it."""
    secured, plain = edge["security"]["mutualTls"], edge["security"]["plaintext"]
    if not secured and not plain:
        return "-"
    if not plain:
        return "mTLS"
    return "plain" if not secured else f"{share(secured, secured + plain)} mTLS"


def size(count: int) -> str:
    """``512 B``, ``1.5 KB``, ``20 MB``."""
    value, unit = float(count), "B"
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"


def moved(edge: Json) -> str:
    """``1.5 KB sent, 20 MB received``: of TCP connections that have ended."""
    tcp = edge["tcp"]
    return f"{size(tcp['sentBytes'])} sent, {size(tcp['receivedBytes'])} received"


def is_tcp(edge: Json) -> bool:
    return bool(edge["protocol"] == "tcp")


def volume(edge: Json) -> int:
    """What an edge is sorted by."""
    tcp = edge["tcp"]
    return int(edge["requests"] or tcp["opened"] or tcp["closed"])


def totals(edges: Sequence[Json]) -> tuple[int, int]:
    """Requests and errors."""
    return sum(edge["requests"] for edge in edges), sum(edge["errors"] for edge in edges)


def severity(edge: Json) -> str:
    """A colour that says again what the numbers say; the empty one is as usual."""
    if not edge["requests"] or not edge["errors"]:
        return ""
    return "red" if edge["errors"] / edge["requests"] >= 0.05 else "yellow"


@dataclass(frozen=True, slots=True)
class Row:
    """``first`` may have styles of its own."""

    first: Text
    rest: tuple[str, ...] = ()
    style: str = ""


def aligned(columns: Sequence[str], rows: Sequence[Row], numbers: frozenset[str]) -> list[Text]:
    """Lines as wide as they are: a cut name is of no use. Columns in ``numbers`` end flush."""
    lines = [Row(Text(columns[0]), tuple(columns[1:]), "bold"), *rows]
    count = len(columns) - 1
    widths = [
        max((cell_len(row.rest[place]) for row in lines if row.rest), default=0)
        for place in range(count)
    ]
    lead = max(row.first.cell_len for row in lines)
    found = []
    for row in lines:
        line = row.first.copy()
        line.pad_right(lead - line.cell_len)
        for name, text, width in zip(columns[1:], row.rest, widths, strict=False):
            line.append("   " + (text.rjust(width) if name in numbers else text.ljust(width)))
        line.rstrip()
        line.stylize(row.style)
        found.append(line)
    return found
