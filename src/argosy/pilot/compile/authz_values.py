"""Values of AuthorizationPolicies → conditions on text.

Exact, ``prefix*``, ``*suffix`` and ``*`` as in
https://istio.io/latest/docs/reference/config/security/authorization-policy/#Rule
"""

import re2

from argosy.api.authorization_attributes import TEMPLATE_ANY, TEMPLATE_ONE, is_path_template
from argosy.api.validate_authorization_policy import SPIFFE
from argosy.base.names import Namespace
from argosy.model.authz import Claim, Header, Host, Identity, Method, Path, RequestPrincipal
from argosy.model.route import Exact, Prefix, Regex
from argosy.model.text_match import ANY_TEXT, Suffix, Text

CLUSTER_LOCAL = "cluster.local"
"""In principals it also stands for whatever the mesh's trust domain is called, as in Istio."""

_SEGMENT = "[^/]"
_DOT = r"\.?"
_SPACE = r"[ \t]*"
_BYTES = r"\C*"
"""Anything: a dot would not match bytes that are no UTF-8."""


def text(value: str) -> Text:
    if value == "*":
        return ANY_TEXT
    if value.startswith("*"):
        return Suffix(value[1:])
    if value.endswith("*"):
        return Prefix(value[:-1])
    return Exact(value)


# Identities: ``spiffe://<trust domain>/ns/<namespace>/sa/<service account>``.
# A part is never matched across a slash, so that a namespace called ``ns`` is no way around.


def principal(value: str) -> Identity:
    """Of ``<trust domain>/ns/<namespace>/sa/<service account>``."""
    match text(value.removeprefix(SPIFFE)):
        case Exact(exact):
            return Identity(Exact(SPIFFE + exact))
        case Prefix(prefix):
            return Identity(Prefix(SPIFFE + prefix))
        case Suffix(suffix):
            return Identity(Regex(f"{SPIFFE}.*{_quoted(suffix)}"))
        case any_identity:
            return Identity(any_identity)


def namespace_of_identity(value: str) -> Identity:
    return Identity(Regex(f"{SPIFFE}{_SEGMENT}+/ns/{_part(value)}/.+"))


def trust_domain_of_identity(value: str) -> Identity:
    return Identity(Regex(f"{SPIFFE}{_part(value)}/.+"))


def service_account(value: str, namespace: Namespace) -> Identity:
    """``<name>`` is in the policy's ``namespace``. No character is an operator."""
    of, slash, name = value.rpartition("/")
    where = of if slash else namespace
    return Identity(Regex(f"{SPIFFE}{_SEGMENT}+/ns/{_quoted(where)}/sa/{_quoted(name)}"))


def _part(value: str) -> str:
    """A part of an identity, in which ``*`` stands for any text without a slash."""
    if value == "*":
        return f"{_SEGMENT}+"
    return f"{_SEGMENT}*".join(_quoted(piece) for piece in value.split("*"))


def _quoted(value: str) -> str:
    return str(re2.escape(value))


def with_aliases(principals: tuple[str, ...], trust_domains: tuple[str, ...]) -> tuple[str, ...]:
    """Principals with each name of the mesh's trust domain, where they name it.

    ``trust_domains`` are the mesh's own and its aliases. Where the trust domain is a pattern, the
    names that it covers stay as they are written.
    https://istio.io/latest/docs/tasks/security/authorization/authz-td-migration/
    """
    found: dict[str, None] = {}
    for value in principals:
        written = value.removeprefix(SPIFFE)
        domain, slash, rest = written.partition("/")
        covered = {name for name in trust_domains if _covers(domain, name)}
        if not slash or domain == "*" or not (covered or domain == CLUSTER_LOCAL):
            found[written] = None
            continue
        for name in trust_domains:
            found[written if name in covered else f"{name}/{rest}"] = None
    return tuple(found)


def _covers(pattern: str, name: str) -> bool:
    if pattern.startswith("*"):
        return name.endswith(pattern[1:])
    return pattern == name


def domains_with_aliases(
    values: tuple[str, ...], trust_domains: tuple[str, ...]
) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for value in values:
        found |= dict.fromkeys(trust_domains if value in trust_domains else (value,))
    return tuple(found)


