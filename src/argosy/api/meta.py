"""The parts that every object has.

Structs are frozen; sequences are tuples and maps are typed ``Mapping``: nobody may change them.
Wire names are camelCase. ``Duration`` is the one scalar with a type of its own.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from argosy.base.names import CLUSTER_SCOPED, Namespace, ObjectKey

Opaque = Any
"""A field that Kubernetes has and that Argosy carries along without looking at it."""

Int32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
UInt32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]
UInt64 = Annotated[int, Meta(ge=0)]


class Part(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename="camel",
    omit_defaults=True,
    forbid_unknown_fields=True,
):
    """A part of an object in which an unknown field is an error."""


class KubernetesPart(Part, frozen=True, kw_only=True):
    """A part of a Kubernetes object: an unknown field is only a warning.

    Kubernetes has many fields for things that a mesh on one machine does not do.
    """


class Duration(int):
    """A duration in whole milliseconds, written as in Go: ``1h``, ``2.5s``, ``100ms``.

    It is an ``int``: compute with it directly.
    """

    __slots__ = ()

    @property
    def milliseconds(self) -> int:
        return int(self)

    def __str__(self) -> str:
        """As users write it, in the largest unit that divides it."""
        for size, unit in ((3_600_000, "h"), (60_000, "m"), (1000, "s")):
            if self and self % size == 0:
                return f"{self // size}{unit}"
        return f"{int(self)}ms" if self else "0s"


class Origin(KubernetesPart, frozen=True, kw_only=True):
    """Where an object was written.

    ``line`` is the first line of its document (from 1); ``fields`` maps field paths, such as
    ``spec.http[0].route[1].destination``, to lines. It need not hold every path: see ``line_of``.
    """

    file: str
    line: int
    fields: Mapping[str, int] = {}


class OwnerReference(KubernetesPart, frozen=True, kw_only=True):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class Metadata(KubernetesPart, frozen=True, kw_only=True):
    """``creation_timestamp`` and ``deletion_timestamp`` are RFC 3339 in UTC, empty when unset.

    ``resource_version`` is opaque; ``generation`` grows when the spec changes.
    """

    name: str = ""
    namespace: str = ""
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    creation_timestamp: str = ""
    resource_version: str = ""
    uid: str = ""
    generation: int = 0
    generate_name: str = ""
    deletion_timestamp: str = ""
    deletion_grace_period_seconds: int | None = None
    owner_references: tuple[OwnerReference, ...] = ()
    finalizers: tuple[str, ...] = ()
    managed_fields: Opaque = None
    self_link: str = ""


class Object(KubernetesPart, frozen=True, kw_only=True):
    """Any object. ``api_version`` is the preferred version of its group, whatever was written.

    ``origin`` says where it was written; it is not part of the wire form.
    """

    api_version: str = ""
    kind: str = ""
    metadata: Metadata = Metadata()
    origin: Origin | None = None

    @property
    def key(self) -> ObjectKey:
        return ObjectKey(self.kind, Namespace(self.metadata.namespace), self.metadata.name)


def line_of(where: Object | Origin | None, field: str) -> int | None:
    """The line of ``field``, or of the nearest enclosing path; None when nobody knows it."""
    origin = where.origin if isinstance(where, Object) else where
    if origin is None:
        return None
    path = field
    while path:
        line = origin.fields.get(path)
        if line is not None:
            return line
        path = _parent(path)
    return origin.line


def _parent(path: str) -> str:
    """``spec.http[0].match`` → ``spec.http[0]`` → ``spec.http`` → ``spec`` → nothing.

    Map keys with dots are written ``labels["a.b"]``, and end at their opening bracket.
    """
    if path.endswith('"]'):
        return path[: path.rfind('["')]
    if path.endswith("]"):
        return path[: path.rfind("[")]
    cut = path.rfind(".")
    return path[:cut] if cut >= 0 else ""


class Condition(KubernetesPart, frozen=True, kw_only=True):
    """One condition of a status: ``status`` is True, False or Unknown."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    observed_generation: int = 0
    last_transition_time: str = ""
    last_update_time: str = ""
    last_probe_time: str | None = None


class LabelSelectorRequirement(KubernetesPart, frozen=True, kw_only=True):
    key: str
    operator: str
    values: tuple[str, ...] = ()


class LabelSelector(KubernetesPart, frozen=True, kw_only=True):
    match_labels: Mapping[str, str] = {}
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()


class WorkloadSelector(Part, frozen=True, kw_only=True):
    """Istio's selector (``type.v1beta1.WorkloadSelector``): all labels must be equal."""

    match_labels: Mapping[str, str] = {}


class IstioCondition(KubernetesPart, frozen=True, kw_only=True):
    """``istio.meta.v1alpha1.IstioCondition``."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_probe_time: str = ""
    last_transition_time: str = ""
    observed_generation: Opaque = None


class IstioStatus(KubernetesPart, frozen=True, kw_only=True):
    """``istio.meta.v1alpha1.IstioStatus``."""

    conditions: tuple[IstioCondition, ...] = ()
    validation_messages: Opaque = None
    observed_generation: Opaque = None


def key_of(kind: str, namespace: str, name: str, *, namespaced: bool) -> ObjectKey:
    """The key of an object whose namespace was perhaps not written."""
    return ObjectKey(kind, Namespace(namespace) if namespaced else CLUSTER_SCOPED, name)
