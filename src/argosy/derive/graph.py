"""The graph's parts: cells and nodes, the edges between them, and the marks on them.

An edge exists in both directions: ``node.reads`` in the order of reading, and ``readers`` of
what it read. Between the engine's operations every node is CLEAN, and a node that is not
CLEAN has no reader that is CLEAN.
"""

from collections.abc import Collection, Hashable, Iterable

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


class Readable:
    """What a node can read: a value, and who read it.

    Most have one reader, so the first is kept bare: a dictionary is thirty times its size.
    """

    __slots__ = ("_readers", "value")

    def __init__(self, value: object) -> None:
        self.value = value
        self._readers: Node | dict[Node, None] | None = None

    @property
    def readers(self) -> "Collection[Node]":
        """In the order in which they were added."""
        if self._readers is None:
            return ()
        return self._readers if isinstance(self._readers, dict) else (self._readers,)

    def add_reader(self, node: "Node") -> None:
        """Adding one again changes nothing."""
        known = self._readers
        if known is None:
            self._readers = node
        elif isinstance(known, dict):
            known[node] = None
        elif known is not node:
            self._readers = {known: None, node: None}

    def drop_reader(self, node: "Node") -> None:
        if isinstance(self._readers, dict):
            del self._readers[node]
        else:
            assert self._readers is node, "not a reader"
            self._readers = None


class Cell(Readable):
    """A value from outside, or ABSENT."""

    __slots__ = ("key",)

    def __init__(self, key: Hashable, value: object) -> None:
        super().__init__(value)
        self.key = key


class Watch:
    """That a node is observed ``count`` times; ``order`` is the order of first observation."""

    __slots__ = ("count", "order")

    def __init__(self, order: int) -> None:
        self.count = 0
        self.order = order


class Unset:
    """The value of a node that never ran."""


UNSET = Unset()


class Node(Readable):
    """One formula with one set of arguments."""

    __slots__ = ("args", "formula", "reads", "state", "watch")

    def __init__(self, formula: Formula[..., object], args: tuple[Hashable, ...]) -> None:
        super().__init__(UNSET)
        self.formula = formula
        self.args = args
        self.reads: tuple[Node | Cell, ...] = ()
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
            source.drop_reader(node)
            # What failed may be in a cycle, where each keeps the other's reader.
            if not source.readers or isinstance(source.value, Failed):
                bare.append(source)
    for source in reads:
        source.add_reader(node)
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
