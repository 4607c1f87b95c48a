"""Deployment and StatefulSet of Kubernetes' ``apps/v1``.

Fields and defaults as in
https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/deployment-v1/ and
https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/stateful-set-v1/
"""

from typing import Literal

from argosy.api.core_pod import PodSpec
from argosy.api.meta import (
    Condition,
    Int32,
    KubernetesPart,
    LabelSelector,
    Metadata,
    Object,
    Opaque,
)


class PodTemplate(KubernetesPart, frozen=True, kw_only=True):
    metadata: Metadata = Metadata()
    spec: PodSpec = PodSpec()


class DeploymentSpec(KubernetesPart, frozen=True, kw_only=True):
    selector: LabelSelector = LabelSelector()
    template: PodTemplate = PodTemplate()
    replicas: Int32 = 1
    strategy: Opaque = None
    min_ready_seconds: Int32 = 0
    progress_deadline_seconds: Int32 = 600
    revision_history_limit: Int32 = 10
    paused: bool = False


class DeploymentStatus(KubernetesPart, frozen=True, kw_only=True):
    replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    unavailable_replicas: int = 0
    updated_replicas: int = 0
    terminating_replicas: int = 0
    observed_generation: int = 0
    collision_count: int | None = None
    conditions: tuple[Condition, ...] = ()


class Deployment(Object, frozen=True, kw_only=True):
    api_version: str = "apps/v1"
    kind: str = "Deployment"
    spec: DeploymentSpec = DeploymentSpec()
    status: DeploymentStatus | None = None


class VolumeClaim(KubernetesPart, frozen=True, kw_only=True):
    """A PersistentVolumeClaim in a template; its name is that of the volume."""

    api_version: str = "v1"
    kind: str = "PersistentVolumeClaim"
    metadata: Metadata = Metadata()
    spec: Opaque = None
    status: Opaque = None


class StatefulSetSpec(KubernetesPart, frozen=True, kw_only=True):
    selector: LabelSelector = LabelSelector()
    template: PodTemplate = PodTemplate()
    service_name: str = ""
    replicas: Int32 = 1
    pod_management_policy: Literal["OrderedReady", "Parallel"] = "OrderedReady"
    update_strategy: Opaque = None
    volume_claim_templates: tuple[VolumeClaim, ...] = ()
    persistent_volume_claim_retention_policy: Opaque = None
    ordinals: Opaque = None
    min_ready_seconds: Int32 = 0
    revision_history_limit: Int32 = 10


class StatefulSetStatus(KubernetesPart, frozen=True, kw_only=True):
    replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    current_replicas: int = 0
    updated_replicas: int = 0
    current_revision: str = ""
    update_revision: str = ""
    observed_generation: int = 0
    collision_count: int | None = None
    conditions: tuple[Condition, ...] = ()


class StatefulSet(Object, frozen=True, kw_only=True):
    api_version: str = "apps/v1"
    kind: str = "StatefulSet"
    spec: StatefulSetSpec = StatefulSetSpec()
    status: StatefulSetStatus | None = None
