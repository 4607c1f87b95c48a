"""Patches of EnvoyFilters on Envoy configuration: what all types of resource have in common.

A resource goes in with the patches that are for it, in order; it comes out patched, with what each
patch did. A patch that would give something that Envoy refuses is left out, alone, and it is said
why: the others, and what was there before, stay in force.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from google.protobuf.message import Message

from argosy.base.envoy_rules import unpacked, violations
from argosy.base.names import ObjectKey
from argosy.model.envoy_filter import MERGES, Operation, Patch
from argosy.pilot.translate.proto_merge import merge

PatchRef = tuple[ObjectKey, int]
"""An EnvoyFilter and the place of a patch in it."""

_M = TypeVar("_M", bound=Message)


@dataclass(frozen=True, slots=True)
class ValuedPatch:
    """A patch with its value as Envoy's message, which nobody may change; REMOVE has none."""

    object: ObjectKey
    patch: Patch
    value: Message | None = None

    @property
    def ref(self) -> PatchRef:
        return (self.object, self.patch.index)


@dataclass(slots=True)
class Effects:
    """What patches did to one resource. ``wrong`` is what Envoy would not take, by the patch."""

    matched: set[PatchRef] = field(default_factory=set)
    touched: list[Message] = field(default_factory=list)
    wrong: dict[PatchRef, str] = field(default_factory=dict)

    def apply(self, patch: ValuedPatch, *results: Message) -> None:
        """The patch was applied; ``results`` are what it changed."""
        self.matched.add(patch.ref)
        self.touched.extend(results)

    def refuse(self, patch: ValuedPatch, why: str) -> None:
        self.matched.add(patch.ref)
        self.wrong.setdefault(patch.ref, why)


@dataclass(frozen=True, slots=True)
class Patched:
    """``message`` None: it was removed. ``refused`` are the patches that were left out, and why."""

    message: Message | None
    matched: frozenset[PatchRef]
    refused: tuple[tuple[PatchRef, str], ...] = ()


Apply = Callable[[Any, Sequence[ValuedPatch], Effects], bool]
"""Changes a message; false when it is to be removed."""

Check = Callable[[Any], Iterator[tuple[str, str]]]
"""What Envoy would not take of a whole resource, besides the rules of its parts."""


def patched(message: _M, patches: Sequence[ValuedPatch], apply: Apply, check: Check) -> Patched:
    """All patches at once; if that is not right, one after the other without the wrong ones."""
    result, effects, keep = _attempt(message, patches, apply)
    if not _faults(result, effects, check):
        return Patched(result if keep else None, frozenset(effects.matched))
    good: list[ValuedPatch] = []
    refused: dict[PatchRef, str] = {}
    matched = set(effects.matched)
    for patch in patches:
        result, effects, keep = _attempt(message, [*good, patch], apply)
        why = _faults(result, effects, check)
        if why:
            refused[patch.ref] = why
        else:
            good.append(patch)
        matched |= effects.matched
    result, _, keep = _attempt(message, good, apply)
    return Patched(result if keep else None, frozenset(matched), tuple(sorted(refused.items())))


def _attempt(message: _M, patches: Sequence[ValuedPatch], apply: Apply) -> tuple[_M, Effects, bool]:
    result = type(message)()
    result.CopyFrom(message)
    effects = Effects()
    keep = apply(result, patches, effects)
    return result, effects, keep


def _faults(result: Message, effects: Effects, check: Check) -> str:
    for why in effects.wrong.values():
        return why
    found = [v for touched in effects.touched for v in violations(touched)]
    found += check(result) if effects.matched else ()
    return "; ".join(dict.fromkeys(f"{path}: {why}" if path else why for path, why in found[:5]))


def lay_over(target: Message, patch: ValuedPatch) -> None:
    """MERGE, or MERGE_AND_REPLACE_LIST."""
    assert patch.value is not None, "validation lets no such patch pass"
    replace_lists = patch.patch.operation is Operation.MERGE_AND_REPLACE_LIST
    merge(target, patch.value, replace_lists=replace_lists)


def merge_filter(target: Any, patch: ValuedPatch, effects: Effects, *, chosen: bool) -> None:
    """A filter's name is replaced and its configuration merged.

    ``chosen``: the patch names this filter; if not, filters of other types are passed by.
    """
    value: Any = patch.value
    if value.HasField("typed_config") and target.HasField("typed_config"):
        old, new = unpacked(target.typed_config), unpacked(value.typed_config)
        if old is None or new is None or old.DESCRIPTOR is not new.DESCRIPTOR:
            if chosen:
                why = (
                    f"{target.name} is configured by {target.typed_config.type_url}, "
                    f"which {value.typed_config.type_url} cannot be merged into"
                )
                effects.refuse(patch, why)
            return
    lay_over(target, patch)
    effects.apply(patch, target)


def is_merge(patch: ValuedPatch) -> bool:
    return patch.patch.operation in MERGES


def change_list(
    items: Any, patch: ValuedPatch, effects: Effects, is_it: Callable[[Any], bool] | None
) -> None:
    """ADD, INSERT, REPLACE and REMOVE in a list of filters or routes.

    ``is_it`` None: the patch names none of them. Then BEFORE is the beginning and AFTER the end,
    and nothing is replaced or removed.
    """
    value: Any = patch.value
    place = _place(list(items), patch.patch.operation, is_it)
    match patch.patch.operation:
        case Operation.REMOVE if is_it is not None:
            gone = [i for i, item in enumerate(items) if is_it(item)]
            for i in reversed(gone):
                del items[i]
            if gone:
                effects.apply(patch)
        case Operation.REPLACE if place is not None:
            items[place].CopyFrom(value)
            effects.apply(patch, items[place])
        case Operation.REMOVE | Operation.REPLACE:
            return
        case _ if place is not None:
            items.insert(place, value)
            effects.apply(patch, items[place])


def _place(
    items: Sequence[Any], operation: Operation, is_it: Callable[[Any], bool] | None
) -> int | None:
    """Where it goes; None for nowhere."""
    if operation is Operation.ADD:
        return len(items)
    found = next((i for i, item in enumerate(items) if is_it is not None and is_it(item)), None)
    match operation:
        case Operation.INSERT_FIRST:
            return 0
        case Operation.INSERT_BEFORE:
            return 0 if is_it is None else found
        case Operation.INSERT_AFTER if is_it is None:
            return len(items)
        case Operation.INSERT_AFTER:
            return None if found is None else found + 1
    return found


def with_values(
    patches: Iterable[ValuedPatch], operations: frozenset[Operation]
) -> Iterator[ValuedPatch]:
    return (patch for patch in patches if patch.patch.operation in operations)
