"""Identifiers that every room shares.

An object is named by kind, namespace and name. Kinds of different API groups
do not collide in the set that Argosy reads, so the group is not part of the key.
"""

from typing import NamedTuple, NewType

Namespace = NewType("Namespace", str)
Hostname = NewType("Hostname", str)
"""A fully qualified, lower-case host name, or a wildcard such as ``*.example.com`` or ``*``."""

TrustDomain = NewType("TrustDomain", str)

CLUSTER_SCOPED = Namespace("")
"""The namespace of objects that have none (Namespace itself)."""


class ObjectKey(NamedTuple):
    """Which object: ``VirtualService default/reviews``."""

    kind: str
    namespace: Namespace
    name: str

    def __str__(self) -> str:
        path = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind} {path}"
