"""Traces drawn for a terminal: a list, and one trace as a tree beside a time line.

In: what the API says. Out: lines of rich text, for a given width. Nothing is told by colour alone.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from argosy.cli.output import duration

Json = dict[str, Any]

MIN_BAR, MAX_BAR = 16, 60
MAX_TREE = 34
"""Cells of the names of services, with the lines of the tree."""

MAX_OPERATION = 40
SHORT_ID = 12
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_STYLES = ("cyan", "green", "magenta", "blue", "yellow", "bright_cyan", "bright_magenta")
_ARROWS = {"client": "→", "server": "←", "producer": "⇢", "consumer": "⇠"}
_HOPS, _WORTH = 3, 0.05
"""How many spans are named that took the most time themselves, and from which part of it on."""


def span_of_time(micros: float) -> str:
    """``950 µs``, ``41.2 ms``, ``3.07 s``: three digits that count."""
    if micros < 999.5:
        return f"{micros:.0f} µs"
    if micros < 999_500:
        return f"{_digits(micros / 1000)} ms"
    return f"{_digits(micros / 1_000_000)} s"


def bar(start: float, length: float, width: int) -> str:
    """``start`` and ``length`` are parts of 1. At least a sliver, and never more than ``width``."""
    first = min(max(int(start * width), 0), width - 1)
    eighths = max(round(length * width * 8), 1)
    eighths = min(eighths, (width - first) * 8)
    full, part = divmod(eighths, 8)
    return " " * first + "█" * full + (_EIGHTHS[part] if part else "")


@dataclass(frozen=True, slots=True)
class _Columns:
    tree: int
    operation: int
    status: int
    time: int
    bar: int


def trace_lines(trace: Json, width: int, now: float, *, details: bool = False) -> Iterator[Text]:
    """``now`` is in seconds since 1970. ``details``: with what each span tells."""
    tree: Sequence[Json] = trace["tree"]
    names = _names(trace["services"])
    styles = _styles(trace["services"])
    yield _title(trace)
    yield Text(_subtitle(trace, now), style="dim")
    yield Text("")
    branches = _branches(tree)
    columns = _columns(tree, branches, names, width)
    yield _head(columns, trace["durationMicros"])
    for span, branch in zip(tree, branches, strict=True):
        yield _line(span, branch, trace, columns, names, styles)
        if details:
            yield from _details(span)
    yield from _notes(trace)


def list_lines(traces: Sequence[Json], width: int, now: float) -> Iterator[Text]:
    longest = max((one["durationMicros"] for one in traces), default=0.0) or 1.0
    operations = [_root(one) for one in traces]
    wide = min(max(map(cell_len, operations), default=0), max(width - 66, 24))
    yield Text(
        f"{'TRACE':{SHORT_ID}}  {'STARTED':8}  {_fit('REQUEST', wide)}  {'STATUS':7}  "
        f"{'SPANS':>5}  {'TIME':>8}",
        style="bold",
    )
    for one, operation in zip(traces, operations, strict=True):
        failed = one["errors"] > 0
        line = Text()
        line.append(f"{short_id(one['traceId']):{SHORT_ID}}  ", style="bold")
        line.append(f"{_ago(one, now):8}  ", style="dim")
        line.append(f"{_fit(operation, wide)}  ")
        mark = f"{one['status'] or '-'}{' ✗' if failed else ''}"
        line.append(f"{_fit(mark, 7)}  ", style="red" if failed else "")
        line.append(f"{one['spans']:>5}  {span_of_time(one['durationMicros']):>8}  ")
        share = one["durationMicros"] / longest
        line.append(bar(0, share, 12).rstrip(), style="red" if failed else "cyan")
        yield line


def short_id(trace_id: str) -> str:
    """As much of it as names it among a hundred thousand; ids of 64 bits without zeros before."""
    return (trace_id.lstrip("0") if trace_id.startswith("0" * 16) else trace_id)[:SHORT_ID]


def _title(trace: Json) -> Text:
    line = Text()
    line.append(f"{trace['service']}  ", style="bold")
    line.append(f"{trace['operation']}  ")
    failed = trace["errors"] > 0
    line.append(trace["status"] or "", style="red" if failed else "green")
    line.append(f"  {span_of_time(trace['durationMicros'])}", style="bold")
    return line


def _subtitle(trace: Json, now: float) -> str:
    parts = [
        f"trace {trace['traceId']}",
        f"{_ago(trace, now)} ago",
        _number(trace["spans"], "span"),
        _number(len(trace["services"]), "service"),
    ]
    if trace["errors"]:
        parts.append(f"{trace['errors']} failed")
    return " · ".join(parts)


def _head(columns: _Columns, total: float) -> Text:
    end = span_of_time(total)
    middle = span_of_time(total / 2)
    half = columns.bar // 2
    scale = "0".ljust(half)
    if half > 2 * len(end):
        scale += middle
    scale = scale.ljust(columns.bar - len(end)) + end
    return Text(
        f"{_fit('SERVICE', columns.tree)}  {_fit('REQUEST', columns.operation)}  "
        f"{_fit('STATUS', columns.status)}  {'TIME':>{columns.time}}  {scale}",
        style="dim",
    )


def _line(
    span: Json,
    branch: str,
    trace: Json,
    columns: _Columns,
    names: dict[str, str],
    styles: dict[str, str],
) -> Text:
    style = styles[span["service"]]
    line = Text()
    line.append(branch, style="dim")
    name = f"{names[span['service']]} {_ARROWS.get(span['kind'], '·')}"
    line.append(_fit(name, columns.tree - cell_len(branch)), style=style)
    line.append(f"  {_fit(span['operation'], columns.operation)}")
    failed = "red" if span["error"] else ""
    line.append(f"  {_fit(_status(span), columns.status)}", style=failed)
    line.append(f"  {span_of_time(span['durationMicros']):>{columns.time}}  ")
    total = trace["durationMicros"] or 1.0
    start = (span["startMicros"] - trace["startMicros"]) / total
    drawn = bar(start, span["durationMicros"] / total, columns.bar)
    line.append(drawn.rstrip(), style=failed or style)
    line.append(_marks(span), style="yellow")
    return line


def _details(span: Json) -> Iterator[Text]:
    indent = " " * 8
    facts = {**span["attributes"], "reported by": span["reporter"], "message": span["message"]}
    for name, value in facts.items():
        if value and value != "-":
            yield Text(f"{indent}{name}: ", style="dim").append(value, style="not dim")
    for event in span["events"]:
        yield Text(f"{indent}{event['time']} {event['name']}", style="dim")


def _marks(span: Json) -> str:
    marks = []
    if span["orphan"]:
        marks.append("its cause is not here")
    if span["claimed"]:
        marks.append(f"reported by {span['reporter']}")
    return f"  ! {', '.join(marks)}" if marks else ""


def _notes(trace: Json) -> Iterator[Text]:
    tree: Sequence[Json] = trace["tree"]
    total = trace["durationMicros"]
    most = sorted(tree, key=lambda span: -span["ownMicros"])[:_HOPS]
    names = _names(trace["services"])
    yield Text("")
    title = "Time went to"
    for span in most:
        if total and span["ownMicros"] / total >= _WORTH:
            share = f"{span['ownMicros'] / total:4.0%}  {span_of_time(span['ownMicros']):>8}"
            yield Text(f"{title:14}", style="dim").append(
                f"{share}  {_whose(span, names)}", style="not dim"
            )
            title = ""
    broken = [span for span in tree if span["error"]]
    if broken:
        deepest = max(broken, key=lambda span: span["depth"])
        why = deepest["message"] or _status(deepest).removesuffix(" ✗") or "an error"
        yield Text("Failed first  ", style="red").append(
            f"{names[deepest['service']]} ({deepest['operation']}): {why}", style="default"
        )
    if any(span["claimed"] for span in tree):
        yield Text(
            "! A span marked so names a service that is not one of the workload that sent it.",
            style="yellow",
        )
    if trace["missingSpans"]:
        yield Text(f"! {_number(trace['missingSpans'], 'span')} more than a trace may have.")
    yield from _distribution(tree)
    request = next(
        (span["attributes"].get("guid:x-request-id") for span in tree if span["attributes"]), None
    )
    if request:
        yield Text(f"Request       {request}", style="dim")


def _distribution(tree: Sequence[Json]) -> Iterator[Text]:
    """Of the control plane's traces: which proxies have the change, and which was the last."""
    for span in tree:
        facts: dict[str, str] = span["attributes"]
        if "argosy.proxies" not in facts:
            continue
        proxies = int(facts["argosy.proxies"])
        said = f"{facts['argosy.acknowledged']} of {proxies} took it"
        if proxies and "argosy.slowest_proxy" in facts:
            after = span_of_time(float(facts["argosy.slowest_ms"]) * 1000)
            said += f", {facts['argosy.slowest_proxy']} last, after {after}"
        if "argosy.pending" in facts:
            said += f"; no answer of {facts['argosy.pending']}"
        yield Text(f"{'Proxies':14}", style="dim").append(said, style="not dim")


