"""One Envoy message laid over another, as an EnvoyFilter's MERGE means it.

Set fields win; messages are merged field by field; lists are appended, or replaced if so asked;
entries of maps replace entries. Besides, as protobuf's own merge does not: configuration of any
type is merged where both are of the same type, durations and wrapped values replace each other
(so that ``false`` and ``0s`` survive), and a transport socket of another name replaces the old.
"""

from google.protobuf import any_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from argosy.base.envoy_rules import WRAPPERS, unpacked

_WHOLE = WRAPPERS | {"google.protobuf.Duration", "google.protobuf.Timestamp"}
_TRANSPORT_SOCKET = "envoy.config.core.v3.TransportSocket"


def merge(target: Message, value: Message, *, replace_lists: bool = False) -> None:
    """Change ``target``; ``value`` stays as it is. Both are of one type."""
    if isinstance(target, any_pb2.Any):
        assert isinstance(value, any_pb2.Any)
        _merge_any(target, value, replace_lists=replace_lists)
        return
    for field, written in value.ListFields():
        if field.is_repeated:
            _merge_list(target, field, written, replace_lists=replace_lists)
        elif field.message_type is None:
            setattr(target, field.name, written)
        elif field.message_type.full_name in _WHOLE or _is_other_socket(target, field, written):
            getattr(target, field.name).CopyFrom(written)
        else:
            inner = getattr(target, field.name)
            inner.SetInParent()
            merge(inner, written, replace_lists=replace_lists)


def _merge_list(
    target: Message, field: FieldDescriptor, written: object, *, replace_lists: bool
) -> None:
    entry = field.message_type
    is_map = entry is not None and entry.GetOptions().map_entry
    if replace_lists and not is_map:
        target.ClearField(field.name)
    there = getattr(target, field.name)
    if entry is not None and is_map:
        is_message = entry.fields_by_name["value"].message_type is not None
        for key, item in written.items():  # type: ignore[attr-defined]  # a protobuf map
            if is_message:
                there[key].CopyFrom(item)
            else:
                there[key] = item
        return
    there.extend(written)


def _is_other_socket(target: Message, field: FieldDescriptor, written: Message) -> bool:
    kind = field.message_type
    if kind is None or kind.full_name != _TRANSPORT_SOCKET or not target.HasField(field.name):
        return False
    return bool(getattr(target, field.name).name != written.name)  # type: ignore[attr-defined]


def _merge_any(target: any_pb2.Any, value: any_pb2.Any, *, replace_lists: bool) -> None:
    old, new = unpacked(target), unpacked(value)
    if old is None or new is None or old.DESCRIPTOR is not new.DESCRIPTOR:
        target.CopyFrom(value)
        return
    merge(old, new, replace_lists=replace_lists)
    target.Pack(old, deterministic=True)
