"""Formulas over ProxyConfigs: what holds for a proxy, as far as its listeners and clusters depend on it."""

from argosy.api import proxy_config as api
from argosy.api.networking_proxy_config import ProxyConfig
from argosy.base.names import Namespace, ObjectKey
from argosy.base.problems import Problem
from argosy.derive import Reader, formula
from argosy.model.proxy import Role
from argosy.model.proxy_traffic import ProxyTraffic
from argosy.model.workload import Labels
from argosy.pilot.compile import proxy_configs as compiling
from argosy.pilot.graph.world import mesh_settings, names_of, read

KIND = "ProxyConfig"


@formula
def proxy_configs(get: Reader, namespace: Namespace) -> tuple[ProxyConfig, ...]:
    found = (
        read(get, ObjectKey(KIND, namespace, name), ProxyConfig)
        for name in names_of(get, KIND, namespace)
    )
    return tuple(item for item in found if item is not None)


@formula
def config_of(
    get: Reader, namespace: Namespace, labels: Labels, annotation: str
) -> api.ProxyConfig:
    """What holds for a proxy. ``annotation`` is its own ``proxy.istio.io/config``."""
    mesh = get(mesh_settings)
    root = mesh.traffic.root_namespace
    known = {item.key: item for near in (root, namespace) for item in get(proxy_configs, near)}
    ruling = compiling.ruling(known.values(), root, namespace, labels)
    return compiling.effective(mesh.proxy, ruling, annotation)


@formula
def traffic_of(get: Reader, role: Role) -> ProxyTraffic:
    config = get(config_of, role.namespace, role.labels, role.config)
    return compiling.traffic(config, role.type, role.capture)


@formula
def own_problems(get: Reader, namespace: Namespace) -> tuple[Problem, ...]:
    return compiling.conflicts(get(proxy_configs, namespace))
