"""What must hold for one AuthorizationPolicy alone.

Rules as in Istio's validation (``pkg/config/validation``, ``pkg/config/security``). What would be
admitted but never match, so that a DENY denies nothing, is a warning.
"""

import ipaddress
import re
from collections.abc import Iterator, Sequence

from argosy.api.authorization_attributes import (
    ATTRIBUTES,
    TEMPLATE_ANY,
    TEMPLATE_ONE,
    Values,
    get_attribute,
    is_path_template,
)
from argosy.api.policy_target import check_selection
from argosy.api.security_authorization_policy import (
    DRY_RUN,
    AuthorizationPolicy,
    AuthorizationPolicySpec,
    Condition,
    Operation,
    Rule,
    Source,
)
from argosy.api.typed import Mistake, did_you_mean, short
from argosy.api.validate_metadata import is_dns_label
from argosy.api.validate_values import check_header_name, warning

MAX_SERVICE_ACCOUNTS = 16
MAX_SERVICE_ACCOUNT = 320

TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
"""As Go's ``strconv.ParseBool`` reads them."""

SPIFFE = "spiffe://"

_OLD = {
    "destination.namespace": "the namespace of the policy says it",
    "destination.labels": "the policy's selector says it",
    "destination.name": "the policy's selector says it",
    "destination.user": "the policy's selector says it",
}
_LITERAL = re.compile(r"[A-Za-z0-9\-._~%!$&'()+,;:@=]*\Z", re.ASCII)
"""A segment of a path template that is no operator: pchar of RFC 3986 but ``*``."""


def validate_authorization_policy(policy: AuthorizationPolicy) -> Iterator[Mistake]:
    spec = policy.spec
    yield from check_selection(
        spec.selector, spec.target_ref, spec.target_refs, "AuthorizationPolicy"
    )
    yield from _action(spec)
    yield from _dry_run(policy)
    for i, rule in enumerate(spec.rules):
        yield from _rule(rule, f"spec.rules[{i}]", custom=spec.action == "CUSTOM")


def _action(spec: AuthorizationPolicySpec) -> Iterator[Mistake]:
    if spec.action == "CUSTOM" and not (spec.provider and spec.provider.name):
        message = "a CUSTOM policy needs the name of an authorizer"
        hint = "Write provider.name, one of extensionProviders in MeshConfig"
        yield Mistake("spec.provider.name", "MissingField", message, hint)
    if spec.action != "CUSTOM" and spec.provider is not None:
        message = f"a provider is for action CUSTOM, not for {spec.action}"
        yield Mistake("spec.provider", "NotAllowed", message, "Remove it, or write action: CUSTOM")
    if spec.action != "ALLOW" and not spec.rules:
        message = f"a {spec.action} policy without rules is never met"
        hint = "Write rules: [{}] if it is meant for every request"
        yield Mistake("spec.rules", "MissingField", message, hint)


def _dry_run(policy: AuthorizationPolicy) -> Iterator[Mistake]:
    path = f'metadata.annotations["{DRY_RUN}"]'
    value = policy.metadata.annotations.get(DRY_RUN)
    if value is None:
        return
    if value not in TRUE | FALSE:
        message = f"{short(value)} is neither true nor false, so the policy is enforced"
        yield warning(path, "InvalidValue", message, 'Write "true" or "false"')
    elif value in TRUE and policy.spec.action not in ("ALLOW", "DENY"):
        message = f"only ALLOW and DENY can be tried out; this {policy.spec.action} is in force"
        yield warning(path, "NoEffect", message, "Remove the annotation")


def _rule(rule: Rule, path: str, *, custom: bool) -> Iterator[Mistake]:
    for name, items in (("from", rule.from_), ("to", rule.to)):
        if items is not None and not items:
            message = f"{name} is empty, so nothing could match"
            yield Mistake(f"{path}.{name}", "MissingField", message, f"Remove {name}")
    for i, item in enumerate(rule.from_ or ()):
        where = f"{path}.from[{i}].source"
        if item.source is None or item.source == Source():
            message = "the source says nothing"
            yield Mistake(where, "MissingField", message, "Say whose requests, or remove from")
        else:
            yield from _source(item.source, where, custom=custom)
    for i, to in enumerate(rule.to or ()):
        where = f"{path}.to[{i}].operation"
        if to.operation is None or to.operation == Operation():
            message = "the operation says nothing"
            yield Mistake(where, "MissingField", message, "Say which requests, or remove to")
        else:
            yield from _operation(to.operation, where)
    for i, condition in enumerate(rule.when):
        yield from _condition(condition, f"{path}.when[{i}]", custom=custom)