def _whose(span: Json, names: dict[str, str]) -> str:
    """Between a client's span and its server's there are two proxies and the network."""
    way = "on the way from" if span["kind"] == "client" else "in"
    return f"{way} {names[span['service']]} ({span['operation']})"


def _status(span: Json) -> str:
    return f"{span['status']} ✗".strip() if span["error"] else str(span["status"])


def _branches(tree: Sequence[Json]) -> list[str]:
    """The lines that join each span to the one above."""
    found = []
    # Seen from the end: at which depths a sibling comes below, of the span or of its ancestor.
    later: list[bool] = []
    for span in reversed(tree):
        depth: int = span["depth"]
        later += [False] * (depth + 1 - len(later))
        if depth:
            lines = "".join("│ " if later[d] else "  " for d in range(1, depth))
            found.append(lines + ("├─" if later[depth] else "└─"))
        else:
            found.append("")
        later[depth:] = [True]
    return found[::-1]


def _columns(
    tree: Sequence[Json], branches: Sequence[str], names: dict[str, str], width: int
) -> _Columns:
    named = [
        cell_len(branch) + cell_len(names[span["service"]]) + 2
        for span, branch in zip(tree, branches, strict=True)
    ]
    service = min(max([*named, 7]), MAX_TREE)
    status = max([*(cell_len(_status(span)) for span in tree), 6])
    times = max([*(cell_len(span_of_time(span["durationMicros"])) for span in tree), 4])
    fixed = service + status + times + 8
    wanted = min(max([*(cell_len(span["operation"]) for span in tree), 7]), MAX_OPERATION)
    operation = max(min(wanted, width - fixed - MIN_BAR), 12)
    room = width - fixed - operation
    return _Columns(service, operation, status, times, min(max(room, MIN_BAR), MAX_BAR))


def _names(services: Sequence[str]) -> dict[str, str]:
    """``reviews.default`` is ``reviews``, unless there is one in another namespace too."""
    first = Counter(name.partition(".")[0] for name in services)
    return {
        name: name.partition(".")[0] if first[name.partition(".")[0]] == 1 else name
        for name in services
    }


def _styles(services: Sequence[str]) -> dict[str, str]:
    return {name: _STYLES[i % len(_STYLES)] for i, name in enumerate(services)}


def _root(one: Json) -> str:
    return f"{one['service']}  {one['operation']}"


def _ago(one: Json, now: float) -> str:
    return duration(now - one["startMicros"] / 1e6)


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _digits(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def _fit(text: str, width: int) -> str:
    """Exactly so many cells; what is longer ends with an ellipsis."""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(text, max(width - 1, 0)) + "…"
