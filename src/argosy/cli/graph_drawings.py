"""The graph in other languages: DOT, Mermaid, SVG. Pure; nothing of a name is code there."""

import re
from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from argosy.cli import edges as shown
from argosy.cli.client import Json
from argosy.cli.graph_layout import layers

_FONT = "ui-sans-serif, system-ui, sans-serif"
_COLOURS = {"": "#4b5563", "yellow": "#b45309", "red": "#dc2626"}
_BOX_HEIGHT, _ROW, _GAP, _MARGIN = 36, 68, 190, 24
_CHARACTER = 7.4
_ARROW = 9


def label(edge: Json) -> str:
    """What stands at an edge."""
    if shown.is_tcp(edge):
        return f"{edge['tcp']['opened']:,} connections"
    text = f"{edge['requests']:,}, p90 {shown.milliseconds(edge['latency']['p90'])}"
    if edge["errors"]:
        text += f", {shown.share(edge['errors'], edge['requests'])} errors"
    return text


def dot(edges: Sequence[Json]) -> str:
    """For Graphviz: https://graphviz.org/doc/info/lang.html"""
    lines = [
        "digraph mesh {",
        "  rankdir=LR;",
        '  node [shape=box, style=rounded, fontname="sans"];',
    ]
    for edge in edges:
        colour = _COLOURS[shown.severity(edge)]
        lines.append(
            f"  {_quoted(shown.source(edge))} -> {_quoted(shown.destination(edge))} "
            f'[label={_quoted(label(edge))}, color="{colour}", fontcolor="{colour}"];'
        )
    return "\n".join([*lines, "}", ""])


def mermaid(edges: Sequence[Json]) -> str:
    """https://mermaid.js.org/syntax/flowchart.html"""
    names = sorted({name for edge in edges for name in _ends(edge)})
    number = {name: f"n{place}" for place, name in enumerate(names)}
    lines = ["flowchart LR"]
    lines += [f'    {number[name]}["{_entities(name)}"]' for name in names]
    coloured = []
    for place, edge in enumerate(edges):
        source, destination = _ends(edge)
        text = _entities(label(edge))
        lines.append(f'    {number[source]} -->|"{text}"| {number[destination]}')
        if severity := shown.severity(edge):
            coloured.append(f"    linkStyle {place} stroke:{_COLOURS[severity]}")
    return "\n".join([*lines, *coloured, ""])


def svg(edges: Sequence[Json]) -> str:
    """A picture for a browser, layered from left to right."""
    pairs = [_ends(edge) for edge in edges]
    columns = layers((name for pair in pairs for name in pair), pairs)
    widths = [max(_width(name) for name in column) for column in columns]
    height = max((len(column) for column in columns), default=1) * _ROW + 2 * _MARGIN
    place: dict[str, tuple[float, float, float]] = {}
    left = float(_MARGIN)
    for column, width in zip(columns, widths, strict=True):
        top = (height - len(column) * _ROW) / 2
        for number, name in enumerate(column):
            place[name] = (left, top + number * _ROW + _ROW / 2, width)
        left += width + _GAP
    width = max(left - _GAP, 200) + _MARGIN
    arrows = [
        _arrow(place[source], place[destination], edge)
        for (source, destination), edge in zip(pairs, edges, strict=True)
    ]
    boxes = [_box(name, at) for name, at in sorted(place.items())]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
            f'width="{width:.0f}" height="{height:.0f}" font-family="{_FONT}" font-size="12">',
            f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
            *arrows,
            *boxes,
            "</svg>",
            "",
        ]
    )


def _box(name: str, at: tuple[float, float, float]) -> str:
    left, middle, width = at
    return (
        f'<g><rect x="{left:.1f}" y="{middle - _BOX_HEIGHT / 2:.1f}" width="{width:.1f}" '
        f'height="{_BOX_HEIGHT}" rx="8" fill="#eef2ff" stroke="#6366f1"/>'
        f'<text x="{left + width / 2:.1f}" y="{middle + 4:.1f}" text-anchor="middle" '
        f'fill="#1e1b4b">{escape(name)}</text></g>'
    )


def _arrow(
    source: tuple[float, float, float],
    destination: tuple[float, float, float],
    edge: Json,
) -> str:
    colour = _COLOURS[shown.severity(edge)]
    start, end = source[0] + source[2], destination[0]
    y_start, y_end = source[1], destination[1]
    if end > start:
        bend = (end - start) / 2
        way = f"M{start:.1f},{y_start:.1f} C{start + bend:.1f},{y_start:.1f} "
        way += f"{end - bend:.1f},{y_end:.1f} {end - _ARROW:.1f},{y_end:.1f}"
        head, middle = (end, y_end, -_ARROW), ((start + end) / 2, (y_start + y_end) / 2)
    else:  # It leads back, or to itself: around, below.
        below = max(y_start, y_end) + _ROW * 0.6
        start, end = source[0] + source[2] * 0.7, destination[0] + destination[2] * 0.3
        y_start += _BOX_HEIGHT / 2
        y_end += _BOX_HEIGHT / 2
        way = f"M{start:.1f},{y_start:.1f} C{start:.1f},{below:.1f} "
        way += f"{end:.1f},{below:.1f} {end:.1f},{y_end + _ARROW:.1f}"
        middle = ((start + end) / 2, below - 4)
        head = (end, y_end, 0)
    x, y, back = head
    if back:
        points = f"{x:.1f},{y:.1f} {x + back:.1f},{y - 4:.1f} {x + back:.1f},{y + 4:.1f}"
    else:
        points = f"{x:.1f},{y:.1f} {x - 4:.1f},{y + _ARROW:.1f} {x + 4:.1f},{y + _ARROW:.1f}"
    title = quoteattr(f"{shown.source(edge)} to {shown.destination(edge)}")
    return (
        f"<g aria-label={title}>"
        f'<path d="{way}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        f'<polygon points="{points}" fill="{colour}"/>'
        f'<text x="{middle[0]:.1f}" y="{middle[1] - 4:.1f}" text-anchor="middle" fill="{colour}" '
        f'font-size="11" stroke="#ffffff" stroke-width="4" paint-order="stroke">'
        f"{escape(label(edge))}</text></g>"
    )


def _ends(edge: Json) -> tuple[str, str]:
    return shown.source(edge), shown.destination(edge)


def _width(name: str) -> float:
    return max(90.0, len(name) * _CHARACTER + 24)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _entities(text: str) -> str:
    """What could be markup, by number."""
    return (
        re.sub(r"[^\w .,:/%()<>-]", lambda found: f"#{ord(found[0])};", text)
        .replace("<", "#lt;")
        .replace(">", "#gt;")
    )
