"""The spans of a trace as a tree: who called whom, and where the time went. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from argosy.mixer.traces.span import Span, SpanKind


@dataclass(frozen=True, slots=True)
class Placed:
    """``depth`` 0 has no parent, or one that is not there (``orphan``).

    ``own`` is the time in ns in which none of its children ran.
    """

    span: Span
    depth: int
    own: int
    orphan: bool = False


def arranged(spans: Iterable[Span]) -> tuple[Placed, ...]:
    """Each span before those that it caused, and these by their start."""
    ordered = sorted(spans, key=lambda one: (one.start, -one.end, one.key))
    known = {one.key: one for one in ordered}
    parents = {one.key: _parent(one, known) for one in ordered}
    children: dict[str, list[Span]] = {}
    for one in ordered:
        if parent := parents[one.key]:
            children.setdefault(parent, []).append(one)
    roots = [one for one in ordered if not parents[one.key]]
    found: list[Placed] = []
    left = dict(known)

    def place(root: Span, *, orphan: bool) -> None:
        waiting = [(root, 0)]
        while waiting:
            span, depth = waiting.pop()
            if left.pop(span.key, None) is None:
                continue
            below = children.get(span.key, ())
            lost = orphan and depth == 0
            found.append(Placed(span, depth, _own(span, below), lost))
            waiting += [(one, depth + 1) for one in reversed(below)]

    for root in roots:
        place(root, orphan=bool(root.parent_id))
    for one in ordered:  # spans that are each other's parents hang on no root
        if one.key in left:
            place(one, orphan=True)
    return tuple(found)


def _parent(span: Span, known: dict[str, Span]) -> str:
    """The key of the parent that is there, or nothing."""
    if span.shared and span.span_id in known:
        return span.span_id
    if not span.parent_id or span.parent_id == span.span_id:
        return ""
    shared = f"{span.parent_id}s"
    if shared in known and span.kind is not SpanKind.SERVER:
        return shared  # what a server that shares its client's id did is the server's
    return span.parent_id if span.parent_id in known else ""


def _own(span: Span, children: Sequence[Span]) -> int:
    """``children`` are sorted by start."""
    covered, reached = 0, span.start
    for child in children:
        begin, end = max(child.start, reached), min(child.end, span.end)
        if end > begin:
            covered += end - begin
            reached = end
    return max(span.duration - covered, 0)
