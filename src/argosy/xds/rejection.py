"""What a client said no to, and how to find which resource of a response it meant."""

import re
from dataclasses import dataclass

from argosy.xds.source import Resource

_HINTS = 8
"""More names than this in one error message are bisected rather than tried one by one."""


@dataclass(frozen=True, slots=True)
class RejectedResource:
    """A resource in the version that the client refused."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Rejection:
    """A NACK. ``error`` is the client's own words.

    ``resources`` are the culprits: one when the response was narrowed down to it, several
    when it could not be, none when the client refused a response that held nothing.
    ``generation`` is the publication that the refused response reached up to;
    ``at`` is the monotonic clock's time in seconds.
    """

    client_id: str
    type_url: str
    error: str
    resources: tuple[RejectedResource, ...]
    generation: int
    at: float


def mentioned(error: str, resources: tuple[Resource, ...]) -> tuple[str, ...]:
    """Names of the resources that the error names; a name inside a longer word does not count."""
    found = []
    for resource in resources:
        name = re.escape(resource.name)
        if resource.name in error and re.search(rf"(?<![\w|.-]){name}(?![\w|-]|\.\w)", error):
            found.append(resource.name)
    return tuple(found)


def split(error: str, resources: tuple[Resource, ...]) -> tuple[tuple[str, ...], ...]:
    """How to try a refused response again: the parts, each to be sent in a response of its own.

    Names in the error are only a hint for the order: each part is judged by the client's
    next answer. Every part is smaller than the whole, so repeated splitting ends.
    """
    names = tuple(resource.name for resource in resources)
    suspects = mentioned(error, resources)
    rest = tuple(name for name in names if name not in set(suspects))
    if not suspects or not rest:
        middle = len(names) // 2
        return names[:middle], names[middle:]
    if len(suspects) > _HINTS:
        return rest, suspects
    return rest, *((name,) for name in suspects)
