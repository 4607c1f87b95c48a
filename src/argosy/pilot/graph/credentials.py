"""Formulas from Secrets and ConfigMaps to the credentials in them."""

from collections.abc import Mapping

from argosy.api import core
from argosy.base.names import Namespace, ObjectKey
from argosy.derive import Reader, formula
from argosy.model.secret import (
    AuthoritiesReference,
    AuthorityBundle,
    CredentialReference,
    Flaw,
    KeyPair,
    PairReference,
)
from argosy.pilot.compile import credentials
from argosy.pilot.graph.world import read


def entries(get: Reader, key: ObjectKey) -> Mapping[str, bytes] | None:
    """What a Secret or ConfigMap holds; None when there is none."""
    if key.kind == "Secret":
        secret = read(get, key, core.Secret)
        return None if secret is None else secret.values
    config_map = read(get, key, core.ConfigMap)
    if config_map is None:
        return None
    texts = {name: text.encode() for name, text in config_map.data.items()}
    return {**texts, **config_map.binary_data}


@formula
def source_of(
    get: Reader, namespace: Namespace, reference: CredentialReference
) -> ObjectKey | Flaw:
    """The object that holds a credential for proxies in ``namespace``, if it is there."""
    key = credentials.locate(reference.name, namespace)
    if isinstance(key, Flaw):
        return key
    if isinstance(reference, AuthoritiesReference) and key.kind == "Secret":
        apart = key._replace(name=key.name + credentials.CA_SUFFIX)
        found = entries(get, apart)
        if found is not None and credentials.holds_authorities(found):
            return apart
    return key


@formula
def credential(
    get: Reader, namespace: Namespace, reference: CredentialReference
) -> KeyPair | AuthorityBundle | Flaw:
    """What proxies in ``namespace`` get for it."""
    key = get(source_of, namespace, reference)
    if isinstance(key, Flaw):
        return key
    found = entries(get, key)
    if found is None:
        return credentials.missing(key)
    if isinstance(reference, PairReference):
        return credentials.key_pair(key, found)
    return credentials.authorities(key, found)
