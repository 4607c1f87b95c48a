"""What comes out of the engine besides values: failures, cycles, changes."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from argosy.derive.formula import Formula


class NodeName(NamedTuple):
    """A formula with its arguments, as text for people: ``routes('default', 9080)``."""

    formula: str
    args: tuple[Hashable, ...]

    def __str__(self) -> str:
        return f"{self.formula}({', '.join(map(repr, self.args))})"


class CycleError(Exception):
    """Formulas that read each other. ``path`` ends where it begins.

    It begins at the node whose name is smallest, so it does not depend on who asked first.
    """

    def __init__(self, cycle: Sequence[NodeName]) -> None:
        names = [(name.formula, str(name)) for name in cycle]
        start = names.index(min(names))
        self.path = (*cycle[start:], *cycle[:start], cycle[start])
        super().__init__(" -> ".join(map(str, self.path)))


@dataclass(frozen=True, slots=True, eq=False)
class Failed:
    """The value of a node whose formula raised ``error``, at ``where`` first of all.

    Equal to another failure of the same type, arguments and place. ``trace`` is the traceback
    as text; it is not compared.
    """

    error: Exception
    where: NodeName
    trace: str = ""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Failed):
            return NotImplemented
        return (
            type(self.error) is type(other.error)
            and self.error.args == other.error.args
            and self.where == other.where
        )

    def __hash__(self) -> int:
        return hash((type(self.error), self.where))

    def __str__(self) -> str:
        return f"{self.where}: {type(self.error).__name__}: {self.error}"


@dataclass(frozen=True, slots=True)
class Change:
    """An observed node whose value is another than before. Both may be ``Failed``."""

    formula: Formula[..., object]
    args: tuple[Hashable, ...]
    old: object
    new: object
