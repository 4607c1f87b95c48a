"""Checks → filters, of requests and of connections: CUSTOM, AUDIT, DENY, ALLOW.

Each action is one filter, because an RBAC filter has one action. The names of filters, rules and
statistics are Istio's. https://istio.io/latest/docs/tasks/security/authorization/authz-dry-run/
"""

from collections.abc import Callable, Iterator
from typing import TypeVar

from envoy.config.listener.v3 import listener_components_pb2
from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac_pb2
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac_pb2
from google.protobuf.message import Message

from argosy.model.authz import Checks, Custom, Policy
from argosy.model.ext_authz import GrpcAuthorizer
from argosy.pilot.translate import ext_authz, rbac

UNASKABLE = "-deny-due-to-bad-CUSTOM-action"
"""After the names of CUSTOM rules that refuse, because there is nobody to ask."""

NamedFilter = tuple[str, Message]
R = TypeVar("R", http_rbac_pb2.RBAC, network_rbac_pb2.RBAC)
MakeRbac = Callable[[rbac_pb2.RBAC | None, rbac_pb2.RBAC | None, str], R]


def custom_http(checks: Checks) -> list[NamedFilter]:
    """Pairs: who matches, and the question; or a refusal."""
    name = rbac.HTTP_RBAC_FILTER
    found: list[NamedFilter] = []
    for custom in checks.custom:
        if custom.authorizer is None:
            found.append((name, rbac.http_filter(_refused(custom))))
            continue
        asked = ext_authz.http_filter(custom.authorizer, custom.provider, name)
        found.append((name, rbac.http_filter(None, _wanted(custom), rbac.EXT_AUTHZ)))
        found.append((ext_authz.HTTP_EXT_AUTHZ_FILTER, asked))
    return found


def native_http(checks: Checks) -> list[NamedFilter]:
    return [(rbac.HTTP_RBAC_FILTER, one) for one in _native(checks, rbac.http_filter)]


def network_filters(checks: Checks) -> list[listener_components_pb2.Filter]:
    """All of them, for a chain of opaque bytes."""
    name = rbac.NETWORK_RBAC_FILTER
    found: list[NamedFilter] = []
    for custom in checks.custom:
        if not isinstance(custom.authorizer, GrpcAuthorizer):
            found.append((name, rbac.network_filter(_refused(custom))))
            continue
        asked = ext_authz.network_filter(custom.authorizer, custom.provider, name)
        found.append((name, rbac.network_filter(None, _wanted(custom), rbac.EXT_AUTHZ)))
        found.append((ext_authz.NETWORK_EXT_AUTHZ_FILTER, asked))
    found += [(name, one) for one in _native(checks, rbac.network_filter)]
    protos = []
    for called, config in found:
        proto = listener_components_pb2.Filter(name=called)
        proto.typed_config.Pack(config, deterministic=True)
        protos.append(proto)
    return protos


def _native(checks: Checks, make: MakeRbac[R]) -> Iterator[R]:
    if checks.audit:
        yield make(rbac.rules(checks.audit, rbac.LOG), None, "")
    if checks.deny or checks.tried_deny:
        enforced = _rules(checks.deny, rbac.DENY)
        tried = _rules(checks.tried_deny, rbac.DENY)
        yield make(enforced, tried, rbac.DRY_RUN_DENY if tried is not None else "")
    if checks.allow or checks.tried_allow:
        enforced = _rules(checks.allow, rbac.ALLOW)
        tried = _rules(checks.tried_allow, rbac.ALLOW)
        yield make(enforced, tried, rbac.DRY_RUN_ALLOW if tried is not None else "")


def _rules(policies: tuple[Policy, ...], action: rbac_pb2.RBAC.Action) -> rbac_pb2.RBAC | None:
    """None where there are no policies: rules without any would refuse everything."""
    return rbac.rules(policies, action) if policies else None


def _wanted(custom: Custom) -> rbac_pb2.RBAC:
    return rbac.rules(custom.policies, rbac.DENY, ext_authz.id_prefix(custom.provider))


def _refused(custom: Custom) -> rbac_pb2.RBAC:
    found = _wanted(custom)
    proto = rbac_pb2.RBAC(action=rbac.DENY)
    for name, policy in found.policies.items():
        proto.policies[name + UNASKABLE].CopyFrom(policy)
    return proto
