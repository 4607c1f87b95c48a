"""Which mistakes one object has that its types do not show.

One function for all kinds; the rules are in ``validate_<kind>``. They look at the object alone:
what it names (hosts, subsets, gateways, secrets) is looked up where configuration is compiled.
Metadata is checked by decoding already.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from argosy.api.apps import Deployment, StatefulSet
from argosy.api.core import ConfigMap, Secret, Service
from argosy.api.core_pod import Pod
from argosy.api.endpoints import Endpoints, EndpointSlice
from argosy.api.meta import Object
from argosy.api.networking_destination_rule import DestinationRule
from argosy.api.networking_envoy_filter import EnvoyFilter
from argosy.api.networking_gateway import Gateway
from argosy.api.networking_ingress import Ingress, IngressClass
from argosy.api.networking_proxy_config import ProxyConfig, validate_proxy_config
from argosy.api.networking_service_entry import ServiceEntry
from argosy.api.networking_sidecar import Sidecar
from argosy.api.networking_virtual_service import VirtualService
from argosy.api.networking_workload_entry import WorkloadEntry, WorkloadGroup
from argosy.api.security import PeerAuthentication
from argosy.api.typed import Mistake
from argosy.api.validate_core import validate_config_map, validate_secret, validate_service
from argosy.api.validate_destination_rule import validate_destination_rule
from argosy.api.validate_endpoints import validate_endpoint_slice, validate_endpoints
from argosy.api.validate_envoy_filter import validate_envoy_filter
from argosy.api.validate_gateway import validate_gateway
from argosy.api.validate_ingress import validate_ingress, validate_ingress_class
from argosy.api.validate_pod import validate_deployment, validate_pod, validate_stateful_set
from argosy.api.validate_security import validate_peer_authentication
from argosy.api.validate_service_entry import validate_service_entry
from argosy.api.validate_sidecar import validate_sidecar
from argosy.api.validate_virtual_service import validate_virtual_service
from argosy.api.validate_workload_entry import validate_workload_entry, validate_workload_group
from argosy.base.problems import Problem, Severity

MAX_PROBLEMS = 200
"""Errors told for one object, and as many warnings."""

_RULES: Mapping[type[Object], Callable[[Any], Iterable[Mistake]]] = {
    Service: validate_service,
    ConfigMap: validate_config_map,
    Secret: validate_secret,
    Endpoints: validate_endpoints,
    EndpointSlice: validate_endpoint_slice,
    Pod: validate_pod,
    Deployment: validate_deployment,
    StatefulSet: validate_stateful_set,
    VirtualService: validate_virtual_service,
    DestinationRule: validate_destination_rule,
    Gateway: validate_gateway,
    Ingress: validate_ingress,
    IngressClass: validate_ingress_class,
    EnvoyFilter: validate_envoy_filter,
    Sidecar: validate_sidecar,
    ProxyConfig: validate_proxy_config,
    ServiceEntry: validate_service_entry,
    WorkloadEntry: validate_workload_entry,
    WorkloadGroup: validate_workload_group,
    PeerAuthentication: validate_peer_authentication,
}


def validate(obj: Object) -> tuple[Problem, ...]:
    """All mistakes, errors and warnings, in the order of the rules.

    Looking ends after ``MAX_PROBLEMS``: nobody reads more, and it bounds the time.
    """
    rules = _RULES.get(type(obj))
    if rules is None:
        return ()
    found = _bounded(rules(obj))
    return tuple(Problem(obj.key, m.field, m.code, m.message, m.hint, m.severity) for m in found)


def _bounded(mistakes: Iterable[Mistake]) -> Iterator[Mistake]:
    """The first ``MAX_PROBLEMS`` mistakes; warnings alone never hide an error behind them."""
    warnings = 0
    errors = 0
    for mistake in mistakes:
        if mistake.severity is Severity.ERROR:
            errors += 1
        else:
            warnings += 1
            if warnings > MAX_PROBLEMS:
                continue
        yield mistake
        if errors == MAX_PROBLEMS:
            return
