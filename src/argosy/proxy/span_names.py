"""What the spans of a proxy say of it: the environment of its Envoy, since listeners are shared.

Names are Istio's. https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#ProxyConfig-TracingServiceName
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from argosy.api.meta import Metadata
from argosy.model.span_tags import ISTIO_TAGS, RESOURCE_ENVIRONMENT
from argosy.model.standard_metrics import WORKLOAD_FACTS
from argosy.pilot.compile.endpoints import facts_of


class ServiceName(Enum):
    """How a proxy's spans name their service."""

    APP_LABEL_AND_NAMESPACE = "APP_LABEL_AND_NAMESPACE"
    CANONICAL_NAME_ONLY = "CANONICAL_NAME_ONLY"
    CANONICAL_NAME_AND_NAMESPACE = "CANONICAL_NAME_AND_NAMESPACE"


@dataclass(frozen=True, slots=True)
class Spoken:
    """A proxy, as far as its spans tell. ``facts`` are those of metrics, by their names."""

    pod: str
    mesh: str
    facts: Mapping[str, str]

    @property
    def namespace(self) -> str:
        return self.facts["workload_namespace"]

    def service(self, form: ServiceName) -> str:
        canonical = self.facts["canonical_service"]
        match form:
            case ServiceName.APP_LABEL_AND_NAMESPACE:
                return f"{self.facts['app'] or self.facts['workload']}.{self.namespace}"
            case ServiceName.CANONICAL_NAME_ONLY:
                return canonical
            case ServiceName.CANONICAL_NAME_AND_NAMESPACE:
                return f"{canonical}.{self.namespace}"


def spoken(pod: Metadata, mesh: str) -> Spoken:
    facts = facts_of(pod.name, pod.namespace, pod.labels)
    return Spoken(pod.name, mesh, dict(zip(WORKLOAD_FACTS, facts.split(";"), strict=True)))


def environment(spoken: Spoken, service: str, written: Mapping[str, str]) -> dict[str, str]:
    """``written`` are the variables of the user, who may say more of the resource."""
    facts = spoken.facts
    revision = facts["canonical_revision"]
    resource = {
        "service.name": service,
        "service.namespace": spoken.namespace,
        "service.instance.id": f"{spoken.namespace}.{spoken.pod}",
        "service.version": revision,
    }
    told = [f"{name}={value}" for name, value in resource.items()]
    values = (
        revision,
        facts["canonical_service"],
        facts["cluster"],
        spoken.mesh,
        spoken.namespace,
    )
    own = written.get(RESOURCE_ENVIRONMENT, "")
    return {
        RESOURCE_ENVIRONMENT: ",".join(filter(None, (*told, own))),
        "DD_SERVICE": service,
        **{tag.variable: value for tag, value in zip(ISTIO_TAGS, values, strict=True)},
    }
