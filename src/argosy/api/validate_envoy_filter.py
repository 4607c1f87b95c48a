"""What must hold for one EnvoyFilter alone.

Rules as in Istio's validation (``pkg/config/validation/envoyfilter``) and its analysis messages
IST0151 to IST0155, https://istio.io/latest/docs/reference/config/analysis/
"""

from collections.abc import Iterator

from argosy.api.envoy_value import ISTIO_ONLY, EnvoyValue, envoy_value
from argosy.api.networking_envoy_filter import (
    ConfigPatch,
    EnvoyFilter,
    EnvoyFilterSpec,
    FilterMatch,
    ListenerMatch,
    ObjectMatch,
)
from argosy.api.policy_target import check_targets
from argosy.api.typed import Mistake, short
from argosy.api.validate_metadata import check_labels
from argosy.api.validate_values import check_port, check_regex, warning
from argosy.base.envoy_rules import violations
from argosy.base.problems import Severity

HCM = "envoy.filters.network.http_connection_manager"

LISTENERS = frozenset(
    {"LISTENER", "LISTENER_FILTER", "FILTER_CHAIN", "NETWORK_FILTER", "HTTP_FILTER"}
)
ROUTES = frozenset({"ROUTE_CONFIGURATION", "VIRTUAL_HOST", "HTTP_ROUTE"})
_FILTERS = frozenset({"LISTENER_FILTER", "NETWORK_FILTER", "HTTP_FILTER"})
_INSERTS = frozenset({"INSERT_BEFORE", "INSERT_AFTER", "INSERT_FIRST"})
_MERGES = frozenset({"MERGE", "MERGE_AND_REPLACE_LIST"})
_ADDS = _INSERTS | {"ADD"}

OPERATIONS = {
    "LISTENER": _MERGES | {"ADD", "REMOVE"},
    "LISTENER_FILTER": _MERGES | _ADDS | {"REMOVE", "REPLACE"},
    "FILTER_CHAIN": _MERGES | {"ADD", "REMOVE"},
    "NETWORK_FILTER": _MERGES | _ADDS | {"REMOVE", "REPLACE"},
    "HTTP_FILTER": _MERGES | _ADDS | {"REMOVE", "REPLACE"},
    "ROUTE_CONFIGURATION": _MERGES,
    "VIRTUAL_HOST": _MERGES | {"ADD", "REMOVE", "REPLACE"},
    "HTTP_ROUTE": _MERGES | _ADDS | {"REMOVE"},
    "CLUSTER": _MERGES | {"ADD", "REMOVE"},
    "EXTENSION_CONFIG": frozenset({"ADD"}),
    "BOOTSTRAP": _MERGES,
}
"""What can be done to what."""

_INVALID = {"ADD": "InvalidAdd", "REMOVE": "InvalidRemove", "REPLACE": "InvalidReplace"}
"""Names of mistakes that Istio's analysis has codes of their own for."""

_OLD_NAMES = {
    "envoy.http_connection_manager": HCM,
    "envoy.tcp_proxy": "envoy.filters.network.tcp_proxy",
    "envoy.router": "envoy.filters.http.router",
    "envoy.cors": "envoy.filters.http.cors",
    "envoy.fault": "envoy.filters.http.fault",
    "envoy.lua": "envoy.filters.http.lua",
    "envoy.rate_limit": "envoy.filters.http.ratelimit",
    "envoy.ext_authz": "envoy.filters.http.ext_authz",
}


def validate_envoy_filter(written: EnvoyFilter) -> Iterator[Mistake]:
    spec = written.spec
    yield from _selection(spec)
    if not spec.config_patches:
        message = "an EnvoyFilter without patches does nothing"
        yield warning("spec.configPatches", "NoEffect", message)
    for i, patch in enumerate(spec.config_patches):
        yield from _patch(patch, spec.priority, f"spec.configPatches[{i}]")


def patch_value(patch: ConfigPatch, index: int) -> EnvoyValue:
    """The value of a patch as Envoy's message, with its mistakes. REMOVE has none."""
    if patch.patch.operation == "REMOVE" or patch.patch.value is None:
        return EnvoyValue(None)
    merged = patch.patch.operation in _MERGES
    path = f"spec.configPatches[{index}].patch.value"
    return envoy_value(patch.apply_to, patch.patch.value, path, merged=merged)


def _selection(spec: EnvoyFilterSpec) -> Iterator[Mistake]:
    selector = spec.workload_selector
    if selector is not None and spec.target_refs:
        message = "workloadSelector and targetRefs exclude each other"
        yield Mistake("spec.targetRefs", "ConflictingFields", message, "Keep one of them")
    if selector is not None:
        path = "spec.workloadSelector.labels"
        yield from check_labels(selector.labels, path)
        if not selector.labels:
            message = "the selector has no labels: it selects every workload"
            yield warning(path, "EmptySelector", message, "Remove it, or write labels")
    yield from check_targets(spec.target_refs, "spec.targetRefs", "EnvoyFilter")


