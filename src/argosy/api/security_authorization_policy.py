"""AuthorizationPolicy of ``security.istio.io``.

Fields as in https://istio.io/latest/docs/reference/config/security/authorization-policy/
"""

from typing import Literal

from msgspec import field

from argosy.api.meta import IstioStatus, Object, Part, WorkloadSelector
from argosy.api.policy_target import PolicyTargetReference

Action = Literal["ALLOW", "DENY", "AUDIT", "CUSTOM"]

DRY_RUN = "istio.io/dry-run"
"""The annotation that keeps a policy from being enforced."""


class Source(Part, frozen=True, kw_only=True):
    """Who calls: all fields must hold, of each field one value, and no ``not_...`` value.

    ``ip_blocks`` are of the connection, ``remote_ip_blocks`` of X-Forwarded-For or PROXY protocol.
    ``service_accounts`` are ``<name>`` in the policy's namespace, or ``<namespace>/<name>``.
    """

    principals: tuple[str, ...] = ()
    not_principals: tuple[str, ...] = ()
    request_principals: tuple[str, ...] = ()
    not_request_principals: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    not_namespaces: tuple[str, ...] = ()
    service_accounts: tuple[str, ...] = ()
    not_service_accounts: tuple[str, ...] = ()
    trust_domains: tuple[str, ...] = ()
    not_trust_domains: tuple[str, ...] = ()
    ip_blocks: tuple[str, ...] = ()
    not_ip_blocks: tuple[str, ...] = ()
    remote_ip_blocks: tuple[str, ...] = ()
    not_remote_ip_blocks: tuple[str, ...] = ()


class Operation(Part, frozen=True, kw_only=True):
    """What is called. ``ports`` are texts, and the workload's own."""

    hosts: tuple[str, ...] = ()
    not_hosts: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    not_ports: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    not_methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    not_paths: tuple[str, ...] = ()


class Condition(Part, frozen=True, kw_only=True):
    """https://istio.io/latest/docs/reference/config/security/conditions/"""

    key: str = ""
    values: tuple[str, ...] = ()
    not_values: tuple[str, ...] = ()


class From(Part, frozen=True, kw_only=True):
    source: Source | None = None


class To(Part, frozen=True, kw_only=True):
    operation: Operation | None = None


class Rule(Part, frozen=True, kw_only=True):
    """One of ``from_``, one of ``to`` and all of ``when``; a rule without any takes everything."""

    from_: tuple[From, ...] | None = field(name="from", default=None)
    to: tuple[To, ...] | None = None
    when: tuple[Condition, ...] = ()


class ExtensionProvider(Part, frozen=True, kw_only=True):
    """``name`` is of one of MeshConfig's ``extensionProviders``."""

    name: str = ""


class AuthorizationPolicySpec(Part, frozen=True, kw_only=True):
    """Without rules nothing matches: ALLOW then denies everything."""

    selector: WorkloadSelector | None = None
    target_ref: PolicyTargetReference | None = None
    target_refs: tuple[PolicyTargetReference, ...] = ()
    action: Action = "ALLOW"
    provider: ExtensionProvider | None = None
    rules: tuple[Rule, ...] = ()


class AuthorizationPolicy(Object, frozen=True, kw_only=True):
    api_version: str = "security.istio.io/v1"
    kind: str = "AuthorizationPolicy"
    spec: AuthorizationPolicySpec = AuthorizationPolicySpec()
    status: IstioStatus | None = None
