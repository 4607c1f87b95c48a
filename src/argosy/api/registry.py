"""The kinds that Argosy reads: one row each, and everything that is said of a kind by itself.

A new kind is one row here (what it is called, what it decodes to, what must hold for it, what it is
for) and, if the whole mesh can tell what is wrong with it, one in ``pilot.graph.problems``.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from argosy.api.apps import Deployment, StatefulSet
from argosy.api.argosy_rate_limit import RateLimit
from argosy.api.certificates import (
    CertificateSigningRequest,
    validate_certificate_signing_request,
)
from argosy.api.core import ConfigMap, Namespace, Secret, Service, ServiceAccount
from argosy.api.core_pod import Pod
from argosy.api.endpoints import Endpoints, EndpointSlice
from argosy.api.meta import Object
from argosy.api.networking_destination_rule import DestinationRule
from argosy.api.networking_envoy_filter import EnvoyFilter
from argosy.api.networking_gateway import Gateway
from argosy.api.networking_ingress import Ingress, IngressClass
from argosy.api.networking_network_policy import NetworkPolicy
from argosy.api.networking_proxy_config import ProxyConfig, validate_proxy_config
from argosy.api.networking_service_entry import ServiceEntry
from argosy.api.networking_sidecar import Sidecar
from argosy.api.networking_virtual_service import VirtualService
from argosy.api.networking_workload_entry import WorkloadEntry, WorkloadGroup
from argosy.api.security import PeerAuthentication
from argosy.api.security_authorization_policy import AuthorizationPolicy
from argosy.api.security_request_authentication import RequestAuthentication
from argosy.api.telemetry import Telemetry
from argosy.api.typed import Mistake
from argosy.api.validate_authorization_policy import validate_authorization_policy
from argosy.api.validate_core import validate_config_map, validate_secret, validate_service
from argosy.api.validate_destination_rule import validate_destination_rule
from argosy.api.validate_endpoints import validate_endpoint_slice, validate_endpoints
from argosy.api.validate_envoy_filter import validate_envoy_filter
from argosy.api.validate_gateway import validate_gateway
from argosy.api.validate_ingress import validate_ingress, validate_ingress_class
from argosy.api.validate_network_policy import validate_network_policy
from argosy.api.validate_pod import validate_deployment, validate_pod, validate_stateful_set
from argosy.api.validate_rate_limit import validate_rate_limit
from argosy.api.validate_request_authentication import validate_request_authentication
from argosy.api.validate_security import validate_peer_authentication
from argosy.api.validate_service_entry import validate_service_entry
from argosy.api.validate_sidecar import validate_sidecar
from argosy.api.validate_telemetry import validate_telemetry
from argosy.api.validate_virtual_service import validate_virtual_service
from argosy.api.validate_workload_entry import validate_workload_entry, validate_workload_group

CORE = ""
APPS = "apps"
CERTIFICATES = "certificates.k8s.io"
DISCOVERY = "discovery.k8s.io"
NETWORKING = "networking.istio.io"
K8S_NETWORKING = "networking.k8s.io"
SECURITY = "security.istio.io"
TELEMETRY = "telemetry.istio.io"
ARGOSY = "argosy.dev"


class Purpose(Enum):
    """What people have a kind for.

    RUNS: what runs, and how it is reached. STEERS: rules for the proxies, which tell whether they are
    accepted and distributed, and are the first suspects when a proxy refuses something. HOLDS: what
    others refer to, or what holds beside the proxies; not in ``argosy get all``, as with kubectl.
    """

    RUNS = "runs"
    STEERS = "steers"
    HOLDS = "holds"


def nothing_to_check(_obj: Any) -> Iterable[Mistake]:
    """The rules of a kind whose types already say everything."""
    return ()


@dataclass(frozen=True, slots=True)
class Registered:
    """One kind. ``version`` is the preferred one of ``versions``; all decode to one struct.

    ``validate`` finds the mistakes of one object that its types do not show.
    """

    group: str
    versions: tuple[str, ...]
    plural: str
    struct: type[Object]
    purpose: Purpose
    validate: Callable[[Any], Iterable[Mistake]] = nothing_to_check
    short_names: tuple[str, ...] = ()
    namespaced: bool = True

    @property
    def kind(self) -> str:
        return self.struct.__name__

    @property
    def version(self) -> str:
        return self.versions[0]

    @property
    def api_version(self) -> str:
        """As written in ``apiVersion``: ``v1`` or ``group/version``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def singular(self) -> str:
        return self.kind.lower()


_V1 = ("v1",)
_ISTIO_NETWORKING = ("v1", "v1beta1", "v1alpha3")
_ISTIO_SECURITY = ("v1", "v1beta1")
_RUNS, _STEERS, _HOLDS = Purpose.RUNS, Purpose.STEERS, Purpose.HOLDS