def _patch(patch: ConfigPatch, priority: int, path: str) -> Iterator[Mistake]:
    operation = patch.patch.operation
    yield from _match(patch, f"{path}.match")
    yield from _operation(patch, priority, path)
    if operation == "REMOVE":
        if patch.patch.value is not None:
            message = "REMOVE uses no value"
            yield warning(f"{path}.patch.value", "NoEffect", message, "Remove it")
        return
    if patch.patch.value is None:
        message = f"operation {operation} needs a value"
        yield Mistake(f"{path}.patch.value", "MissingField", message)
        return
    index = int(path.removesuffix("]").rpartition("[")[2])
    found = patch_value(patch, index)
    yield from found.mistakes
    if not any(m.severity is Severity.ERROR or m.code == ISTIO_ONLY for m in found.mistakes):
        yield from _completeness(patch, found, f"{path}.patch.value")


def _completeness(patch: ConfigPatch, found: EnvoyValue, path: str) -> Iterator[Mistake]:
    """What something new cannot do without, and the rules that Envoy itself checks."""
    value = patch.patch.value
    if not isinstance(value, dict):
        return
    breakers = value.get("circuit_breakers", value.get("circuitBreakers"))
    if patch.patch.operation == "MERGE" and isinstance(breakers, dict) and "thresholds" in breakers:
        message = "MERGE appends to the list, and Envoy obeys the first threshold of a priority"
        hint = "Use operation MERGE_AND_REPLACE_LIST"
        yield warning(f"{path}.circuit_breakers.thresholds", "ListAppended", message, hint)
    if patch.patch.operation in _MERGES:
        return
    named = patch.apply_to not in ("FILTER_CHAIN", "HTTP_ROUTE", "BOOTSTRAP", "ROUTE_CONFIGURATION")
    if named and not value.get("name"):
        yield Mistake(f"{path}.name", "MissingField", "what is added needs a name")
    keys = {str(key).replace("_", "").lower() for key in value}
    if patch.apply_to in _FILTERS and not keys & {"typedconfig", "configdiscovery"}:
        message = "Envoy finds a filter by the type of its configuration, and none is written"
        hint = 'Write typed_config with "@type"'
        yield Mistake(f"{path}.typed_config", "MissingTypedConfig", message, hint)
    if patch.apply_to == "EXTENSION_CONFIG" and "typedconfig" not in keys:
        message = "an extension needs its configuration"
        yield Mistake(f"{path}.typed_config", "MissingTypedConfig", message)
    if found.message is not None:
        for where, why in violations(found.message):
            if where != "name" or not named:
                yield Mistake(f"{path}.{where}", "InvalidValue", f"Envoy refuses this: {why}")


def _operation(patch: ConfigPatch, priority: int, path: str) -> Iterator[Mistake]:
    operation, apply_to = patch.patch.operation, patch.apply_to
    where = f"{path}.patch.operation"
    allowed = OPERATIONS[apply_to]
    if operation not in allowed:
        instead = "ADD" if operation in _INSERTS and "ADD" in allowed else ""
        hint = f"Write {instead}: their order has no meaning" if instead else ""
        hint = hint or f"Use one of {', '.join(sorted(allowed))}"
        if instead:  # as Istio does
            message = f"{operation} is ADD for {apply_to}"
            yield warning(where, "OperationAsAdd", message, hint)
        else:
            message = f"{operation} cannot be done to {apply_to}"
            yield Mistake(where, _INVALID.get(operation, "InvalidOperation"), message, hint)
    if operation in ("INSERT_BEFORE", "INSERT_AFTER") and operation in allowed and not priority:
        match = patch.match
        if match is not None and match.proxy is not None and match.proxy.proxy_version:
            message = f"{operation} for some versions only, without a priority, depends on age"
            yield warning(where, "RelativeOperation", message, "Write spec.priority")
    filter_class = patch.patch.filter_class
    if filter_class != "UNSPECIFIED" and (apply_to != "HTTP_FILTER" or operation != "ADD"):
        message = "filterClass says where ADD puts an HTTP_FILTER; here it has no effect"
        yield warning(f"{path}.patch.filterClass", "NoEffect", message)


