"""Formulas of what is wrong with credentials: told to the object that names them, and to the Secret."""

from dataclasses import dataclass
from datetime import datetime

from argosy.api import core
from argosy.base.names import Namespace, ObjectKey
from argosy.base.problems import Problem, Severity
from argosy.derive import Reader, formula
from argosy.model.gateway import GatewayServer
from argosy.model.proxy import ProxyType, Role
from argosy.model.secret import (
    AuthoritiesReference,
    CredentialReference,
    Flaw,
    KeyPair,
    PairReference,
)
from argosy.model.server_tls import TerminatedTls
from argosy.pilot.compile import destinations as compiling
from argosy.pilot.compile import gateways as selection
from argosy.pilot.graph import destinations, gateways, world
from argosy.pilot.graph.credentials import credential, source_of
from argosy.pilot.graph.scopes import scope_of


@formula
def gateway_credentials(get: Reader, namespace: Namespace, name: str) -> tuple[Problem, ...]:
    """Servers of a Gateway that cannot be served for want of a certificate."""
    owner = ObjectKey(gateways.KIND, namespace, name)
    found = []
    for role in _selected(get, namespace, name):
        for server in get(gateways.compiled_servers, namespace, name).value:
            for reference, flaw in get(gateways.flaws_of, role.namespace, server):
                found.append(
                    Problem(
                        owner,
                        _field(server, reference),
                        flaw.code,
                        f"{flaw.message}; this server is not served",
                        flaw.hint,
                    )
                )
    found += _mixed_algorithms(get, namespace, name)
    return tuple(dict.fromkeys(found))


@formula
def destination_credentials(get: Reader, namespace: Namespace, name: str) -> tuple[Problem, ...]:
    """Credentials of a DestinationRule that none of the proxies it is for can have."""
    compiled = get(destinations.compiled_destination, namespace, name)
    if compiled is None:
        return ()
    rule = compiled.value
    policies = compiling.credential_policies(rule)
    if not policies:
        return ()
    users = {
        role.namespace
        for role in get(gateways.gateway_roles)
        if compiling.is_for(rule, get(scope_of, role))
    }
    if rule.selector is not None:
        users = {namespace}
    found = []
    for policy in policies:
        flaws = []
        for user in sorted(users):
            bad = [
                flaw
                for reference in policy.tls.references
                if isinstance(flaw := get(credential, user, reference), Flaw)
            ]
            if not bad:
                break
            flaws += bad
        else:
            found += [
                Problem(
                    rule.rule,
                    policy.field,
                    flaw.code,
                    f"{flaw.message}; nothing is sent to these hosts from there",
                    flaw.hint,
                )
                for flaw in flaws
            ]
            if not users or (rule.selector is None and flaws):
                found.append(
                    Problem(
                        rule.rule,
                        policy.field,
                        "CredentialForGatewaysOnly",
                        "without a workloadSelector credentials are for gateways: sidecars speak "
                        "TLS without this one",
                        "add a workloadSelector, if it is for sidecars of this namespace",
                        Severity.WARNING,
                    )
                )
    return tuple(dict.fromkeys(found))


@formula
def secret_problems(get: Reader, namespace: Namespace, name: str) -> tuple[Problem, ...]:
    """What is wrong in a Secret that holds a server's certificate, or that a Gateway names."""
    key = ObjectKey("Secret", namespace, name)
    written = world.read(get, key, core.Secret)
    if written is None:
        return ()
    wanted = {ref for ref, source in get(sources_in, namespace) if source == key}
    if written.type == "kubernetes.io/tls":
        wanted.add(PairReference(name))
    problems = []
    for reference in sorted(wanted, key=lambda one: (type(one).__name__, one.name)):
        found = get(credential, namespace, reference)
        if isinstance(found, Flaw):
            field = f'data["{found.key}"]' if found.key else "data"
            problems.append(Problem(key, field, found.code, found.message, found.hint))
    return tuple(dict.fromkeys(problems))


