"""What was worked out of sets of labels, remembered: the same sets come again and again. Pure."""

from collections.abc import Callable
from typing import Generic, TypeVar

from argosy.mixer.collect.sender import Sender

MAX_SETS = 20_000
"""Of labels, about 1.5 KB each."""

MAX_SETS_OF_SENDER = 5_000
_PERIOD = 8
_Meaning = TypeVar("_Meaning")
_Labels = tuple[str, ...]


class Meanings(Generic[_Meaning]):
    """``work_out`` says what labels of a sender mean.

    Where there is no more room, what is new is worked out each time: a mesh with some more sets than
    there is room for costs somewhat more, and not as much as if nothing were remembered, which is
    what becomes of a cache that drops the oldest when all come in turn. What was not asked for
    within ``_PERIOD`` times as many questions as there is room gives way.
    """

    def __init__(
        self,
        work_out: Callable[[_Labels, Sender], _Meaning],
        limit: int = MAX_SETS,
        share: int = MAX_SETS_OF_SENDER,
    ) -> None:
        self._work_out = work_out
        self._limit = limit
        self._share = share
        self._fresh: dict[Sender, dict[_Labels, _Meaning]] = {}
        self._stale: dict[Sender, dict[_Labels, _Meaning]] = {}
        self._held = 0
        self._asked = 0

    def __len__(self) -> int:
        return self._held

    def of(self, labels: _Labels, sender: Sender) -> _Meaning:
        """``labels`` are names and values in turn."""
        self._asked += 1
        if self._asked > _PERIOD * self._limit:
            self._forget()
        fresh = self._fresh.setdefault(sender, {})
        if labels in fresh:
            return fresh[labels]
        stale = self._stale.get(sender, {})
        if labels in stale:
            found = fresh[labels] = stale.pop(labels)
            return found
        found = self._work_out(labels, sender)
        if self._held < self._limit and len(fresh) + len(stale) < self._share:
            fresh[labels] = found
            self._held += 1
        return found

    def _forget(self) -> None:
        self._held -= sum(map(len, self._stale.values()))
        self._stale, self._fresh, self._asked = self._fresh, {}, 0
