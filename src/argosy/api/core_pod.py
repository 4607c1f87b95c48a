"""Pod of Kubernetes' ``v1``: its spec, which Deployments share, and its status.

Fields and defaults as in
https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
"""

from collections.abc import Mapping
from typing import Literal

from msgspec import field

from argosy.api.core import LocalObjectReference
from argosy.api.core_container import Container
from argosy.api.meta import Condition, Int32, KubernetesPart, Object, Opaque

RestartPolicy = Literal["Always", "OnFailure", "Never"]
TEMPLATES_ANNOTATION = "inject.istio.io/templates"
"""Which kind of proxy Istio's injector gives the pod; few pods have it."""

PodPhase = Literal["Pending", "Running", "Succeeded", "Failed", "Unknown"]


class KeyToPath(KubernetesPart, frozen=True, kw_only=True):
    key: str
    path: str
    mode: Int32 | None = None


class ConfigMapVolumeSource(KubernetesPart, frozen=True, kw_only=True):
    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    default_mode: Int32 | None = None
    optional: bool = False


class SecretVolumeSource(KubernetesPart, frozen=True, kw_only=True):
    secret_name: str = ""
    items: tuple[KeyToPath, ...] = ()
    default_mode: Int32 | None = None
    optional: bool = False


class EmptyDirVolumeSource(KubernetesPart, frozen=True, kw_only=True):
    medium: str = ""
    size_limit: int | float | str | None = None


class HostPathVolumeSource(KubernetesPart, frozen=True, kw_only=True):
    path: str
    type: str = ""


class Volume(KubernetesPart, frozen=True, kw_only=True):
    name: str
    config_map: ConfigMapVolumeSource | None = None
    secret: SecretVolumeSource | None = None
    empty_dir: EmptyDirVolumeSource | None = None
    host_path: HostPathVolumeSource | None = None
    projected: Opaque = None
    downward_api: Opaque = field(name="downwardAPI", default=None)
    persistent_volume_claim: Opaque = None
    csi: Opaque = None
    ephemeral: Opaque = None
    image: Opaque = None
    nfs: Opaque = None


class HostAlias(KubernetesPart, frozen=True, kw_only=True):
    ip: str
    hostnames: tuple[str, ...] = ()


class PodSpec(KubernetesPart, frozen=True, kw_only=True):
    """``service_account`` is the deprecated name of ``service_account_name``."""

    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    volumes: tuple[Volume, ...] = ()
    service_account_name: str = ""
    service_account: str = ""
    automount_service_account_token: bool | None = None
    restart_policy: RestartPolicy = "Always"
    termination_grace_period_seconds: int = 30
    active_deadline_seconds: int | None = None
    node_selector: Mapping[str, str] = {}
    node_name: str = ""
    hostname: str = ""
    subdomain: str = ""
    set_hostname_as_fqdn: bool | None = field(name="setHostnameAsFQDN", default=None)
    hostname_override: str = ""
    host_aliases: tuple[HostAlias, ...] = ()
    host_network: bool = False
    host_pid: bool = field(name="hostPID", default=False)
    host_ipc: bool = field(name="hostIPC", default=False)
    host_users: bool | None = None
    share_process_namespace: bool | None = None
    dns_policy: str = ""
    dns_config: Opaque = None
    enable_service_links: bool | None = None
    security_context: Opaque = None
    image_pull_secrets: tuple[LocalObjectReference, ...] = ()
    affinity: Opaque = None
    tolerations: Opaque = None
    topology_spread_constraints: Opaque = None
    priority: Int32 | None = None
    priority_class_name: str = ""
    preemption_policy: str = ""
    runtime_class_name: str = ""
    scheduler_name: str = ""
    scheduling_gates: Opaque = None
    readiness_gates: Opaque = None
    resource_claims: Opaque = None
    resources: Opaque = None
    overhead: Opaque = None
    os: Opaque = None
    ephemeral_containers: Opaque = None

    @property
    def account(self) -> str:
        """The service account it runs as."""
        return self.service_account_name or self.service_account or "default"


class ContainerStateWaiting(KubernetesPart, frozen=True, kw_only=True):
    reason: str = ""
    message: str = ""


class ContainerStateRunning(KubernetesPart, frozen=True, kw_only=True):
    started_at: str = ""


class ContainerStateTerminated(KubernetesPart, frozen=True, kw_only=True):
    exit_code: int = 0
    signal: int = 0
    reason: str = ""
    message: str = ""
    started_at: str = ""
    finished_at: str = ""
    container_id: str = field(name="containerID", default="")


class ContainerState(KubernetesPart, frozen=True, kw_only=True):
    """One of the three."""

    waiting: ContainerStateWaiting | None = None
    running: ContainerStateRunning | None = None
    terminated: ContainerStateTerminated | None = None


class ContainerStatus(KubernetesPart, frozen=True, kw_only=True):
    name: str
    ready: bool = False
    started: bool | None = None
    restart_count: int = 0
    image: str = ""
    image_id: str = field(name="imageID", default="")
    container_id: str = field(name="containerID", default="")
    state: ContainerState | None = None
    last_state: ContainerState | None = None


class PodIP(KubernetesPart, frozen=True, kw_only=True):
    ip: str = ""


class PodStatus(KubernetesPart, frozen=True, kw_only=True):
    phase: PodPhase = "Pending"
    conditions: tuple[Condition, ...] = ()
    message: str = ""
    reason: str = ""
    pod_ip: str = field(name="podIP", default="")
    pod_ips: tuple[PodIP, ...] = field(name="podIPs", default=())
    host_ip: str = field(name="hostIP", default="")
    host_ips: tuple[PodIP, ...] = field(name="hostIPs", default=())
    start_time: str = ""
    container_statuses: tuple[ContainerStatus, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    qos_class: str = ""
    observed_generation: int = 0

    @property
    def ready(self) -> bool:
        """The condition ``Ready`` is ``True``."""
        return any(c.type == "Ready" and c.status == "True" for c in self.conditions)


class Pod(Object, frozen=True, kw_only=True):
    api_version: str = "v1"
    kind: str = "Pod"
    spec: PodSpec = PodSpec()
    status: PodStatus | None = None
