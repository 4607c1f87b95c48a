"""The analyzers: one row each, with the kinds of objects that it looks at.

Names follow Istio's (``istioctl analyze --list-analyzers``). What compiling an object shows is told
by Pilot itself: ``pilot.graph.problems``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from argosy.base.names import ObjectKey
from argosy.base.problems import Problem
from argosy.derive import Formula
from argosy.pilot.analyze import (
    annotations,
    authorization,
    conditions,
    destination_rules,
    envoy_filters,
    gateways,
    injection,
    proxyless,
    rate_limits,
    request_authentications,
    selectors,
    service_entries,
    services,
    telemetries,
    virtual_services,
)

Check = Formula[[ObjectKey], tuple[Problem, ...]]


class When(Enum):
    """ALWAYS: at ``apply`` and in statuses too. ANALYSIS: ``argosy analyze`` only, for it is no news
    to who applies. DEMAND: only if an option asks for it."""

    ALWAYS = "always"
    ANALYSIS = "analysis"
    DEMAND = "demand"


@dataclass(frozen=True, slots=True)
class Analyzer:
    """``when`` says who asks for it."""

    name: str
    description: str
    kinds: frozenset[str]
    check: Check
    when: When = When.ALWAYS


def _row(
    name: str, kinds: Iterable[str], check: Check, description: str, when: When = When.ALWAYS
) -> Analyzer:
    return Analyzer(name, description, frozenset(kinds), check, when)


TEMPLATES = frozenset({"Deployment", "StatefulSet"})
WORKLOADS = TEMPLATES | {"Pod"}

ANALYZERS: tuple[Analyzer, ...] = (
    _row(
        "annotations.AlphaAnalyzer",
        annotations.KINDS,
        annotations.alpha_annotations,
        "Annotations of Istio's alpha features (with --alpha only)",
        When.DEMAND,
    ),
    _row(
        "annotations.K8sAnalyzer",
        annotations.KINDS,
        annotations.annotation_problems,
        "Annotations of Istio's that are unknown, misplaced, deprecated or cannot be read",
    ),
    _row(
        "conditions.ConditionAnalyzer",
        ("Service", "ServiceEntry"),
        conditions.negative_conditions,
        "Conditions in a status that are not fulfilled",
    ),
    _row(
        "deployment.ApplicationUIDAnalyzer",
        WORKLOADS,
        injection.application_uid,
        "Containers that run as the proxy's user",
    ),
    _row(
        "deployment.MultiServiceAnalyzer",
        TEMPLATES,
        services.workload_services,
        "Services of one workload whose ports contradict each other",
    ),
    _row(
        "destinationrule.CaCertificateAnalyzer",
        ("DestinationRule",),
        destination_rules.server_verification,
        "TLS that is originated without saying whom to trust",
    ),
    _row(
        "envoyfilter.EnvoyPatchAnalyzer",
        ("EnvoyFilter",),
        envoy_filters.relative_operations,
        "Patches that depend on the order of EnvoyFilters",
        When.ANALYSIS,
    ),
    _row(
        "gateway.CertificateAnalyzer",
        ("Gateway",),
        gateways.duplicate_certificates,
        "Gateways that show the same certificate",
    ),
    _row(
        "gateway.ConflictingGatewayAnalyzer",
        ("Gateway",),
        gateways.conflicting_gateways,
        "Gateways that open the same port of the same workloads for the same host",
    ),
    _row(
        "injection.Analyzer",
        ("Namespace",),
        injection.namespace_injection,
        "Namespaces with contradicting labels, or with rules for sidecars that they have not",
    ),
    _row(
        "injection.ImageAutoAnalyzer",
        WORKLOADS,
        injection.image_auto,
        "The image auto where nobody replaces it",
    ),
    _row(
        "injection.PodAnalyzer",
        ("Pod",),
        injection.pod_injection,
        "Pods that should have a proxy and have none",
    ),
    _row(
        "proxyless.PolicyAnalyzer",
        ("DestinationRule",),
        proxyless.ignored_policies,
        "Policies that gRPC clients without a proxy do not follow",
        When.ANALYSIS,
    ),
    _row(
        "proxyless.RoutingAnalyzer",
        ("VirtualService",),
        proxyless.ignored_routing,
        "Rules that gRPC clients without a proxy do not follow",
        When.ANALYSIS,
    ),
    _row(
        "authz.AuthorizationPoliciesAnalyzer",
        ("AuthorizationPolicy",),
        authorization.named_namespaces,
        "Namespaces that AuthorizationPolicies name and that are not there",
    ),
    _row(
        "authz.SelectorAnalyzer",
        ("AuthorizationPolicy",),
        selectors.authorization_policy_selector,
        "AuthorizationPolicies whose selectors match no workload",
    ),
    _row(
        "security.SelectorAnalyzer",
        ("PeerAuthentication",),
        selectors.peer_authentication_selector,
        "Policies whose selectors match no workload",
    ),
    _row(
        "ratelimit.OverlapAnalyzer",
        ("RateLimit",),
        rate_limits.overlaps,
        "Rules of several RateLimits that count the same requests of the same workload",
    ),
    _row(
        "ratelimit.RouteAnalyzer",
        ("RateLimit",),
        rate_limits.routes,
        "Routes that RateLimits name and that no proxy takes for which they hold",
    ),
    _row(
        "ratelimit.SelectorAnalyzer",
        ("RateLimit",),
        rate_limits.selector,
        "RateLimits whose selectors match no workload",
    ),
    _row(
        "requestauthentication.ProxylessAnalyzer",
        ("RequestAuthentication",),
        request_authentications.unchecked,
        "Tokens that are meant to be checked where there is no proxy",
    ),
    _row(
        "requestauthentication.SelectorAnalyzer",
        ("RequestAuthentication",),
        request_authentications.selector,
        "RequestAuthentications whose selectors match no workload",
    ),
    _row(
        "service.PortNameAnalyzer",
        ("Service",),
        services.port_names,
        "Ports whose names tell no protocol",
    ),
    _row(
        "serviceentry.ConflictingServiceEntryProtocolAnalyzer",
        ("ServiceEntry",),
        service_entries.conflicting_protocols,
        "ServiceEntries with the same host and port and different protocols",
    ),
    _row(
        "sidecar.SelectorAnalyzer",
        ("Sidecar",),
        selectors.sidecar_selector,
        "Sidecars whose selectors match no workload",
    ),
    _row(
        "sidecar.OverlapAnalyzer",
        ("Sidecar",),
        selectors.overlapping_sidecars,
        "Workloads that several Sidecars select",
    ),
    _row(
        "telemetry.SelectorAnalyzer",
        ("Telemetry",),
        telemetries.selector,
        "Telemetries whose selectors match no workload",
    ),
    _row(
        "telemetry.OverlapAnalyzer",
        ("Telemetry",),
        telemetries.overlapping,
        "Workloads that several Telemetries select",
    ),
    _row(
        "virtualservice.GatewayAnalyzer",
        ("VirtualService",),
        virtual_services.gateway_hosts,
        "VirtualServices at Gateways that do not offer their hosts",
    ),
)


def checks(kind: str, *, analysis: bool = False, demand: bool = False) -> tuple[Check, ...]:
    """What looks at objects of a kind."""
    wanted = {When.ALWAYS}
    wanted |= {When.ANALYSIS} if analysis else set()
    wanted |= {When.DEMAND} if demand else set()
    return tuple(each.check for each in _BY_KIND.get(kind, ()) if each.when in wanted)


def _by_kind() -> Mapping[str, tuple[Analyzer, ...]]:
    kinds = {kind for analyzer in ANALYZERS for kind in analyzer.kinds}
    return {kind: tuple(each for each in ANALYZERS if kind in each.kinds) for kind in kinds}


_BY_KIND = _by_kind()

COMPILERS: tuple[tuple[str, str], ...] = (
    ("schema.ValidationAnalyzer", "Each object by itself: fields, types, ranges, contradictions"),
    ("virtualservice.DestinationHostAnalyzer", "Hosts and ports that rules send to"),
    ("virtualservice.DestinationRuleAnalyzer", "Subsets that rules send to"),
    ("virtualservice.ConflictingMeshGatewayHostsAnalyzer", "Hosts that several rules claim"),
    ("virtualservice.UnreachableRuleAnalyzer", "Rules and matches that are never used"),
    ("destinationrule.SubsetSelectPodAnalyzer", "Hosts and subsets without workloads"),
    ("sidecar.DefaultSelectorAnalyzer", "Sidecars of the same workloads or namespace"),
    ("telemetry.DefaultSelectorAnalyzer", "Several Telemetries of a whole namespace"),
    ("telemetry.ProviderAnalyzer", "Providers that Telemetries name and that are not there"),
    ("gateway.IngressGatewayPortAnalyzer", "Gateways' workloads, and the ports of their Services"),
)
"""What Pilot looks for anyway when it compiles: name and description, for people."""
