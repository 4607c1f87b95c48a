"""Values that are keys everywhere and have much in them: their hash is computed once."""

from typing import TypeVar, cast


class HashedOnce:
    """Base class of such values; ``@hashed_once`` goes over their ``@dataclass``."""

    __slots__ = ("_hash",)

    _hash: int


T = TypeVar("T", bound=HashedOnce)


def hashed_once(kind: type[T]) -> type[T]:
    """Keep the hash that a frozen dataclass computes from all its fields each time."""
    compute = kind.__hash__

    def kept(self: object) -> int:
        try:
            return cast("T", self)._hash
        except AttributeError:
            found = compute(cast("T", self))
            object.__setattr__(self, "_hash", found)
            return found

    kind.__hash__ = kept  # type: ignore[method-assign]  # what the decorator is for
    return kind
