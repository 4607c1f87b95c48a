"""Changes to headers: model → the header fields that Route and ClusterWeight share."""

from collections.abc import Iterable, MutableSequence
from typing import Protocol

from envoy.config.core.v3 import base_pb2

from argosy.model.route import NO_HEADERS, HeaderOperations

_SET = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
_ADD = base_pb2.HeaderValueOption.APPEND_IF_EXISTS_OR_ADD


class HeaderFields(Protocol):
    """A Route or a ClusterWeight."""

    @property
    def request_headers_to_add(self) -> MutableSequence[base_pb2.HeaderValueOption]: ...
    @property
    def request_headers_to_remove(self) -> MutableSequence[str]: ...
    @property
    def response_headers_to_add(self) -> MutableSequence[base_pb2.HeaderValueOption]: ...
    @property
    def response_headers_to_remove(self) -> MutableSequence[str]: ...


def apply_header_operations(target: HeaderFields, operations: HeaderOperations) -> None:
    """Adds after what ``target`` has already. Envoy removes first, then adds in this order."""
    if operations is NO_HEADERS or operations == NO_HEADERS:
        return
    target.request_headers_to_add.extend(_options(operations.request_set, _SET))
    target.request_headers_to_add.extend(_options(operations.request_add, _ADD))
    target.request_headers_to_remove.extend(operations.request_remove)
    target.response_headers_to_add.extend(_options(operations.response_set, _SET))
    target.response_headers_to_add.extend(_options(operations.response_add, _ADD))
    target.response_headers_to_remove.extend(operations.response_remove)


def _options(
    pairs: Iterable[tuple[str, str]], append_action: int
) -> list[base_pb2.HeaderValueOption]:
    return [
        base_pb2.HeaderValueOption(
            header=base_pb2.HeaderValue(key=key, value=value), append_action=append_action
        )
        for key, value in pairs
    ]
