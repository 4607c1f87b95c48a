"""Which pods get a proxy. Pure.

https://istio.io/latest/docs/setup/additional-setup/sidecar-injection/; on this platform injection
is on unless it is switched off.
"""

from collections.abc import Mapping
from enum import Enum

from argosy.api.meta import Metadata
from argosy.model.proxy import ProxyType
from argosy.pilot.compile.roles import template_type

INJECT = "sidecar.istio.io/inject"
NAMESPACE_INJECTION = "istio-injection"


class Injection(Enum):
    SIDECAR = "sidecar"
    GATEWAY = "gateway"
    GRPC = "grpc"
    NONE = "none"


def injection_of(pod: Metadata, namespace_labels: Mapping[str, str]) -> Injection:
    """``pod`` is a pod's metadata, or a template's. Its own word counts before its namespace's."""
    kind = template_type(pod)
    if kind is ProxyType.ROUTER:
        return Injection.GATEWAY
    of_pod = Injection.GRPC if kind is ProxyType.GRPC else Injection.SIDECAR
    own = pod.labels.get(INJECT) or pod.annotations.get(INJECT) or ""
    if own.lower() == "true":
        return of_pod
    if own.lower() == "false" or namespace_labels.get(NAMESPACE_INJECTION) == "disabled":
        return Injection.NONE
    return of_pod