KINDS: tuple[Registered, ...] = (
    Registered(CORE, _V1, "namespaces", Namespace, _HOLDS, short_names=("ns",), namespaced=False),
    Registered(CORE, _V1, "serviceaccounts", ServiceAccount, _HOLDS, short_names=("sa",)),
    Registered(CORE, _V1, "services", Service, _RUNS, validate_service, ("svc",)),
    Registered(CORE, _V1, "endpoints", Endpoints, _RUNS, validate_endpoints, ("ep",)),
    Registered(DISCOVERY, _V1, "endpointslices", EndpointSlice, _RUNS, validate_endpoint_slice),
    Registered(CORE, _V1, "pods", Pod, _RUNS, validate_pod, ("po",)),
    Registered(CORE, _V1, "configmaps", ConfigMap, _HOLDS, validate_config_map, ("cm",)),
    Registered(CORE, _V1, "secrets", Secret, _HOLDS, validate_secret),
    Registered(APPS, _V1, "deployments", Deployment, _RUNS, validate_deployment, ("deploy",)),
    Registered(APPS, _V1, "statefulsets", StatefulSet, _RUNS, validate_stateful_set, ("sts",)),
    Registered(
        CERTIFICATES,
        _V1,
        "certificatesigningrequests",
        CertificateSigningRequest,
        _HOLDS,
        validate_certificate_signing_request,
        ("csr",),
        namespaced=False,
    ),
    Registered(
        NETWORKING,
        _ISTIO_NETWORKING,
        "virtualservices",
        VirtualService,
        _STEERS,
        validate_virtual_service,
        ("vs",),
    ),
    Registered(
        NETWORKING,
        _ISTIO_NETWORKING,
        "destinationrules",
        DestinationRule,
        _STEERS,
        validate_destination_rule,
        ("dr",),
    ),
    Registered(
        NETWORKING, _ISTIO_NETWORKING, "gateways", Gateway, _STEERS, validate_gateway, ("gw",)
    ),
    Registered(K8S_NETWORKING, _V1, "ingresses", Ingress, _STEERS, validate_ingress, ("ing",)),
    Registered(
        K8S_NETWORKING,
        _V1,
        "ingressclasses",
        IngressClass,
        _STEERS,
        validate_ingress_class,
        namespaced=False,
    ),
    Registered(
        K8S_NETWORKING,
        _V1,
        "networkpolicies",
        NetworkPolicy,
        _HOLDS,
        validate_network_policy,
        ("netpol",),
    ),
    Registered(
        NETWORKING, ("v1alpha3",), "envoyfilters", EnvoyFilter, _STEERS, validate_envoy_filter
    ),
    Registered(NETWORKING, _ISTIO_NETWORKING, "sidecars", Sidecar, _STEERS, validate_sidecar),
    Registered(
        NETWORKING, ("v1beta1",), "proxyconfigs", ProxyConfig, _STEERS, validate_proxy_config
    ),
    Registered(
        NETWORKING,
        _ISTIO_NETWORKING,
        "serviceentries",
        ServiceEntry,
        _STEERS,
        validate_service_entry,
        ("se",),
    ),
    Registered(
        NETWORKING,
        _ISTIO_NETWORKING,
        "workloadentries",
        WorkloadEntry,
        _RUNS,
        validate_workload_entry,
        ("we",),
    ),
    Registered(
        NETWORKING,
        _ISTIO_NETWORKING,
        "workloadgroups",
        WorkloadGroup,
        _RUNS,
        validate_workload_group,
        ("wg",),
    ),
    Registered(
        SECURITY,
        _ISTIO_SECURITY,
        "peerauthentications",
        PeerAuthentication,
        _STEERS,
        validate_peer_authentication,
        ("pa",),
    ),
    Registered(
        SECURITY,
        _ISTIO_SECURITY,
        "authorizationpolicies",
        AuthorizationPolicy,
        _STEERS,
        validate_authorization_policy,
        ("ap",),
    ),
    Registered(
        SECURITY,
        _ISTIO_SECURITY,
        "requestauthentications",
        RequestAuthentication,
        _STEERS,
        validate_request_authentication,
        ("ra",),
    ),
    Registered(
        TELEMETRY,
        ("v1", "v1alpha1"),
        "telemetries",
        Telemetry,
        _STEERS,
        validate_telemetry,
        ("telemetry",),
    ),
    Registered(
        ARGOSY, ("v1alpha1",), "ratelimits", RateLimit, _STEERS, validate_rate_limit, ("rl",)
    ),
)

BY_KIND: Mapping[str, Registered] = {entry.kind: entry for entry in KINDS}
STEERING = frozenset(entry.kind for entry in KINDS if entry.purpose is Purpose.STEERS)
NAMESPACED: Mapping[str, bool] = {entry.kind: entry.namespaced for entry in KINDS}

_BY_RESOURCE = {
    (entry.group, version, entry.plural): entry for entry in KINDS for version in entry.versions
}
_BY_STRUCT = {entry.struct: entry for entry in KINDS}


def get_kind(api_version: str, kind: str) -> Registered | None:
    """The kind of a document; None when the kind, its group or its version is not known."""
    entry = BY_KIND.get(kind)
    group, _, version = api_version.rpartition("/")
    if entry is None or entry.group != group or version not in entry.versions:
        return None
    return entry


def get_resource(group: str, version: str, plural: str) -> Registered | None:
    """The kind that an API path names."""
    return _BY_RESOURCE.get((group, version, plural))


def require_struct(struct: type[Object]) -> Registered:
    """The entry of a struct; raises KeyError."""
    return _BY_STRUCT[struct]
