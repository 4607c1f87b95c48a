"""Containers of a pod: what to run, with which environment, and how to probe it.

Fields and defaults as in
https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#Container
"""

from collections.abc import Mapping
from typing import Literal

from msgspec import field

from argosy.api.meta import Int32, KubernetesPart, Opaque

Scheme = Literal["HTTP", "HTTPS"]
PortProtocol = Literal["TCP", "UDP", "SCTP"]
PullPolicy = Literal["Always", "IfNotPresent", "Never"]
Quantity = int | float | str


class KeySelector(KubernetesPart, frozen=True, kw_only=True):
    """A key of a ConfigMap or Secret."""

    key: str
    name: str = ""
    optional: bool = False


class ObjectFieldSelector(KubernetesPart, frozen=True, kw_only=True):
    field_path: str
    api_version: str = ""


class ResourceFieldSelector(KubernetesPart, frozen=True, kw_only=True):
    resource: str
    container_name: str = ""
    divisor: Quantity | None = None


class EnvVarSource(KubernetesPart, frozen=True, kw_only=True):
    config_map_key_ref: KeySelector | None = None
    secret_key_ref: KeySelector | None = None
    field_ref: ObjectFieldSelector | None = None
    resource_field_ref: ResourceFieldSelector | None = None
    file_key_ref: Opaque = None


class EnvVar(KubernetesPart, frozen=True, kw_only=True):
    name: str
    value: str = ""
    value_from: EnvVarSource | None = None


class EnvSource(KubernetesPart, frozen=True, kw_only=True):
    """A whole ConfigMap or Secret."""

    name: str = ""
    optional: bool = False


class EnvFromSource(KubernetesPart, frozen=True, kw_only=True):
    prefix: str = ""
    config_map_ref: EnvSource | None = None
    secret_ref: EnvSource | None = None


class ContainerPort(KubernetesPart, frozen=True, kw_only=True):
    container_port: Int32
    name: str = ""
    protocol: PortProtocol = "TCP"
    host_port: Int32 = 0
    host_ip: str = field(name="hostIP", default="")


class HTTPHeader(KubernetesPart, frozen=True, kw_only=True):
    name: str
    value: str = ""


class HTTPGetAction(KubernetesPart, frozen=True, kw_only=True):
    """``port`` is a number or the name of a container port."""

    port: Int32 | str
    path: str = "/"
    host: str = ""
    scheme: Scheme = "HTTP"
    http_headers: tuple[HTTPHeader, ...] = ()


class TCPSocketAction(KubernetesPart, frozen=True, kw_only=True):
    port: Int32 | str
    host: str = ""


class ExecAction(KubernetesPart, frozen=True, kw_only=True):
    command: tuple[str, ...] = ()


class GRPCAction(KubernetesPart, frozen=True, kw_only=True):
    port: Int32
    service: str = ""


class Probe(KubernetesPart, frozen=True, kw_only=True):
    """Exactly one of the four actions. Times are in seconds, with Kubernetes' defaults."""

    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    exec: ExecAction | None = None
    grpc: GRPCAction | None = None
    initial_delay_seconds: Int32 = 0
    timeout_seconds: Int32 = 1
    period_seconds: Int32 = 10
    success_threshold: Int32 = 1
    failure_threshold: Int32 = 3
    termination_grace_period_seconds: int | None = None


class SleepAction(KubernetesPart, frozen=True, kw_only=True):
    seconds: int


class LifecycleHandler(KubernetesPart, frozen=True, kw_only=True):
    exec: ExecAction | None = None
    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    sleep: SleepAction | None = None


class Lifecycle(KubernetesPart, frozen=True, kw_only=True):
    post_start: LifecycleHandler | None = None
    pre_stop: LifecycleHandler | None = None
    stop_signal: str = ""


class ResourceRequirements(KubernetesPart, frozen=True, kw_only=True):
    limits: Mapping[str, Quantity] = {}
    requests: Mapping[str, Quantity] = {}
    claims: Opaque = None


class VolumeMount(KubernetesPart, frozen=True, kw_only=True):
    name: str
    mount_path: str
    sub_path: str = ""
    sub_path_expr: str = ""
    read_only: bool = False
    recursive_read_only: str = ""
    mount_propagation: str = ""


class SecurityContext(KubernetesPart, frozen=True, kw_only=True):
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    privileged: bool | None = None
    allow_privilege_escalation: bool | None = None
    read_only_root_filesystem: bool | None = None
    capabilities: Opaque = None
    seccomp_profile: Opaque = None
    app_armor_profile: Opaque = None
    se_linux_options: Opaque = None
    windows_options: Opaque = None
    proc_mount: Opaque = None


class Container(KubernetesPart, frozen=True, kw_only=True):
    name: str
    image: str = ""
    image_pull_policy: PullPolicy | None = None
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[EnvFromSource, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None
    startup_probe: Probe | None = None
    lifecycle: Lifecycle | None = None
    resources: ResourceRequirements | None = None
    volume_mounts: tuple[VolumeMount, ...] = ()
    volume_devices: Opaque = None
    security_context: SecurityContext | None = None
    restart_policy: str = ""
    resize_policy: Opaque = None
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    termination_message_path: str = ""
    termination_message_policy: str = ""
