"""The kinds that Argosy reads: what they are called, and which struct they decode to."""

from collections.abc import Mapping
from dataclasses import dataclass

from argosy.api.apps import Deployment, StatefulSet
from argosy.api.core import ConfigMap, Namespace, Secret, Service, ServiceAccount
from argosy.api.core_pod import Pod
from argosy.api.endpoints import Endpoints, EndpointSlice
from argosy.api.meta import Object
from argosy.api.networking_destination_rule import DestinationRule
from argosy.api.networking_envoy_filter import EnvoyFilter
from argosy.api.networking_gateway import Gateway
from argosy.api.networking_ingress import Ingress, IngressClass
from argosy.api.networking_proxy_config import ProxyConfig
from argosy.api.networking_service_entry import ServiceEntry
from argosy.api.networking_sidecar import Sidecar
from argosy.api.networking_virtual_service import VirtualService
from argosy.api.networking_workload_entry import WorkloadEntry, WorkloadGroup
from argosy.api.security import PeerAuthentication

NETWORKING = "networking.istio.io"
K8S_NETWORKING = "networking.k8s.io"
SECURITY = "security.istio.io"


@dataclass(frozen=True, slots=True)
class Registered:
    """One kind. ``version`` is the preferred one of ``versions``; all decode to one struct."""

    group: str
    versions: tuple[str, ...]
    kind: str
    plural: str
    namespaced: bool
    struct: type[Object]
    short_names: tuple[str, ...] = ()

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


_ISTIO_NETWORKING = ("v1", "v1beta1", "v1alpha3")

KINDS: tuple[Registered, ...] = (
    Registered("", ("v1",), "Namespace", "namespaces", False, Namespace, ("ns",)),
    Registered("", ("v1",), "ServiceAccount", "serviceaccounts", True, ServiceAccount, ("sa",)),
    Registered("", ("v1",), "Service", "services", True, Service, ("svc",)),
    Registered("", ("v1",), "Endpoints", "endpoints", True, Endpoints, ("ep",)),
    Registered("discovery.k8s.io", ("v1",), "EndpointSlice", "endpointslices", True, EndpointSlice),
    Registered("", ("v1",), "Pod", "pods", True, Pod, ("po",)),
    Registered("", ("v1",), "ConfigMap", "configmaps", True, ConfigMap, ("cm",)),
    Registered("", ("v1",), "Secret", "secrets", True, Secret),
    Registered("apps", ("v1",), "Deployment", "deployments", True, Deployment, ("deploy",)),
    Registered("apps", ("v1",), "StatefulSet", "statefulsets", True, StatefulSet, ("sts",)),
    Registered(
        NETWORKING,
        _ISTIO_NETWORKING,
        "VirtualService",
        "virtualservices",
        True,
        VirtualService,
        ("vs",),
    ),
    Registered(
        NETWORKING,
        _ISTIO_NETWORKING,
        "DestinationRule",
        "destinationrules",
        True,
        DestinationRule,
        ("dr",),
    ),
    Registered(NETWORKING, _ISTIO_NETWORKING, "Gateway", "gateways", True, Gateway, ("gw",)),
    Registered(K8S_NETWORKING, ("v1",), "Ingress", "ingresses", True, Ingress, ("ing",)),
    Registered(K8S_NETWORKING, ("v1",), "IngressClass", "ingressclasses", False, IngressClass),
    Registered(NETWORKING, ("v1alpha3",), "EnvoyFilter", "envoyfilters", True, EnvoyFilter),
    Registered(NETWORKING, _ISTIO_NETWORKING, "Sidecar", "sidecars", True, Sidecar),
    Registered(NETWORKING, ("v1beta1",), "ProxyConfig", "proxyconfigs", True, ProxyConfig),
    Registered(
        NETWORKING, _ISTIO_NETWORKING, "ServiceEntry", "serviceentries", True, ServiceEntry, ("se",)
    ),
    Registered(
        NETWORKING,
        _ISTIO_NETWORKING,
        "WorkloadEntry",
        "workloadentries",
        True,
        WorkloadEntry,
        ("we",),
    ),
    Registered(
        NETWORKING,
        _ISTIO_NETWORKING,
        "WorkloadGroup",
        "workloadgroups",
        True,
        WorkloadGroup,
        ("wg",),
    ),
    Registered(
        SECURITY,
        ("v1", "v1beta1"),
        "PeerAuthentication",
        "peerauthentications",
        True,
        PeerAuthentication,
        ("pa",),
    ),
)

BY_KIND: Mapping[str, Registered] = {entry.kind: entry for entry in KINDS}

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
