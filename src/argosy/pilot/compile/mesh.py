"""MeshConfig → the mesh-wide settings, one value for each room that has some.

MeshConfig is the key ``mesh`` of the ConfigMap ``istio`` in the root namespace.
https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/
"""

from dataclasses import dataclass, field

from argosy.api.core import ConfigMap
from argosy.base.problems import Compiled
from argosy.model.listener import ListenerSettings
from argosy.model.traffic import TrafficDefaults
from argosy.pilot.compile.hostnames import CLUSTER_DOMAIN

PUBLIC = "*"
"""In an exportTo list: every namespace."""


@dataclass(frozen=True, slots=True)
class Mesh:
    """Istio's defaults, where MeshConfig says nothing.

    The ``export_to`` are as written, with ``.`` and ``~``: they hold for objects that have none.
    """

    domain: str = CLUSTER_DOMAIN
    traffic: TrafficDefaults = field(default_factory=TrafficDefaults)
    listeners: ListenerSettings = field(default_factory=ListenerSettings)
    service_export_to: tuple[str, ...] = (PUBLIC,)
    virtual_service_export_to: tuple[str, ...] = (PUBLIC,)
    destination_rule_export_to: tuple[str, ...] = (PUBLIC,)


DEFAULT_MESH = Mesh()


def mesh(config: ConfigMap | None) -> Compiled[Mesh]:
    """The settings, with every mistake found; what is mistaken keeps its default."""
    assert config is None, "MeshConfig is not decoded yet"
    return Compiled(DEFAULT_MESH)
