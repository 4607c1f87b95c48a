"""Names, labels and annotations, as Kubernetes wants them.

https://kubernetes.io/docs/concepts/overview/working-with-objects/names/ and .../labels/
"""

import re
from collections.abc import Iterator, Mapping

from argosy.api.located import child
from argosy.api.meta import Metadata
from argosy.api.typed import Mistake, short

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z", re.ASCII)
_SUBDOMAIN = re.compile(
    r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z", re.ASCII
)
_QUALIFIED = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z", re.ASCII)
_MAX_ANNOTATIONS_BYTES = 256 * 1024

_LABEL_NAMED = frozenset({"Namespace", "Service"})
"""Kinds whose name is part of a host name: one DNS label."""


def is_dns_label(text: str) -> bool:
    """RFC 1123 label: lower case, digits and ``-``, at most 63."""
    return _LABEL.match(text) is not None


def is_dns_subdomain(text: str) -> bool:
    """RFC 1123 subdomain: labels joined by dots, at most 253."""
    return len(text) <= 253 and _SUBDOMAIN.match(text) is not None


def check_metadata(metadata: Metadata, kind: str) -> Iterator[Mistake]:
    """Every mistake of an object's metadata."""
    if not metadata.name:
        hint = "Names are not generated here: write a name" if metadata.generate_name else ""
        yield Mistake("metadata.name", "MissingName", "the object has no name", hint)
    elif kind in _LABEL_NAMED:
        if not is_dns_label(metadata.name):
            yield _bad_name("metadata.name", metadata.name, dots=False)
    elif not is_dns_subdomain(metadata.name):
        yield _bad_name("metadata.name", metadata.name, dots=True)
    if metadata.namespace and not is_dns_label(metadata.namespace):
        yield _bad_name("metadata.namespace", metadata.namespace, dots=False)
    yield from check_labels(metadata.labels, "metadata.labels")
    size = 0
    for key, value in metadata.annotations.items():
        size += len(key) + len(value)
        if not _is_qualified_name(key.lower()):
            yield _bad_key("metadata.annotations", key)
    if size > _MAX_ANNOTATIONS_BYTES:
        message = f"the annotations have {size} characters; the limit is {_MAX_ANNOTATIONS_BYTES}"
        yield Mistake("metadata.annotations", "TooLong", message)


def check_labels(labels: Mapping[str, str], path: str) -> Iterator[Mistake]:
    """Keys ``[prefix/]name`` and values of at most 63 characters."""
    for key, value in labels.items():
        if not _is_qualified_name(key):
            yield _bad_key(path, key)
        if value and _QUALIFIED.match(value) is None:
            yield Mistake(
                child(path, key),
                "InvalidLabel",
                f"{short(value)} cannot be a label's value",
                "At most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter "
                "or digit",
            )


def _is_qualified_name(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    return (not slash or is_dns_subdomain(prefix)) and _QUALIFIED.match(name) is not None


def _bad_key(path: str, key: str) -> Mistake:
    return Mistake(
        child(path, key),
        "InvalidLabel",
        f"{short(key)} cannot be a key here",
        "Write name or prefix/name; the prefix is a host name in lower case",
    )


def _bad_name(field: str, name: str, *, dots: bool) -> Mistake:
    letters = (
        "lower-case letters, digits, '-' and '.'" if dots else "lower-case letters, digits, '-'"
    )
    return Mistake(
        field,
        "InvalidName",
        f"{short(name)} is not a valid name",
        f"At most {253 if dots else 63} {letters}, beginning and ending with a letter or digit",
    )
