"""EnvoyFilters: which parts of Envoy's configuration are changed, and how. Values of Envoy's own
types stay outside: a patch is known by its object and its place in it."""

from dataclasses import dataclass
from enum import Enum

from argosy.base.names import ObjectKey
from argosy.model.policy_scope import PolicyScope


class ApplyTo(Enum):
    LISTENER = "LISTENER"
    LISTENER_FILTER = "LISTENER_FILTER"
    FILTER_CHAIN = "FILTER_CHAIN"
    NETWORK_FILTER = "NETWORK_FILTER"
    HTTP_FILTER = "HTTP_FILTER"
    ROUTE_CONFIGURATION = "ROUTE_CONFIGURATION"
    VIRTUAL_HOST = "VIRTUAL_HOST"
    HTTP_ROUTE = "HTTP_ROUTE"
    CLUSTER = "CLUSTER"
    EXTENSION_CONFIG = "EXTENSION_CONFIG"
    BOOTSTRAP = "BOOTSTRAP"


IN_LISTENERS = frozenset(
    {
        ApplyTo.LISTENER,
        ApplyTo.LISTENER_FILTER,
        ApplyTo.FILTER_CHAIN,
        ApplyTo.NETWORK_FILTER,
        ApplyTo.HTTP_FILTER,
    }
)
IN_ROUTES = frozenset({ApplyTo.ROUTE_CONFIGURATION, ApplyTo.VIRTUAL_HOST, ApplyTo.HTTP_ROUTE})


class Context(Enum):
    """Which configuration of which proxies. WAYPOINT is that of a kind of proxy not run here."""

    ANY = "ANY"
    SIDECAR_INBOUND = "SIDECAR_INBOUND"
    SIDECAR_OUTBOUND = "SIDECAR_OUTBOUND"
    GATEWAY = "GATEWAY"
    WAYPOINT = "WAYPOINT"


class Operation(Enum):
    MERGE = "MERGE"
    MERGE_AND_REPLACE_LIST = "MERGE_AND_REPLACE_LIST"
    ADD = "ADD"
    REMOVE = "REMOVE"
    INSERT_BEFORE = "INSERT_BEFORE"
    INSERT_AFTER = "INSERT_AFTER"
    INSERT_FIRST = "INSERT_FIRST"
    REPLACE = "REPLACE"


MERGES = frozenset({Operation.MERGE, Operation.MERGE_AND_REPLACE_LIST})
INSERTS = frozenset({Operation.INSERT_BEFORE, Operation.INSERT_AFTER, Operation.INSERT_FIRST})


class FilterClass(Enum):
    """Where an added HTTP filter stands among those of the mesh itself."""

    UNSPECIFIED = "UNSPECIFIED"
    AUTHN = "AUTHN"
    AUTHZ = "AUTHZ"
    STATS = "STATS"


# What a patch is for. An empty text, 0 or None matches everything.


@dataclass(frozen=True, slots=True)
class FilterMatch:
    """A network filter by its name, and an HTTP filter in it."""

    name: str
    sub_filter: str = ""


@dataclass(frozen=True, slots=True)
class ChainMatch:
    """``application_protocols`` must all be among those of the chain."""

    name: str = ""
    sni: str = ""
    transport_protocol: str = ""
    application_protocols: tuple[str, ...] = ()
    destination_port: int = 0
    filter: FilterMatch | None = None


@dataclass(frozen=True, slots=True)
class ListenerMatch:
    name: str = ""
    port: int = 0
    port_name: str = ""
    listener_filter: str = ""
    chain: ChainMatch | None = None


class RouteAction(Enum):
    ANY = "ANY"
    ROUTE = "ROUTE"
    REDIRECT = "REDIRECT"
    DIRECT_RESPONSE = "DIRECT_RESPONSE"


@dataclass(frozen=True, slots=True)
class RouteMatch:
    name: str = ""
    action: RouteAction = RouteAction.ANY


@dataclass(frozen=True, slots=True)
class VirtualHostMatch:
    name: str = ""
    domain: str = ""
    route: RouteMatch | None = None


@dataclass(frozen=True, slots=True)
class RouteTableMatch:
    """``gateway`` is ``<namespace>/<name>``."""

    name: str = ""
    port: int = 0
    port_name: str = ""
    gateway: str = ""
    virtual_host: VirtualHostMatch | None = None


@dataclass(frozen=True, slots=True)
class ClusterMatch:
    name: str = ""
    port: int = 0
    service: str = ""
    subset: str = ""


Match = ListenerMatch | RouteTableMatch | ClusterMatch


@dataclass(frozen=True, slots=True)
class ProxyMatch:
    """``version`` is an RE2 expression; ``metadata`` are sorted pairs that must be equal."""

    version: str = ""
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Patch:
    """``index`` is its place in ``configPatches``. Its value is kept by whoever knows Envoy."""

    index: int
    apply_to: ApplyTo
    operation: Operation
    context: Context = Context.ANY
    match: Match | None = None
    proxy: ProxyMatch | None = None
    filter_class: FilterClass = FilterClass.UNSPECIFIED


@dataclass(frozen=True, slots=True)
class EnvoyFilter:
    """For proxies of ``scope`` in its namespace, or in the mesh if that is the root namespace.

    ``created`` is RFC 3339.
    """

    object: ObjectKey
    priority: int
    created: str
    scope: PolicyScope
    patches: tuple[Patch, ...]


# Which patches are for a proxy: a small value that proxies share.


@dataclass(frozen=True, slots=True, order=True)
class ChosenPatches:
    """Patches of one EnvoyFilter, by their places in it."""

    object: ObjectKey
    patches: tuple[int, ...]


Chosen = tuple[ChosenPatches, ...]
"""In the order of application."""


@dataclass(frozen=True, slots=True)
class Patching:
    """The patches for a layer of configuration, by the type of Envoy resource.

    ``added_listeners`` and ``added_clusters`` are the names that they bring, sorted.
    """

    listeners: Chosen = ()
    routes: Chosen = ()
    clusters: Chosen = ()
    extensions: Chosen = ()
    added_listeners: tuple[str, ...] = ()
    added_clusters: tuple[str, ...] = ()


NO_PATCHES = Patching()
