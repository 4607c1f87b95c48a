"""EnvoyFilter of ``networking.istio.io``.

Fields as in https://istio.io/latest/docs/reference/config/networking/envoy-filter/
"""

from collections.abc import Mapping
from typing import Any, Literal

from argosy.api.meta import Int32, IstioStatus, Object, Part, UInt32
from argosy.api.policy_target import PolicyTargetReference

ApplyTo = Literal[
    "LISTENER",
    "FILTER_CHAIN",
    "NETWORK_FILTER",
    "HTTP_FILTER",
    "ROUTE_CONFIGURATION",
    "VIRTUAL_HOST",
    "HTTP_ROUTE",
    "CLUSTER",
    "EXTENSION_CONFIG",
    "BOOTSTRAP",
    "LISTENER_FILTER",
]
PatchContext = Literal["ANY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY", "WAYPOINT"]
Operation = Literal[
    "MERGE",
    "ADD",
    "REMOVE",
    "INSERT_BEFORE",
    "INSERT_AFTER",
    "INSERT_FIRST",
    "REPLACE",
    "MERGE_AND_REPLACE_LIST",
]
FilterClass = Literal["UNSPECIFIED", "AUTHN", "AUTHZ", "STATS"]
RouteAction = Literal["ANY", "ROUTE", "REDIRECT", "DIRECT_RESPONSE"]


class ProxyMatch(Part, frozen=True, kw_only=True):
    """``proxy_version`` is an RE2 expression that the proxy's Istio version must match."""

    proxy_version: str = ""
    metadata: Mapping[str, str] = {}


class SubFilterMatch(Part, frozen=True, kw_only=True):
    name: str = ""


class FilterMatch(Part, frozen=True, kw_only=True):
    name: str = ""
    sub_filter: SubFilterMatch | None = None


class FilterChainMatch(Part, frozen=True, kw_only=True):
    """``application_protocols`` are separated by commas; a chain must have all of them."""

    name: str = ""
    sni: str = ""
    transport_protocol: str = ""
    application_protocols: str = ""
    filter: FilterMatch | None = None
    destination_port: UInt32 = 0


class ListenerMatch(Part, frozen=True, kw_only=True):
    port_number: UInt32 = 0
    port_name: str = ""
    filter_chain: FilterChainMatch | None = None
    listener_filter: str = ""
    name: str = ""


class RouteMatch(Part, frozen=True, kw_only=True):
    name: str = ""
    action: RouteAction = "ANY"


class VirtualHostMatch(Part, frozen=True, kw_only=True):
    name: str = ""
    domain_name: str = ""
    route: RouteMatch | None = None


class RouteConfigurationMatch(Part, frozen=True, kw_only=True):
    port_number: UInt32 = 0
    port_name: str = ""
    gateway: str = ""
    vhost: VirtualHostMatch | None = None
    name: str = ""


class ClusterMatch(Part, frozen=True, kw_only=True):
    port_number: UInt32 = 0
    service: str = ""
    subset: str = ""
    name: str = ""


class WaypointMatch(Part, frozen=True, kw_only=True):
    port_number: UInt32 = 0
    filter: FilterMatch | None = None
    route: RouteMatch | None = None


class ObjectMatch(Part, frozen=True, kw_only=True):
    context: PatchContext = "ANY"
    proxy: ProxyMatch | None = None
    listener: ListenerMatch | None = None
    route_configuration: RouteConfigurationMatch | None = None
    cluster: ClusterMatch | None = None
    waypoint: WaypointMatch | None = None


class Patch(Part, frozen=True, kw_only=True):
    """``value`` is Envoy configuration, as plain data."""

    operation: Operation
    value: Any = None
    filter_class: FilterClass = "UNSPECIFIED"


class ConfigPatch(Part, frozen=True, kw_only=True):
    apply_to: ApplyTo
    match: ObjectMatch | None = None
    patch: Patch


class LabelSelector(Part, frozen=True, kw_only=True):
    """The older of Istio's selectors: ``labels`` must all be equal."""

    labels: Mapping[str, str] = {}


class EnvoyFilterSpec(Part, frozen=True, kw_only=True):
    """``priority``: lower is applied first; it may be negative."""

    workload_selector: LabelSelector | None = None
    target_refs: tuple[PolicyTargetReference, ...] = ()
    config_patches: tuple[ConfigPatch, ...] = ()
    priority: Int32 = 0


class EnvoyFilter(Object, frozen=True, kw_only=True):
    api_version: str = "networking.istio.io/v1alpha3"
    kind: str = "EnvoyFilter"
    spec: EnvoyFilterSpec = EnvoyFilterSpec()
    status: IstioStatus | None = None
