"""What a formula is, and how it reads."""

from collections.abc import Callable, Hashable
from enum import Enum
from typing import Concatenate, Final, Generic, Literal, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
Q = ParamSpec("Q")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Absent(Enum):
    """The type of ``ABSENT``, the value of a cell that is not there. It is false."""

    ABSENT = "ABSENT"

    def __repr__(self) -> str:
        return "ABSENT"

    def __bool__(self) -> Literal[False]:
        return False


ABSENT: Final = Absent.ABSENT


class Reader(Protocol):
    """The first argument of a formula: everything it may read of the world."""

    def __call__(self, formula: "Formula[Q, T]", /, *args: Q.args, **kwargs: Q.kwargs) -> T:
        """The value of another formula. Raises that formula's error if it failed.

        Keyword arguments are refused with ``TypeError``: one node has one spelling.
        """
        ...

    def cell(self, key: Hashable) -> object:
        """The value of a cell, or ``ABSENT``; an absent cell counts as read too."""
        ...


class Formula(Generic[P, T_co]):
    """A pure function of what it reads. Made by ``@formula``; equal only to itself."""

    def __init__(self, function: Callable[Concatenate[Reader, P], T_co]) -> None:
        self.function = function
        self.name: str = function.__qualname__.rpartition("<locals>.")[2]
        self.__doc__ = function.__doc__

    def __call__(self, get: Reader, /, *args: P.args, **kwargs: P.kwargs) -> T_co:
        """Run the bare function, without the engine (in a test, with a ``get`` of your own)."""
        return self.function(get, *args, **kwargs)

    def __repr__(self) -> str:
        return f"<formula {self.name}>"


def formula(function: Callable[Concatenate[Reader, P], T]) -> Formula[P, T]:
    """Decorate ``def f(get: Reader, ...) -> T`` to make it a formula."""
    return Formula(function)
