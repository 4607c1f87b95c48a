"""The graph's parts: cells and nodes, the edges between them, and the marks on them.

An edge exists in both directions: ``node.reads`` in the order of reading, and ``readers`` of
what it read. Between the engine's operations every node is CLEAN, and a node that is not
CLEAN has no reader that is CLEAN.
"""

from collections.abc import Hashable, Iterable

from argosy.derive.formula import Formula
from argosy.derive.outcome import CycleError, Failed, NodeName

CLEAN = 0
"""The value is current."""
CHECK = 1
"""Something below has changed: the value may be stale."""
DIRTY = 2
"""Something that it read has another value: run it again."""
RUNNING = 3
VERIFYING = 4
"""Its reads are being brought up to date, in order, to see whether it must run."""


class Cell:
    """A value from outside, or ABSENT, and who read it."""

    __slots__ = ("key", "readers", "value")

    def __init__(self, key: Hashable, value: object) -> None:
        self.key = key
        self.value = value
        self.readers: dict[Node, None] = {}


class Watch:
    """That a node is observed ``count`` times; ``order`` is the order of first observation."""

    __slots__ = ("count", "order")

    def __init__(self, order: int) -> None:
        self.count = 0
        self.order = order


class Unset:
    """The value of a node that never ran."""


UNSET = Unset()


class Node:
    """One formula with one set of arguments."""

    __slots__ = ("args", "formula", "readers", "reads", "state", "value", "watch")

    def __init__(self, formula: Formula[..., object], args: tuple[Hashable, ...]) -> None:
        self.formula = formula
        self.args = args
        self.value: object = UNSET
        self.reads: tuple[Node | Cell, ...] = ()
        self.readers: dict[Node, None] = {}
        self.state = DIRTY
        self.watch: Watch | None = None

    @property
    def name(self) -> NodeName:
        return NodeName(self.formula.name, self.args)


Source = Node | Cell


def same(old: object, new: object) -> bool:
    """Whether the work ends here: equal, and of one type (so that ``True`` is not ``1``)."""
    return old is new or (type(old) is type(new) and old == new)


def spread(cell: Cell, marked: list[Node]) -> None:
    """Mark the readers of a changed cell DIRTY and all above them CHECK; append them."""
    above: list[Node] = []
    for reader in cell.readers:
        if reader.state == CLEAN:
            above.append(reader)
        reader.state = DIRTY
    marked += above
    while above:
        for reader in above.pop().readers:
            if reader.state == CLEAN:
                reader.state = CHECK
                marked.append(reader)
                above.append(reader)


def relink(node: Node, reads: tuple[Source, ...], kept: Iterable[Source]) -> list[Source]:
    """Make ``reads`` the node's reads. Returns what may have lost its last reader by that.

    ``kept`` answers ``in`` quickly for the members of ``reads``.
    """
    bare: list[Source] = []
    for source in node.reads:
        if source not in kept:
            del source.readers[node]
            # What failed may be in a cycle, where each keeps the other's reader.
            if not source.readers or isinstance(source.value, Failed):
                bare.append(source)
    for source in reads:
        source.readers[node] = None
    node.reads = reads
    return bare


def in_idle_cycle(node: Node) -> bool:
    """Whether a node is read by its own cycle only, which nobody observes."""
    if not isinstance(node.value, Failed) or not isinstance(node.value.error, CycleError):
        return False
    seen = {node}
    queue = [node]
    while queue:
        above = queue.pop()
        if above.watch is not None:
            return False
        for reader in above.readers:
            if reader not in seen:
                seen.add(reader)
                queue.append(reader)
    return True