@formula
def sources_in(
    get: Reader, namespace: Namespace
) -> tuple[tuple[CredentialReference, ObjectKey], ...]:
    """The objects that gateway proxies of a namespace take credentials from."""
    found = []
    for role in get(gateways.gateway_roles):
        if role.namespace == namespace:
            for reference in get(gateways.references_of, role):
                if isinstance(reference, PairReference | AuthoritiesReference):
                    source = get(source_of, namespace, reference)
                    if isinstance(source, ObjectKey):
                        found.append((reference, source))
    return tuple(sorted(set(found), key=lambda one: (one[1], str(one[0]))))


@dataclass(frozen=True, slots=True)
class Lifetime:
    """A certificate in use: ``field`` of an object names it."""

    field: str
    source: ObjectKey
    expires: datetime


@formula
def lifetimes(get: Reader, key: ObjectKey) -> tuple[Lifetime, ...]:
    """When the certificates that an object names expire: formulas know no clock, the caller does."""
    found: list[Lifetime] = []
    if key.kind == gateways.KIND:
        for role in _selected(get, key.namespace, key.name):
            for server in get(gateways.compiled_servers, key.namespace, key.name).value:
                for reference in _pairs(server):
                    field = _field(server, reference)
                    found += _lifetime(get, role.namespace, reference, field)
    elif key.kind == "Secret":
        written = world.read(get, key, core.Secret)
        if written is not None and written.type == "kubernetes.io/tls":
            field = 'data["tls.crt"]'
            found += _lifetime(get, key.namespace, PairReference(key.name), field)
    return tuple(dict.fromkeys(found))


def _lifetime(
    get: Reader, namespace: Namespace, reference: PairReference, field: str
) -> list[Lifetime]:
    pair = get(credential, namespace, reference)
    source = get(source_of, namespace, reference)
    if isinstance(pair, KeyPair) and isinstance(source, ObjectKey):
        return [Lifetime(field, source, pair.expires)]
    return []


def _selected(get: Reader, namespace: Namespace, name: str) -> list[Role]:
    """The gateway proxies that run and that a Gateway selects."""
    written = get(gateways.gateway, namespace, name)
    if written is None:
        return []
    return [
        role
        for role in get(gateways.gateway_roles)
        if role.type is ProxyType.ROUTER and selection.gateway_selects(written, role.labels)
    ]


def _pairs(server: GatewayServer) -> list[PairReference]:
    if not isinstance(server.tls, TerminatedTls):
        return []
    return [one for one in server.tls.references if isinstance(one, PairReference)]


def _field(server: GatewayServer, reference: CredentialReference) -> str:
    pairs = _pairs(server)
    if isinstance(reference, AuthoritiesReference) and reference.name not in {
        pair.name for pair in pairs
    }:
        return f"{server.field}.tls.caCertCredentialName"
    if len(pairs) > 1:
        index = next((i for i, pair in enumerate(pairs) if pair.name == reference.name), 0)
        return f"{server.field}.tls.credentialNames[{index}]"
    return f"{server.field}.tls.credentialName"


def _mixed_algorithms(get: Reader, namespace: Namespace, name: str) -> list[Problem]:
    """Two certificates are for clients of different abilities: one RSA, one ECDSA."""
    owner = ObjectKey(gateways.KIND, namespace, name)
    problems = []
    for role in _selected(get, namespace, name):
        for server in get(gateways.compiled_servers, namespace, name).value:
            found = [get(credential, role.namespace, one) for one in _pairs(server)]
            kinds = [pair.algorithm for pair in found if isinstance(pair, KeyPair)]
            if len(kinds) != len(set(kinds)):
                problems.append(
                    Problem(
                        owner,
                        f"{server.field}.tls.credentialNames",
                        "SameAlgorithm",
                        f"both certificates are {kinds[0]}: only one of them is ever shown",
                        "name one RSA and one ECDSA certificate",
                        Severity.WARNING,
                    )
                )
    return problems
