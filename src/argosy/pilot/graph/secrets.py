"""Formulas of the secrets that a proxy gets: those that its own configuration names, no others.

A name means an object of the proxy's own namespace, whoever asks: proxies of two namespaces get
different secrets, or none, for one name.
"""

from types import MappingProxyType

from argosy.base.names import Namespace
from argosy.derive import Reader, formula
from argosy.model.proxy import ProxyType, Role
from argosy.model.secret import (
    AuthoritiesReference,
    Flaw,
    PairReference,
    SecretReference,
)
from argosy.pilot.graph import destinations, gateways
from argosy.pilot.graph.credentials import credential
from argosy.pilot.graph.encode import Encoded, encode
from argosy.pilot.graph.scopes import scope_of
from argosy.pilot.translate import secret


@formula
def named(get: Reader, role: Role) -> MappingProxyType[str, SecretReference]:
    """What the proxy may ask for, by the name that its configuration has for it."""
    found: set[SecretReference] = set(get(destinations.references_of, get(scope_of, role)))
    if role.type is ProxyType.ROUTER:
        found |= get(gateways.references_of, role)
    return MappingProxyType({secret.secret_name(reference): reference for reference in found})


@formula
def secret_resource(get: Reader, role: Role, name: str) -> Encoded | None:
    """None for what is not there, is bad, or is not this proxy's."""
    reference = get(named, role).get(name)
    return None if reference is None else get(encoded, role.namespace, reference)


@formula
def encoded(get: Reader, namespace: Namespace, reference: SecretReference) -> Encoded | None:
    """Shared by the proxies of a namespace."""
    if not isinstance(reference, PairReference | AuthoritiesReference):
        return encode(secret.secret_name(reference), secret.file_secret(reference))
    found = get(credential, namespace, reference)
    if isinstance(found, Flaw):
        return None
    name = secret.secret_name(reference)
    return encode(name, secret.secret(name, found))