def _match(patch: ConfigPatch, path: str) -> Iterator[Mistake]:
    match = patch.match
    if match is None:
        return
    if match.context == "WAYPOINT" or match.waypoint is not None:
        message = "no waypoints run here: this patch has no effect"
        field = "waypoint" if match.waypoint is not None else "context"
        yield warning(f"{path}.{field}", "NotSupported", message, "Remove the patch")
    written = _written(match)
    if len(written) > 1:
        message = f"{' and '.join(written)} exclude each other"
        yield Mistake(path, "ConflictingFields", message, "Keep one of them")
    wanted = _wanted(patch.apply_to)
    for name in written:
        if name not in (wanted, "waypoint"):
            message = f"applyTo {patch.apply_to} does not go with a match of {name}"
            hint = f"Match {wanted}" if wanted else "Remove it"
            yield Mistake(f"{path}.{name}", "ConflictingFields", message, hint)
    if match.proxy is not None and match.proxy.proxy_version:
        yield from check_regex(match.proxy.proxy_version, f"{path}.proxy.proxyVersion")
    if match.listener is not None and wanted == "listener":
        yield from _listener(match.listener, patch.apply_to, f"{path}.listener")
    routes = match.route_configuration
    if routes is not None and routes.port_number:
        yield from check_port(routes.port_number, f"{path}.routeConfiguration.portNumber")
    if match.cluster is not None and match.cluster.port_number:
        yield from check_port(match.cluster.port_number, f"{path}.cluster.portNumber")
    if match.cluster is not None and match.cluster.name:
        for name in ("service", "subset", "port_number"):
            if getattr(match.cluster, name):
                shown = "portNumber" if name == "port_number" else name
                message = "a match by name looks at nothing else"
                yield warning(f"{path}.cluster.{shown}", "NoEffect", message, "Remove it")
    if patch.apply_to == "BOOTSTRAP" and match.context == "SIDECAR_INBOUND":
        message = "a proxy has one bootstrap, which is neither inbound nor outbound"
        hint = "Write context ANY, or SIDECAR_OUTBOUND for every sidecar"
        yield warning(f"{path}.context", "NoEffect", message, hint)


def _written(match: ObjectMatch) -> list[str]:
    found = {
        "listener": match.listener,
        "routeConfiguration": match.route_configuration,
        "cluster": match.cluster,
        "waypoint": match.waypoint,
    }
    return [name for name, value in found.items() if value is not None]


def _wanted(apply_to: str) -> str:
    """The kind of match that goes with what is patched; nothing for what has no match."""
    if apply_to in LISTENERS:
        return "listener"
    if apply_to in ROUTES:
        return "routeConfiguration"
    return "cluster" if apply_to == "CLUSTER" else ""


def _listener(match: ListenerMatch, apply_to: str, path: str) -> Iterator[Mistake]:
    if match.port_number:
        yield from check_port(match.port_number, f"{path}.portNumber")
    if match.port_name:
        message = "portName is not looked at, as in Istio"
        yield warning(f"{path}.portName", "NoEffect", message, "Write portNumber")
    if match.listener_filter and apply_to != "LISTENER_FILTER":
        message = f"listenerFilter has no effect with applyTo {apply_to}"
        yield warning(f"{path}.listenerFilter", "NoEffect", message)
    chain = match.filter_chain
    if chain is None:
        return
    where = f"{path}.filterChain"
    if apply_to in ("LISTENER", "LISTENER_FILTER"):
        message = f"filterChain has no effect with applyTo {apply_to}"
        yield warning(where, "NoEffect", message, "Match the listener only")
    if chain.destination_port:
        yield from check_port(chain.destination_port, f"{where}.destinationPort")
    if chain.filter is None:
        return
    if apply_to == "FILTER_CHAIN":
        message = "a match of a filter has no effect with applyTo FILTER_CHAIN"
        yield warning(f"{where}.filter", "NoEffect", message)
    yield from _filter(chain.filter, apply_to, f"{where}.filter")


def _filter(match: FilterMatch, apply_to: str, path: str) -> Iterator[Mistake]:
    if not match.name:
        yield Mistake(f"{path}.name", "MissingField", "the match of a filter needs its name")
    yield from _old_name(match.name, f"{path}.name")
    sub_filter = match.sub_filter
    if sub_filter is None:
        return
    where = f"{path}.subFilter"
    if apply_to != "HTTP_FILTER":
        message = f"subFilter does not go with applyTo {apply_to}"
        yield Mistake(where, "ConflictingFields", message, "Write applyTo: HTTP_FILTER")
    elif match.name and match.name != HCM and _OLD_NAMES.get(match.name) != HCM:
        message = "only the HTTP connection manager has HTTP filters"
        yield Mistake(f"{path}.name", "ConflictingFields", message, f"Write {HCM}")
    if not sub_filter.name:
        yield Mistake(f"{where}.name", "MissingField", "the match of an HTTP filter needs its name")
    yield from _old_name(sub_filter.name, f"{where}.name")


def _old_name(name: str, path: str) -> Iterator[Mistake]:
    if name in _OLD_NAMES:
        message = f"{short(name)} is what older Envoys called it: it matches nothing"
        yield warning(path, "Deprecated", message, f"Write {_OLD_NAMES[name]}")
