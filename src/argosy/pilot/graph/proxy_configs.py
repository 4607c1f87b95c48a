"""Formulas over ProxyConfigs: what holds for a proxy, as far as its listeners and clusters depend on it."""

from argosy.api.networking_proxy_config import ProxyConfig
from argosy.base.names import Namespace, ObjectKey
from argosy.base.problems import Problem
from argosy.derive import Reader, formula
from argosy.model.proxy import Role
from argosy.model.proxy_traffic import ProxyTraffic
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
def traffic_of(get: Reader, role: Role) -> ProxyTraffic:
    mesh = get(mesh_settings)
    root = mesh.traffic.root_namespace
    known = {
        item.key: item
        for namespace in (root, role.namespace)
        for item in get(proxy_configs, namespace)
    }
    ruling = compiling.ruling(known.values(), root, role.namespace, role.labels)
    config = compiling.effective(mesh.proxy, ruling, role.config)
    return compiling.traffic(config, role.type, role.capture)


@formula
def own_problems(get: Reader, namespace: Namespace) -> tuple[Problem, ...]:
    return compiling.conflicts(get(proxy_configs, namespace))