# Requests.


def host(value: str, wide: bool) -> Host:
    """A name means the host at any port, and also as an absolute name, with a dot at its end.

    A port that is written must be there: ``example.com:8080``, ``example.com:*``. Case does not
    count. https://istio.io/latest/docs/ops/best-practices/security/#writing-host-match-policies

    ``wide`` is for refusing. HTTP/1.1 clients may send two Hosts, which Envoy joins by a comma, or
    a user before the name, or no number after it: any name among them counts.
    """
    before, after = (r"(?:.*[,@])?[ \t]*", "(?:,.*)?") if wide else ("", "")
    inside = "." if wide else "[^,@]"
    port = "(?::[^,]*)?" if wide else "(?::[0-9]*)?"
    match text(value):
        case Exact(name):
            pattern = f"{_quoted(name)}{after}" if _has_port(name) else ""
            return Host(Regex(f"(?i){before}{pattern or _quoted(name) + _DOT + port + after}"))
        case Suffix(name):
            rest = after if _has_port(name) else _DOT + port + after
            return Host(Regex(f"(?i){inside}*{_quoted(name)}{rest}"))
        case Prefix(name):
            return Host(Regex(f"(?i){before}{_quoted(name)}{inside}*"))
        case any_host:
            return Host(any_host)


def _has_port(name: str) -> bool:
    """``[::1]`` has none."""
    return ":" in name.rpartition("]")[2]


def method(value: str, wide: bool) -> Method:
    """HTTP/2 takes methods in lower case too, so whoever refuses looks at any case."""
    return Method(text(value), ignore_case=wide)


def header(name: str, value: str, wide: bool) -> Header:
    """``*`` asks that the header is there, even if it is empty.

    ``wide``: HTTP/2 takes spaces around a value, which are gone when an application of HTTP/1.1
    reads it.
    """
    called = name.lower()
    found = text(value)
    if found == ANY_TEXT:
        return Header(called, None)
    if not wide:
        return Header(called, found)
    match found:
        case Exact(exact):
            return Header(called, Regex(f"{_SPACE}{_quoted(exact)}{_SPACE}"))
        case Suffix(suffix):
            return Header(called, Regex(f"{_BYTES}{_quoted(suffix)}{_SPACE}"))
        case Prefix(prefix):
            return Header(called, Regex(f"{_SPACE}{_quoted(prefix)}{_BYTES}"))
        case _:
            raise AssertionError(f"{value} is no pattern")


def path(value: str) -> Path:
    """In a template ``{*}`` is one segment and ``{**}`` any text.

    Envoy's own templates know only some characters: a ``*`` or ``|`` in a path would pass a DENY.
    """
    if not is_path_template(value):
        return Path(text(value))
    pieces = (
        f"{_SEGMENT}+".join(_quoted(literal) for literal in piece.split(TEMPLATE_ONE))
        for piece in value.split(TEMPLATE_ANY)
    )
    return Path(Regex("(?s)" + ".*".join(pieces)))


# Tokens.


def request_principal(value: str) -> RequestPrincipal:
    """``<issuer>/<subject>``, split at the last slash: issuers are often URLs."""
    issuer, slash, subject = value.rpartition("/")
    if value == "*":
        return RequestPrincipal(ANY_TEXT, ANY_TEXT)
    if not slash:
        # One of them alone, as Istio reads it: a suffix is the subject's, a prefix the issuer's.
        if value.startswith("*"):
            return RequestPrincipal(ANY_TEXT, Suffix(value[1:]))
        if value.endswith("*"):
            return RequestPrincipal(Prefix(value[:-1]), ANY_TEXT)
        return RequestPrincipal(Exact(value), Exact(""))
    if value.startswith("*"):
        return RequestPrincipal(text(issuer), Exact(subject))
    if value.endswith("*"):
        return RequestPrincipal(Exact(issuer), text(subject))
    return RequestPrincipal(Exact(issuer), Exact(subject))


def claim(path_to_it: tuple[str, ...], value: str) -> Claim:
    return Claim(path_to_it, text(value))
