"""RateLimit of ``argosy.dev``: how many requests a workload or gateway takes, from whom.

Istio has no such kind. Selectors, targets and patterns of text are as in its own policies.
"""

from collections.abc import Mapping
from typing import Literal

from argosy.api.meta import IstioStatus, Object, Part, WorkloadSelector
from argosy.api.policy_target import PolicyTargetReference

Unit = Literal["SECOND", "MINUTE", "HOUR", "DAY"]
LimitScope = Literal["PER_REPLICA", "SHARED"]
OnFailure = Literal["ALLOW", "DENY"]
SourceKey = Literal["PRINCIPAL", "NAMESPACE", "SERVICE_ACCOUNT", "ADDRESS"]
RequestKey = Literal["PATH", "METHOD", "HOST"]


class LimitMatch(Part, frozen=True, kw_only=True):
    """Which requests: each field must hold, by one of its values, and no ``not_...`` value may.

    Values are exact, ``prefix*``, ``*suffix`` or ``*``, as in AuthorizationPolicy. ``headers`` are values by
    the header's name. ``routes`` are names of HTTP routes of VirtualServices, which the proxy that sends a
    request on has chosen: a gateway's, or the sidecar of whoever calls. A sidecar counts by them what its own
    workload sends, and by all other rules what its workload receives.
    """

    hosts: tuple[str, ...] = ()
    not_hosts: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    not_paths: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    not_methods: tuple[str, ...] = ()
    headers: Mapping[str, tuple[str, ...]] = {}
    not_headers: Mapping[str, tuple[str, ...]] = {}
    routes: tuple[str, ...] = ()


class LimitKey(Part, frozen=True, kw_only=True):
    """What requests are told apart by: one of the fields.

    ``source`` is the caller: by its certificate, or its address. ``claim`` is one of a validated token, and
    descends into nested claims by dots.
    """

    source: SourceKey | None = None
    request: RequestKey | None = None
    header: str | None = None
    claim: str | None = None


class Limit(Part, frozen=True, kw_only=True):
    """``requests`` per ``unit``. ``burst`` may come at once; None: as many as ``requests``."""

    requests: int
    unit: Unit
    burst: int | None = None


class LimitRule(Part, frozen=True, kw_only=True):
    """``name`` is for people and headers; empty: the rule's number, from 0.

    ``keys``: each combination of values has a limit of its own. ``scope`` SHARED: all replicas count
    together, in Mixer. ``on_failure`` is for SHARED: what happens to requests while nobody can count them.
    """

    name: str = ""
    match: LimitMatch = LimitMatch()
    keys: tuple[LimitKey, ...] = ()
    limit: Limit
    scope: LimitScope = "PER_REPLICA"
    on_failure: OnFailure = "ALLOW"
    dry_run: bool = False


class LimitResponse(Part, frozen=True, kw_only=True):
    """How refused requests are answered. ``quota_headers``: every answer tells how much is left."""

    body: str = ""
    content_type: str = "text/plain"
    quota_headers: bool = False


class RateLimitSpec(Part, frozen=True, kw_only=True):
    """``target_refs`` are Services, and Gateways of Istio's API or of the Kubernetes Gateway API."""

    selector: WorkloadSelector | None = None
    target_refs: tuple[PolicyTargetReference, ...] = ()
    rules: tuple[LimitRule, ...] = ()
    response: LimitResponse = LimitResponse()


class RateLimit(Object, frozen=True, kw_only=True):
    api_version: str = "argosy.dev/v1alpha1"
    kind: str = "RateLimit"
    spec: RateLimitSpec = RateLimitSpec()
    status: IstioStatus | None = None
