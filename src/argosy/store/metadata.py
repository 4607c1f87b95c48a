"""The part of an object's metadata that belongs to the store, not to the user.

uid, creationTimestamp, resourceVersion and generation, as Kubernetes keeps them:
https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/
"""

from collections.abc import Callable
from datetime import UTC

from msgspec import UNSET, structs

from argosy.api.meta import Object
from argosy.base.clock import Clock

Uids = Callable[[], str]


def stamped(new: Object, old: Object | None, revision: int, clock: Clock, uids: Uids) -> Object:
    """``new`` as it is stored after ``old``; the generation grows when the spec changed."""
    if old is None:
        created = clock.now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        uid, generation = uids(), 1 if hasattr(new, "spec") else 0
    else:
        created, uid = old.metadata.creation_timestamp, old.metadata.uid
        changed = _part(new, "spec") != _part(old, "spec")
        generation = old.metadata.generation + (1 if changed else 0)
    metadata = structs.replace(
        new.metadata,
        resource_version=str(revision),
        uid=uid,
        creation_timestamp=created,
        generation=generation,
        managed_fields=None,
        self_link="",
    )
    return structs.replace(new, metadata=metadata)


def same(old: Object, new: Object) -> bool:
    """Whether ``new`` says nothing that ``old`` does not; where it was written does not count."""
    ours = old.metadata
    metadata = structs.replace(
        new.metadata,
        resource_version=ours.resource_version,
        uid=ours.uid,
        creation_timestamp=ours.creation_timestamp,
        generation=ours.generation,
        managed_fields=ours.managed_fields,
        self_link=ours.self_link,
    )
    return structs.replace(new, metadata=metadata, origin=old.origin) == old


def with_status_of(value: Object, other: Object | None) -> Object:
    """``value`` with the status of ``other`` (none without it): only ``/status`` writes a status."""
    if _part(value, "status") is UNSET:
        return value
    status = _part(other, "status") if other is not None else UNSET
    if status is UNSET:
        status = _default(value, "status")
    return structs.replace(value, status=status)


def with_origin_of(value: Object, other: Object) -> Object:
    """``value`` where ``other`` was written; ``value`` itself when that is no news."""
    if other.origin is None or other.origin == value.origin:
        return value
    return structs.replace(value, origin=other.origin)


def with_revision(value: Object, revision: int) -> Object:
    return structs.replace(
        value, metadata=structs.replace(value.metadata, resource_version=str(revision))
    )


def _part(value: Object, name: str) -> object:
    """``spec`` or ``status``, which not every kind has: UNSET without it."""
    return getattr(value, name, UNSET)


def _default(value: Object, name: str) -> object:
    field = next(field for field in structs.fields(value) if field.name == name)
    assert not field.required, f"{name} has a default in every kind"
    return field.default_factory() if callable(field.default_factory) else field.default
