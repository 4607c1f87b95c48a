"""Equal parts of different objects, kept once: the replicas of a workload differ in little.

An object goes in, an equal one comes out whose spec, labels, annotations, owners and lists in the
status are those of an earlier object where that has the same. Objects are immutable, so nobody
can tell.
"""

import sys
from collections import OrderedDict
from collections.abc import Hashable
from typing import TypeVar

import msgspec
from msgspec import structs

from argosy.api.meta import Duration, Metadata, Object

T = TypeVar("T")


class Sharing:
    """Knows the latest ``capacity`` different parts; replicas are stored close to one another."""

    def __init__(self, capacity: int = 2048) -> None:
        self._capacity = capacity
        self._known: OrderedDict[Hashable, object] = OrderedDict()
        self._encoder = msgspec.msgpack.Encoder(enc_hook=_plain)

    def of(self, value: Object) -> Object:
        """``value``, with parts of objects that were here before."""
        parts: dict[str, object] = {"metadata": self._metadata(value.metadata)}
        spec, status = getattr(value, "spec", None), getattr(value, "status", None)
        if isinstance(spec, msgspec.Struct):
            parts["spec"] = self._shared(spec)
        if isinstance(status, msgspec.Struct):
            parts["status"] = self._status(status)
        return structs.replace(value, **parts)

    def _status(self, status: msgspec.Struct) -> msgspec.Struct:
        """Conditions and containers are the larger part, and equal in replicas."""
        values = structs.asdict(status)
        lists = {name: self._shared(v) for name, v in values.items() if isinstance(v, tuple) and v}
        return structs.replace(status, **lists)

    def _metadata(self, metadata: Metadata) -> Metadata:
        return structs.replace(
            metadata,
            # What keys and indices hold too: one string each.
            name=sys.intern(metadata.name),
            namespace=sys.intern(metadata.namespace),
            creation_timestamp=sys.intern(metadata.creation_timestamp),
            labels=self._shared(metadata.labels),
            annotations=self._shared(metadata.annotations),
            owner_references=self._shared(metadata.owner_references),
        )

    def _shared(self, part: T) -> T:
        key = (type(part), self._encoder.encode(part))
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return known  # type: ignore[return-value]  # the key holds its type
        self._known[key] = part
        if len(self._known) > self._capacity:
            self._known.popitem(last=False)
        return part


def _plain(value: object) -> int:
    if isinstance(value, Duration):
        return int(value)
    raise NotImplementedError(f"an object cannot hold {type(value).__name__}")
