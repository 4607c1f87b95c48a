"""What clusters are called in statistics: MeshConfig's patterns filled in.

https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig-outbound_cluster_stat_name
"""

from argosy.model.service import Service, ServicePort
from argosy.pilot.compile.hostnames import SERVICE_SUFFIX


def stat_name(pattern: str, service: Service, port: ServicePort, subset: str = "") -> str:
    """Empty for an empty pattern. ``%SERVICE%`` is the name and namespace: ``reviews.prod``."""
    found = pattern
    for variable, value in (
        ("%SERVICE_PORT_NAME%", port.name),
        ("%SERVICE_PORT%", str(port.number)),
        ("%SERVICE_NAME%", service.name),
        ("%SERVICE_FQDN%", service.hostname),
        ("%SERVICE%", service.hostname.removesuffix(SERVICE_SUFFIX)),
        ("%TARGET_PORT%", str(port.target)),
        ("%SUBSET_NAME%", subset),
    ):
        found = found.replace(variable, value)
    return found
