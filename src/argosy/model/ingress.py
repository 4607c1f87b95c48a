"""Which Ingresses the mesh serves, and by which gateway."""

from dataclasses import dataclass
from enum import Enum


class IngressMode(Enum):
    """What becomes of Ingresses without a class: none at all are served when OFF."""

    OFF = "OFF"
    DEFAULT = "DEFAULT"
    STRICT = "STRICT"


@dataclass(frozen=True, slots=True)
class IngressSettings:
    """``class_name`` is that of the annotation; ``selector`` the gateway's label ``istio``.

    ``service`` is the gateway's, whose address Ingresses show as theirs.
    https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig
    """

    mode: IngressMode = IngressMode.STRICT
    class_name: str = "istio"
    selector: str = "ingressgateway"
    service: str = "istio-ingressgateway"


DEFAULT_INGRESS = IngressSettings()
