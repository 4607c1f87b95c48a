"""The engine: demand-driven recomputation with early cut-off.

``set`` marks what may be stale, along the edges upwards; then every observed node that was
marked is brought up to date, which pulls what it needs, along the edges downwards. A node runs
again only if one of its reads has another value, found by checking them in the order of
reading: the first that differs decides, so nothing is computed that the new run would not read.
"""

import traceback
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import ParamSpec, TypeVar, cast

from argosy.derive.formula import ABSENT, Formula
from argosy.derive.graph import (
    CHECK,
    CLEAN,
    DIRTY,
    RUNNING,
    UNSET,
    VERIFYING,
    Cell,
    Node,
    Source,
    Watch,
    in_idle_cycle,
    relink,
    same,
    spread,
)
from argosy.derive.outcome import Change, CycleError, Failed

P = ParamSpec("P")
T = TypeVar("T")

Refreshed = Callable[[Formula[..., object], tuple[Hashable, ...]], None]
"""Hears of an observed node that has just been brought up to date, whatever came of it."""


class Engine:
    """Cells, the nodes over them, and who observes which. See the package for the rules.

    ``runs`` counts the executions of each formula, those of trials included.
    """

    def __init__(self) -> None:
        self.runs: Counter[Formula[..., object]] = Counter()
        self._cells: dict[Hashable, Cell] = {}
        self._nodes: dict[Formula[..., object], dict[tuple[Hashable, ...], Node]] = {}
        self._observations = 0
        self._active: list[Node] = []  # running or verifying, outermost first
        self._cycles: dict[Node, CycleError] = {}  # of active nodes that were found in one
        self._stale: dict[Node, None] = {}  # observed and marked
        self._before: dict[Node, object] = {}  # observed, not yet reported: value last reported
        self._bare: list[Source] = []  # perhaps read by nobody: looked at when we are done
        self._journal: dict[Node, tuple[object, tuple[Source, ...]]] | None = None

    def set(
        self, cells: Mapping[Hashable, object], refreshed: Refreshed | None = None
    ) -> tuple[Change, ...]:
        """Set cells in one transaction; ``ABSENT`` deletes.

        Returns the observed nodes whose value differs from what was last reported, in the order
        in which they were first observed. ``refreshed`` must not use the engine; it is for whoever
        has a clock: what several nodes need is computed for the first of them.
        """
        self._assert_idle()
        try:
            self._assign(cells, {}, [])
            self._settle(refreshed)
        finally:
            self._sweep()
        return self._report()

    def observe(self, formula: Formula[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T | Failed:
        """Keep the node up to date and report its changes, until as many ``release`` calls."""
        _refuse(kwargs)
        self._assert_idle()
        try:
            node = self._node(formula, args)
            self._refresh(node)
            if node.watch is None:
                self._observations += 1
                node.watch = Watch(self._observations)
            node.watch.count += 1
        finally:
            self._sweep()
        return cast("T | Failed", node.value)

    def release(self, formula: Formula[P, T], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Undo one ``observe``. After the last, the node lives only as long as it is read.

        Raises ``KeyError`` for a node that is not observed.
        """
        _refuse(kwargs)
        self._assert_idle()
        node = self._nodes.get(formula, {}).get(args)
        if node is None or node.watch is None:
            raise KeyError(f"not observed: {formula.name}{args!r}")
        node.watch.count -= 1
        if node.watch.count == 0:
            node.watch = None
            self._stale.pop(node, None)
            self._before.pop(node, None)
            self._bare.append(node)
            self._sweep()

    def value(self, formula: Formula[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T | Failed:
        """The current value; computed if nobody keeps it, and then not kept either."""
        _refuse(kwargs)
        self._assert_idle()
        try:
            node = self._node(formula, args)
            self._refresh(node)
        finally:
            self._sweep()
        return cast("T | Failed", node.value)

    def sources(
        self, formula: Formula[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> frozenset[Hashable]:
        """The keys of the cells that decide the value, absent ones included."""
        _refuse(kwargs)
        self._assert_idle()
        try:
            node = self._node(formula, args)
            self._refresh(node)
            return _cells_below(node)
        finally:
            self._sweep()

    def trial(self, cells: Mapping[Hashable, object]) -> tuple[Change, ...]:
        """What ``set`` would return, with everything left as it is (but for ``runs``)."""
        self._assert_idle()
        marked: list[Node] = []
        before: dict[Hashable, object] = {}
        try:
            self._settle()
            pending, self._before = self._before, {}
            self._journal = {}
            try:
                self._assign(cells, before, marked)
                self._settle()
                return self._report()
            finally:
                self._restore(self._journal, before, marked)
                self._journal = None
                self._before = pending
        finally:
            self._sweep()

    def cell(self, key: Hashable) -> object:
        """The value of a cell, or ``ABSENT``."""
        cell = self._cells.get(key)
        return ABSENT if cell is None else cell.value

    def __len__(self) -> int:
        """How many nodes are alive."""
        return sum(map(len, self._nodes.values()))

    # -- cells ---------------------------------------------------------------------------------

    def _assign(
        self, cells: Mapping[Hashable, object], before: dict[Hashable, object], marked: list[Node]
    ) -> None:
        """Write cells and mark what is above. Adds the old values, and the nodes marked."""
        try:
            for key, value in cells.items():
                cell = self._cells.get(key)
                if cell is None:
                    if value is ABSENT:
                        continue
                    cell = self._cells[key] = Cell(key, ABSENT)
                elif same(cell.value, value):
                    continue
                before[key] = cell.value
                cell.value = value
                spread(cell, marked)
                if value is ABSENT:
                    self._bare.append(cell)
        finally:
            for node in marked:
                if node.watch is not None:
                    self._stale[node] = None

    def _cell(self, key: Hashable) -> Cell:
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = Cell(key, ABSENT)
            self._bare.append(cell)
        return cell

    # -- nodes ---------------------------------------------------------------------------------

    def _node(self, formula: Formula[..., object], args: tuple[Hashable, ...]) -> Node:
        by_args = self._nodes.get(formula)
        if by_args is None:
            by_args = self._nodes[formula] = {}
        node = by_args.get(args)
        if node is None:
            node = by_args[args] = Node(formula, args)
            self._bare.append(node)
        return node

    def _refresh(self, root: Node) -> None:
        """Bring a node up to date, checking known reads without recursion."""
        if root.state == CLEAN:
            return
        if root.state == DIRTY:
            self._run(root)
            return
        if root.state != CHECK:
            self._found_cycle(root)
        depth = len(self._active)
        pending = [iter(root.reads)]
        root.state = VERIFYING
        self._active.append(root)
        try:
            while pending:
                node = self._active[-1]
                if node.state == VERIFYING:
                    below = _next_unclean(pending[-1])
                    if below is None:
                        node.state = CLEAN
                    elif below.state == CHECK:
                        below.state = VERIFYING
                        self._active.append(below)
                        pending.append(iter(below.reads))
                        continue
                    elif below.state == DIRTY:
                        self._run(below)
                        continue
                    else:  # It closes a cycle, unless this node now reads something else.
                        node.state = DIRTY
                self._active.pop()
                pending.pop()
                if node.state == DIRTY:
                    self._run(node)
                else:
                    self._cycles.pop(node, None)
        finally:
            for node in self._active[depth:]:
                if node.state == VERIFYING:
                    node.state = CHECK
                self._cycles.pop(node, None)
            del self._active[depth:]

    def _run(self, node: Node) -> None:
        """Run the formula, and take over its value and its reads."""
        run = _Run(self)
        node.state = RUNNING
        self._active.append(node)
        self.runs[node.formula] += 1
        value: object
        try:
            value = node.formula.function(run, *node.args)
        except RecursionError:  # Says more about our caller's stack than about the formula.
            raise
        except Exception as error:  # noqa: BLE001  the error is the node's value
            value = _failure(node, error, run.reads)
        finally:
            self._active.pop()
            node.state = DIRTY
            cycle = self._cycles.pop(node, None)
            reads = run.reads
            run.engine = None
        if cycle is not None:
            value = Failed(cycle, cycle.path[0])
        if self._journal is not None:
            self._journal.setdefault(node, (node.value, node.reads))
        old = node.value
        changed = not same(old, value)
        listed = tuple(reads)
        if listed != node.reads:
            self._bare += relink(node, listed, reads)
        node.state = CLEAN
        if not changed:
            return
        if node.watch is not None:
            self._before.setdefault(node, old)
        node.value = value
        for reader in node.readers:
            if reader.state == CHECK or reader.state == VERIFYING:
                reader.state = DIRTY

    def _found_cycle(self, node: Node) -> None:
        """Raise ``CycleError`` for an active node that is read by what it waits for."""
        start = len(self._active) - 1
        while self._active[start] is not node:
            start -= 1
        cycle = self._active[start:]
        error = CycleError([member.name for member in cycle])
        for member in cycle:
            self._cycles.setdefault(member, error)
        raise error

    # -- transactions --------------------------------------------------------------------------

    def _assert_idle(self) -> None:
        if self._active:
            raise AssertionError(f"{self._active[-1].name} used the engine instead of its get")

    def _settle(self, refreshed: Refreshed | None = None) -> None:
        """Bring every observed node up to date."""
        while self._stale:
            node = next(iter(self._stale))
            self._refresh(node)
            del self._stale[node]
            if refreshed is not None:
                refreshed(node.formula, node.args)

    def _report(self) -> tuple[Change, ...]:
        changed: list[tuple[int, Change]] = []
        for node, old in self._before.items():
            if node.watch is not None and not same(old, node.value):
                change = Change(node.formula, node.args, old, node.value)
                changed.append((node.watch.order, change))
        self._before.clear()
        changed.sort(key=lambda pair: pair[0])
        return tuple(change for _, change in changed)

    def _restore(
        self,
        journal: dict[Node, tuple[object, tuple[Source, ...]]],
        cells: Mapping[Hashable, object],
        marked: list[Node],
    ) -> None:
        """Undo a trial: put back the values of cells and nodes, and the edges."""
        for key, value in cells.items():
            self._cells[key].value = value
            if value is ABSENT:
                self._bare.append(self._cells[key])
        for node, (old, reads) in journal.items():
            node.value = old
            self._bare += relink(node, reads, frozenset(reads))
            node.state = DIRTY if old is UNSET else CLEAN
        for node in marked:
            node.state = CLEAN
        self._stale.clear()

    def _sweep(self) -> None:
        """Drop what nobody reads or observes, and what only that had read."""
        bare = self._bare
        while bare:
            source = bare.pop()
            if source.readers and not (isinstance(source, Node) and in_idle_cycle(source)):
                continue
            if isinstance(source, Cell):
                if source.value is ABSENT and self._cells.get(source.key) is source:
                    del self._cells[source.key]
            elif source.watch is None:
                by_args = self._nodes.get(source.formula)
                if by_args is None or by_args.get(source.args) is not source:
                    continue  # dropped already
                del by_args[source.args]
                if not by_args:
                    del self._nodes[source.formula]
                bare += relink(source, (), ())


class _Run:
    """The ``get`` of one run of one formula."""

    __slots__ = ("engine", "reads")

    def __init__(self, engine: Engine) -> None:
        self.engine: Engine | None = engine
        self.reads: dict[Source, None] = {}

    def __call__(self, formula: Formula[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        engine = self.engine
        if engine is None:
            raise AssertionError(f"{formula.name}{args!r} was read after the run")
        if kwargs:
            _refuse(kwargs)
        by_args = engine._nodes.get(formula)
        node = None if by_args is None else by_args.get(args)
        if node is None:
            node = engine._node(formula, args)
        self.reads[node] = None
        if node.state == DIRTY:
            engine._run(node)
        elif node.state != CLEAN:
            engine._refresh(node)
        value = node.value
        if isinstance(value, Failed):
            raise value.error.with_traceback(None)
        return cast("T", value)

    def cell(self, key: Hashable) -> object:
        if self.engine is None:
            raise AssertionError(f"cell {key!r} was read after the run")
        cell = self.engine._cell(key)
        self.reads[cell] = None
        return cell.value


def _refuse(kwargs: Mapping[str, object]) -> None:
    if kwargs:
        raise TypeError("a formula's arguments are positional")


def _next_unclean(reads: Iterator[Source]) -> Node | None:
    for source in reads:
        if isinstance(source, Node) and source.state != CLEAN:
            return source
    return None


def _failure(node: Node, error: Exception, reads: Mapping[Source, None]) -> Failed:
    """The failure of this node, or that of a read, if its error came through."""
    through = next((v for v in _failures(reads) if v.error is error), None)
    failed = through or Failed(error, node.name, "".join(traceback.format_exception(error)))
    error.__traceback__ = None  # it would keep every frame, with all that they hold
    return failed


def _failures(reads: Iterable[Source]) -> Iterator[Failed]:
    return (source.value for source in reads if isinstance(source.value, Failed))


def _cells_below(root: Node) -> frozenset[Hashable]:
    keys: list[Hashable] = []
    seen: set[Source] = {root}
    queue: list[Source] = [root]
    while queue:
        source = queue.pop()
        if isinstance(source, Cell):
            keys.append(source.key)
            continue
        for read in source.reads:
            if read not in seen:
                seen.add(read)
                queue.append(read)
    return frozenset(keys)
