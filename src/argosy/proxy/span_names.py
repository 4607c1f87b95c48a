"""What the spans of a proxy say of it: the environment of its Envoy, since listeners are shared.

Names are Istio's. https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#ProxyConfig-TracingServiceName
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from argosy.model.span_tags import ISTIO_TAGS, RESOURCE_ENVIRONMENT

CLUSTER_ID = "Kubernetes"


class ServiceName(Enum):
    """How a proxy's spans name their service."""

    APP_LABEL_AND_NAMESPACE = "APP_LABEL_AND_NAMESPACE"
    CANONICAL_NAME_ONLY = "CANONICAL_NAME_ONLY"
    CANONICAL_NAME_AND_NAMESPACE = "CANONICAL_NAME_AND_NAMESPACE"


@dataclass(frozen=True, slots=True)
class Spoken:
    """A proxy, as far as its spans tell. ``canonical`` are its canonical service and revision."""

    pod: str
    namespace: str
    app: str
    workload: str
    canonical: tuple[str, str]
    mesh: str

    def service(self, form: ServiceName) -> str:
        match form:
            case ServiceName.APP_LABEL_AND_NAMESPACE:
                return f"{self.app or self.workload}.{self.namespace}"
            case ServiceName.CANONICAL_NAME_ONLY:
                return self.canonical[0]
            case ServiceName.CANONICAL_NAME_AND_NAMESPACE:
                return f"{self.canonical[0]}.{self.namespace}"


def spoken(pod: str, namespace: str, labels: Mapping[str, str], workload: str, mesh: str) -> Spoken:
    app = labels.get("app", "")
    name = (
        labels.get("service.istio.io/canonical-name")
        or labels.get("app.kubernetes.io/name")
        or app
        or workload
    )
    revision = (
        labels.get("service.istio.io/canonical-revision")
        or labels.get("app.kubernetes.io/version")
        or labels.get("version")
        or "latest"
    )
    return Spoken(pod, namespace, app, workload, (name, revision), mesh)


def environment(spoken: Spoken, service: str, written: Mapping[str, str]) -> dict[str, str]:
    """``written`` are the variables of the user, who may say more of the resource."""
    revision = spoken.canonical[1]
    resource = {
        "service.name": service,
        "service.namespace": spoken.namespace,
        "service.instance.id": f"{spoken.namespace}.{spoken.pod}",
        "service.version": revision,
    }
    told = [f"{name}={value}" for name, value in resource.items()]
    values = (revision, spoken.canonical[0], CLUSTER_ID, spoken.mesh, spoken.namespace)
    return {
        RESOURCE_ENVIRONMENT: ",".join(
            filter(None, [*told, written.get(RESOURCE_ENVIRONMENT, "")])
        ),
        "DD_SERVICE": service,
        **{tag.variable: value for tag, value in zip(ISTIO_TAGS, values, strict=True)},
    }