def _source(source: Source, path: str, *, custom: bool) -> Iterator[Mistake]:
    for name, values in (
        ("principals", source.principals),
        ("notPrincipals", source.not_principals),
    ):
        yield from check_principals(values, f"{path}.{name}")
    for name, values in (
        ("requestPrincipals", source.request_principals),
        ("notRequestPrincipals", source.not_request_principals),
    ):
        if custom and values:
            yield _no_token(f"{path}.{name}", name)
        yield from check_patterns(values, f"{path}.{name}")
    for name, values in (
        ("namespaces", source.namespaces),
        ("notNamespaces", source.not_namespaces),
        ("trustDomains", source.trust_domains),
        ("notTrustDomains", source.not_trust_domains),
    ):
        yield from check_parts_of_identity(values, f"{path}.{name}")
    for name, values in (
        ("serviceAccounts", source.service_accounts),
        ("notServiceAccounts", source.not_service_accounts),
    ):
        yield from check_service_accounts(values, f"{path}.{name}")
        others = (
            source.principals or source.not_principals or source.namespaces or source.not_namespaces
        )
        if values and others:
            message = f"{name} and principals or namespaces exclude each other"
            hint = "Write service accounts as <namespace>/<name>, and remove the other"
            yield Mistake(f"{path}.{name}", "ConflictingFields", message, hint)
    for name, values in (
        ("ipBlocks", source.ip_blocks),
        ("notIpBlocks", source.not_ip_blocks),
        ("remoteIpBlocks", source.remote_ip_blocks),
        ("notRemoteIpBlocks", source.not_remote_ip_blocks),
    ):
        yield from check_addresses(values, f"{path}.{name}")


def _operation(operation: Operation, path: str) -> Iterator[Mistake]:
    for name, values in (("hosts", operation.hosts), ("notHosts", operation.not_hosts)):
        yield from check_hosts(values, f"{path}.{name}")
    for name, values in (("ports", operation.ports), ("notPorts", operation.not_ports)):
        yield from check_ports(values, f"{path}.{name}")
    for name, values in (("methods", operation.methods), ("notMethods", operation.not_methods)):
        yield from check_methods(values, f"{path}.{name}")
    for name, values in (("paths", operation.paths), ("notPaths", operation.not_paths)):
        yield from check_paths(values, f"{path}.{name}")


def _condition(condition: Condition, path: str, *, custom: bool) -> Iterator[Mistake]:
    key = condition.key
    if not key:
        yield Mistake(f"{path}.key", "MissingField", "the condition has no key")
        return
    if not condition.values and not condition.not_values:
        message = "the condition has neither values nor notValues"
        yield Mistake(path, "MissingField", message, "Write one of them")
    attribute = get_attribute(key)
    if attribute is None:
        yield _unknown(key, f"{path}.key")
        return
    kind = attribute.kind
    if attribute.name == "request.headers":
        yield from check_header_name(attribute.keys[0], f"{path}.key", pseudo=True)
    if custom and kind.jwt:
        yield _no_token(f"{path}.key", key)
    for name, values in (("values", condition.values), ("notValues", condition.not_values)):
        where = f"{path}.{name}"
        match kind.values:
            case Values.ADDRESS:
                yield from check_addresses(values, where)
            case Values.PORT:
                yield from check_ports(values, where)
            case Values.SERVICE_ACCOUNT:
                yield from check_service_accounts(values, where)
            case Values.TEXT if attribute.name == "source.principal":
                yield from check_principals(values, where)
            case Values.TEXT if attribute.name in ("source.namespace", "source.trustDomain"):
                yield from check_parts_of_identity(values, where)
            case Values.TEXT:
                yield from check_patterns(values, where)


def _unknown(key: str, path: str) -> Mistake:
    name = key.partition("[")[0]
    if name in _OLD:
        message = f"{short(key)} is no attribute of conditions: {_OLD[name]}"
        return Mistake(path, "UnknownAttribute", message, "Remove it")
    if name in ATTRIBUTES:
        takes = "[name]" if ATTRIBUTES[name].keys[1] else ", without brackets"
        message = f"{short(key)} is not written as it must be"
        return Mistake(path, "InvalidValue", message, f"Write {name}{takes}")
    hint = did_you_mean(name, tuple(ATTRIBUTES)) or f"There are: {', '.join(ATTRIBUTES)}"
    return Mistake(path, "UnknownAttribute", f"there is no attribute {short(key)}", hint)


def _no_token(path: str, what: str) -> Mistake:
    message = f"{what} cannot be asked for by CUSTOM policies: they are met before tokens are read"
    return Mistake(path, "NotAllowed", message, "Let the authorizer look at the token")


# Values.


def check_patterns(values: Sequence[str], path: str) -> Iterator[Mistake]:
    """Exact text, ``prefix*``, ``*suffix`` or ``*``."""
    for i, value in enumerate(values):
        yield from check_pattern(value, f"{path}[{i}]")


def check_pattern(value: str, path: str) -> Iterator[Mistake]:
    if not value:
        yield Mistake(path, "InvalidValue", "the value is empty", 'Write "*" for any value')
    elif "*" in value[1:-1] or (value != "*" and value[0] == value[-1] == "*"):
        message = f"in {short(value)} a * stands for itself: it is a wildcard at one end only"
        yield warning(path, "LiteralWildcard", message, "Write several values")


def check_principals(values: Sequence[str], path: str) -> Iterator[Mistake]:
    yield from check_patterns(values, path)
    for i, value in enumerate(values):
        if value.startswith(SPIFFE):
            message = f"principals are written without {SPIFFE}"
            yield warning(f"{path}[{i}]", "NotCanonical", message, f"Remove {SPIFFE}")


