"""The attributes that conditions of an AuthorizationPolicy may ask for: the keys of ``when``.

https://istio.io/latest/docs/reference/config/security/conditions/
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

TEMPLATE_ONE = "{*}"
TEMPLATE_ANY = "{**}"
"""Operators of path templates: one segment, and any number of them."""


class Values(Enum):
    """What the values of an attribute are."""

    TEXT = "text"
    ADDRESS = "address"
    PORT = "port"
    SERVICE_ACCOUNT = "service account"


@dataclass(frozen=True, slots=True)
class Kind:
    """``keys``: how many keys in brackets follow, at least and at most. ``jwt``: from a token."""

    values: Values = Values.TEXT
    keys: tuple[int, int] = (0, 0)
    jwt: bool = False


_NESTED = (1, 32)

ATTRIBUTES: Mapping[str, Kind] = {
    "request.headers": Kind(keys=(1, 1)),
    "source.ip": Kind(Values.ADDRESS),
    "remote.ip": Kind(Values.ADDRESS),
    "source.namespace": Kind(),
    "source.principal": Kind(),
    "source.serviceAccount": Kind(Values.SERVICE_ACCOUNT),
    "source.trustDomain": Kind(),
    "request.auth.principal": Kind(jwt=True),
    "request.auth.audiences": Kind(jwt=True),
    "request.auth.presenter": Kind(jwt=True),
    "request.auth.claims": Kind(keys=_NESTED, jwt=True),
    "destination.ip": Kind(Values.ADDRESS),
    "destination.port": Kind(Values.PORT),
    "connection.sni": Kind(),
}

EXPERIMENTAL = "experimental."
ENVOY_FILTERS = "experimental.envoy.filters."
_ENVOY_FILTER = Kind(keys=(1, 1))

_KEY = re.compile(r"(?P<name>[^\[\]]+)(?P<keys>(?:\[[^\[\]]+\])*)\Z")


@dataclass(frozen=True, slots=True)
class Attribute:
    """``request.headers[x-token]`` is ``request.headers`` and ``("x-token",)``."""

    name: str
    keys: tuple[str, ...]

    @property
    def kind(self) -> Kind:
        return ATTRIBUTES.get(self.name, _ENVOY_FILTER)


def get_attribute(key: str) -> Attribute | None:
    """None: there is no such attribute, or it is not written as it must be."""
    found = _KEY.match(key)
    if found is None:
        return None
    name, brackets = found["name"], found["keys"]
    keys = tuple(brackets[1:-1].split("][")) if brackets else ()
    if name in ATTRIBUTES:
        kind = ATTRIBUTES[name]
    elif name.startswith(ENVOY_FILTERS) and name != ENVOY_FILTERS:
        kind = _ENVOY_FILTER
    else:
        return None
    fewest, most = kind.keys
    return Attribute(name, keys) if fewest <= len(keys) <= most else None


def is_path_template(path: str) -> bool:
    return TEMPLATE_ONE in path or TEMPLATE_ANY in path
