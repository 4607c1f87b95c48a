"""Namespace, ServiceAccount, Service, ConfigMap and Secret of Kubernetes' ``v1``.

Fields as in https://kubernetes.io/docs/reference/kubernetes-api/; those that a mesh on one machine
has no use for are carried along as ``Opaque``.
"""

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import field

from argosy.api.meta import Condition, Int32, KubernetesPart, Object, Opaque

ServicePortProtocol = Literal["TCP", "UDP", "SCTP"]
ServiceType = Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]


class NamespaceSpec(KubernetesPart, frozen=True, kw_only=True):
    finalizers: tuple[str, ...] = ()


class NamespaceStatus(KubernetesPart, frozen=True, kw_only=True):
    phase: str = ""
    conditions: tuple[Condition, ...] = ()


class Namespace(Object, frozen=True, kw_only=True):
    api_version: str = "v1"
    kind: str = "Namespace"
    spec: NamespaceSpec = NamespaceSpec()
    status: NamespaceStatus | None = None


class LocalObjectReference(KubernetesPart, frozen=True, kw_only=True):
    name: str = ""


class ServiceAccount(Object, frozen=True, kw_only=True):
    api_version: str = "v1"
    kind: str = "ServiceAccount"
    automount_service_account_token: bool | None = None
    image_pull_secrets: tuple[LocalObjectReference, ...] = ()
    secrets: Opaque = None


class ServicePort(KubernetesPart, frozen=True, kw_only=True):
    """``target_port`` is a number, the name of a container port, or None: equal to ``port``."""

    port: Int32
    name: str = ""
    protocol: ServicePortProtocol = "TCP"
    app_protocol: str = ""
    target_port: Int32 | str | None = None
    node_port: Int32 = 0


class ServiceSpec(KubernetesPart, frozen=True, kw_only=True):
    """``cluster_ip`` is ``None`` (the text) for a headless service, empty before allocation."""

    ports: tuple[ServicePort, ...] = ()
    selector: Mapping[str, str] = {}
    type: ServiceType = "ClusterIP"
    cluster_ip: str = field(name="clusterIP", default="")
    cluster_ips: tuple[str, ...] = field(name="clusterIPs", default=())
    external_name: str = ""
    external_ips: tuple[str, ...] = field(name="externalIPs", default=())
    publish_not_ready_addresses: bool = False
    session_affinity: str = ""
    session_affinity_config: Opaque = None
    ip_families: tuple[str, ...] = ()
    ip_family_policy: str = ""
    internal_traffic_policy: str = ""
    external_traffic_policy: str = ""
    traffic_distribution: str = ""
    load_balancer_ip: str = field(name="loadBalancerIP", default="")
    load_balancer_class: str = ""
    load_balancer_source_ranges: tuple[str, ...] = ()
    allocate_load_balancer_node_ports: bool | None = None
    health_check_node_port: Int32 = 0


class ServiceStatus(KubernetesPart, frozen=True, kw_only=True):
    load_balancer: Opaque = None
    conditions: tuple[Condition, ...] = ()


class Service(Object, frozen=True, kw_only=True):
    api_version: str = "v1"
    kind: str = "Service"
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus | None = None


class ConfigMap(Object, frozen=True, kw_only=True):
    """``binary_data`` is base64 on the wire and bytes here."""

    api_version: str = "v1"
    kind: str = "ConfigMap"
    data: Mapping[str, str] = {}
    binary_data: Mapping[str, bytes] = {}
    immutable: bool | None = None


class Secret(Object, frozen=True, kw_only=True):
    """``data`` is base64 on the wire and bytes here. Its values never print."""

    api_version: str = "v1"
    kind: str = "Secret"
    data: Mapping[str, bytes] = {}
    string_data: Mapping[str, str] = {}
    type: str = "Opaque"
    immutable: bool | None = None

    def __repr__(self) -> str:
        keys = ", ".join(sorted({*self.data, *self.string_data}))
        return f"Secret({self.metadata.namespace}/{self.metadata.name}, keys [{keys}], [redacted])"

    __str__ = __repr__

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("keys", sorted({*self.data, *self.string_data}))]

    @property
    def values(self) -> Mapping[str, bytes]:
        """All keys: ``string_data`` wins over ``data``, as the API server merges them."""
        return {**self.data, **{k: v.encode() for k, v in self.string_data.items()}}
