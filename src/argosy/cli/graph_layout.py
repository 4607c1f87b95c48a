"""Where the nodes of a directed graph stand: in layers, callers left of what they call. Pure.

After Sugiyama: cycles are broken at edges that lead back, a node's layer is the longest way to it, and
the order within layers follows the neighbours' (barycentre), some rounds forth and back.
"""

from collections.abc import Iterable, Mapping, Sequence

_ROUNDS = 4


def layers(nodes: Iterable[str], edges: Iterable[tuple[str, str]]) -> list[list[str]]:
    """The nodes from left to right, and from top to bottom in each layer."""
    everything = sorted(set(nodes))
    forward = _acyclic(everything, sorted(set(edges)))
    depth = _depths(everything, forward)
    found: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for node in everything:
        found[depth[node]].append(node)
    callers: dict[str, list[str]] = {node: [] for node in everything}
    called: dict[str, list[str]] = {node: [] for node in everything}
    for source, destination in forward:
        callers[destination].append(source)
        called[source].append(destination)
    for turn in range(_ROUNDS):
        order = found if turn % 2 == 0 else found[::-1]
        _arrange(order, callers if turn % 2 == 0 else called)
    return found


def _acyclic(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The edges without those that close a cycle, seen from nodes that nobody calls first."""
    out: dict[str, list[str]] = {node: [] for node in nodes}
    called = set()
    for source, destination in edges:
        if source != destination:
            out[source].append(destination)
            called.add(destination)
    kept: list[tuple[str, str]] = []
    done: set[str] = set()
    for root in sorted(nodes, key=lambda node: (node in called, node)):
        path: set[str] = set()
        stack = [(root, iter(out[root]))] if root not in done else []
        path.update(node for node, _ in stack)
        while stack:
            node, following = stack[-1]
            for destination in following:
                if destination in path:
                    continue
                kept.append((node, destination))
                if destination not in done:
                    path.add(destination)
                    stack.append((destination, iter(out[destination])))
                    break
            else:
                stack.pop()
                path.discard(node)
                done.add(node)
    return kept


def _depths(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    depth = dict.fromkeys(nodes, 0)
    out: dict[str, list[str]] = {node: [] for node in nodes}
    waiting = dict.fromkeys(nodes, 0)
    for source, destination in edges:
        out[source].append(destination)
        waiting[destination] += 1
    ready = [node for node in nodes if not waiting[node]]
    while ready:
        node = ready.pop()
        for destination in out[node]:
            depth[destination] = max(depth[destination], depth[node] + 1)
            waiting[destination] -= 1
            if not waiting[destination]:
                ready.append(destination)
    return depth


def _arrange(order: Sequence[list[str]], neighbours: Mapping[str, Sequence[str]]) -> None:
    """Each layer by the mean place of each node's neighbours in layers that stand already."""
    place: dict[str, float] = {}
    for layer in order:
        for number, node in enumerate(layer):
            known = [place[one] for one in neighbours[node] if one in place]
            place[node] = sum(known) / len(known) if known else float(number)
        layer.sort(key=lambda node: (place[node], node))
        for number, node in enumerate(layer):
            place[node] = float(number)