def check_parts_of_identity(values: Sequence[str], path: str) -> Iterator[Mistake]:
    """Namespaces and trust domains: no slash; ``*`` stands for any text in them."""
    for i, value in enumerate(values):
        if not value:
            yield Mistake(f"{path}[{i}]", "InvalidValue", "the value is empty")
        elif "/" in value:
            message = f"{short(value)} holds a /, so it is the whole of no part of an identity"
            yield Mistake(f"{path}[{i}]", "InvalidValue", message, "Write the name alone")


def check_service_accounts(values: Sequence[str], path: str) -> Iterator[Mistake]:
    """``<name>`` or ``<namespace>/<name>``, without wildcards."""
    if len(values) > MAX_SERVICE_ACCOUNTS:
        message = f"{len(values)} are too many; the limit is {MAX_SERVICE_ACCOUNTS}"
        yield Mistake(path, "OutOfRange", message, "Write several sources")
    for i, value in enumerate(values):
        where = f"{path}[{i}]"
        namespace, slash, name = value.rpartition("/")
        if "*" in value:
            message = "service accounts have no wildcards"
            yield Mistake(where, "InvalidValue", message, "Use namespaces or principals")
        elif len(value) > MAX_SERVICE_ACCOUNT:
            message = f"{short(value)} is longer than {MAX_SERVICE_ACCOUNT} characters"
            yield Mistake(where, "OutOfRange", message)
        elif not name or (slash and not is_dns_label(namespace)) or "/" in namespace:
            message = f"{short(value)} is not a service account"
            yield Mistake(where, "InvalidValue", message, "Write <name> or <namespace>/<name>")


def check_addresses(values: Sequence[str], path: str) -> Iterator[Mistake]:
    for i, value in enumerate(values):
        try:
            network = ipaddress.ip_network(value, strict=False)
        except ValueError:
            message = f"{short(value)} is not an IP address or CIDR block"
            yield Mistake(f"{path}[{i}]", "InvalidAddress", message, "Write 10.1.0.0/16")
            continue
        written = value.partition("/")[0]
        if str(network.network_address) != str(ipaddress.ip_address(written)):
            message = f"{short(value)} is read as {network}"
            yield warning(f"{path}[{i}]", "NotCanonical", message, f"Write {network}")


def check_ports(values: Sequence[str], path: str) -> Iterator[Mistake]:
    for i, value in enumerate(values):
        if not (value.isascii() and value.isdecimal() and 1 <= int(value) <= 65535):
            message = f"{short(value)} is not a port"
            yield Mistake(f"{path}[{i}]", "InvalidPort", message, "Ports are 1 to 65535")


def check_hosts(values: Sequence[str], path: str) -> Iterator[Mistake]:
    yield from check_patterns(values, path)
    for i, value in enumerate(values):
        if "/" in value or "@" in value:
            message = f"{short(value)} is not the host of a request"
            yield Mistake(
                f"{path}[{i}]", "InvalidHost", message, "Write a name, perhaps with :port"
            )


def check_methods(values: Sequence[str], path: str) -> Iterator[Mistake]:
    yield from check_patterns(values, path)
    for i, value in enumerate(values):
        if value != value.upper():
            message = f"methods are in upper case: {short(value)} is none that clients use"
            yield warning(f"{path}[{i}]", "NotCanonical", message, f"Write {value.upper()}")


def check_paths(values: Sequence[str], path: str) -> Iterator[Mistake]:
    for i, value in enumerate(values):
        where = f"{path}[{i}]"
        if is_path_template(value):
            yield from _template(value, where)
            continue
        yield from check_pattern(value, where)
        if value and value[0] not in "/*":
            message = f"{short(value)} matches no path: all begin with /"
            yield warning(where, "NeverMatches", message, f"Write /{value}")
        if "?" in value or "#" in value:
            message = "what follows ? or # is no part of the path that is compared"
            yield warning(where, "NeverMatches", message, "Write the path alone")


def _template(value: str, path: str) -> Iterator[Mistake]:
    """Segments are literal or one operator; of ``{**}`` there is one, and no operator after it.

    https://istio.io/latest/docs/reference/config/security/authorization-policy/#Operation
    """
    hint = "Write /a/{*}/b or /a/{**}/b"
    if not value.startswith("/"):
        message = f"the template {short(value)} does not begin with /"
        yield Mistake(path, "InvalidTemplate", message, hint)
        return
    after_any = False
    segments = value[1:].split("/")
    for number, segment in enumerate(segments):
        if segment in (TEMPLATE_ONE, TEMPLATE_ANY):
            if after_any:
                message = "no operator may follow {**}"
                yield Mistake(path, "InvalidTemplate", message, hint)
                return
            after_any = segment == TEMPLATE_ANY
        elif not _LITERAL.match(segment) or (not segment and number < len(segments) - 1):
            message = f"in the template {short(value)} the segment {short(segment)} is not allowed"
            yield Mistake(path, "InvalidTemplate", message, "An operator is a whole segment")
            return
