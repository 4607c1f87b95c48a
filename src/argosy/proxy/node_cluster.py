"""What the node knows of the mesh: the watched objects, and what follows from them. No I/O."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from argosy.api import proxy_config
from argosy.api.apps import Deployment
from argosy.api.core import ConfigMap, Namespace, Secret, Service, ServicePort
from argosy.api.core_pod import Pod
from argosy.api.meta import Metadata, Object
from argosy.api.networking_envoy_filter import EnvoyFilter
from argosy.api.networking_network_policy import NetworkPolicy
from argosy.api.networking_proxy_config import ProxyConfig
from argosy.api.networking_service_entry import ServiceEntry
from argosy.api.networking_workload_entry import WorkloadGroup
from argosy.base import names
from argosy.model.proxy_traffic import CapturePorts
from argosy.pilot.compile import mesh, proxy_configs, registrations, service_entries
from argosy.platforms.local import workloads
from argosy.platforms.local.environment import Sources
from argosy.proxy.bootstrap_patches import bootstrap_patches
from argosy.proxy.capture import Ruleset, ServiceTarget
from argosy.proxy.names import HostRecord, NameTable, Record
from argosy.proxy.network_policies import policy_rules

KINDS = (
    "Namespace",
    "EnvoyFilter",
    "Pod",
    "Deployment",
    "StatefulSet",
    "Service",
    "ConfigMap",
    "Secret",
    "ServiceEntry",
    "ProxyConfig",
    "WorkloadGroup",
    "NetworkPolicy",
)
_MESH_CONFIG = ("istio-system", "istio")
_HEADLESS = "None"
Key = tuple[str, str]
T = TypeVar("T", bound=Object)


@dataclass(slots=True)
class Cluster:
    """Objects by kind, and by namespace and name."""

    _objects: dict[str, dict[Key, Object]] = field(
        default_factory=lambda: {kind: {} for kind in KINDS}
    )
    _unconfirmed: set[tuple[str, Key]] = field(default_factory=set)

    def put(self, value: Object) -> None:
        """Take in an object, unless what is known is newer."""
        key = _key(value)
        known = self._objects[value.kind].get(key)
        self._unconfirmed.discard((value.kind, key))
        if known is None or _version(known) <= _version(value):
            self._objects[value.kind][key] = value

    def remove(self, value: Object) -> None:
        known = self._objects[value.kind].get(_key(value))
        if known is not None and known.metadata.uid == value.metadata.uid:
            del self._objects[value.kind][_key(value)]

    def restart(self) -> None:
        """Everything known is now to be confirmed."""
        self._unconfirmed = {(kind, key) for kind, known in self._objects.items() for key in known}

    def synced(self) -> None:
        """Forget what was not confirmed since ``restart``."""
        for kind, key in self._unconfirmed:
            self._objects[kind].pop(key, None)
        self._unconfirmed = set()

    def all(self, struct: type[T]) -> list[T]:
        return cast(list[T], list(self._objects[struct.__name__].values()))

    def get(self, struct: type[T], namespace: str, name: str) -> T | None:
        return cast(T | None, self._objects[struct.__name__].get((namespace, name)))

    def namespace_labels(self, name: str) -> Mapping[str, str]:
        found = self.get(Namespace, "", name)
        return found.metadata.labels if found is not None else {}

    def sources(self, namespace: str) -> Sources:
        return Sources(
            {c.metadata.name: c for c in self.all(ConfigMap) if c.metadata.namespace == namespace},
            {s.metadata.name: s for s in self.all(Secret) if s.metadata.namespace == namespace},
        )

    def proxy_config(self, metadata: Metadata) -> proxy_config.ProxyConfig:
        """What holds for a pod's proxy before its annotations: the mesh's, and ProxyConfigs."""
        written = mesh.mesh(self.get(ConfigMap, *_MESH_CONFIG)).value
        root, namespace = written.traffic.root_namespace, names.Namespace(metadata.namespace)
        labels = tuple(sorted(metadata.labels.items()))
        found = proxy_configs.ruling(self.all(ProxyConfig), root, namespace, labels)
        return proxy_configs.effective(written.proxy, found, "")

    def pods_of(self, service: Service, *, not_ready: bool = False) -> list[Pod]:
        """The pods behind a service that take traffic, oldest address first."""
        selector = service.spec.selector.items()
        namespace = service.metadata.namespace
        if not selector:
            return []
        found = [
            pod
            for pod in self.all(Pod)
            if pod.metadata.namespace == namespace
            and selector <= pod.metadata.labels.items()
            and pod.status is not None
            and pod.status.pod_ip
            and (workloads.is_ready(pod) or not_ready)
            and not registrations.group_of(pod.metadata)
        ]
        return sorted(found, key=lambda p: p.status.pod_ip if p.status else "")

    def group_of(self, pod: Pod) -> WorkloadGroup | None:
        """The group whose machine a pod is."""
        name = registrations.group_of(pod.metadata)
        return self.get(WorkloadGroup, pod.metadata.namespace, name) if name else None

    def capture_ports(self) -> CapturePorts:
        """Of pods that are made now."""
        return mesh.mesh(self.get(ConfigMap, *_MESH_CONFIG)).value.capture

    def merges_metrics(self) -> bool:
        """Whether pods show their applications' metrics with those of their proxies."""
        return mesh.mesh(self.get(ConfigMap, *_MESH_CONFIG)).value.merged_metrics

    def bootstrap_patches(self, pod: Pod) -> list[dict[str, Any]]:
        """What EnvoyFilters change in the bootstrap of a pod's proxy."""
        settings = mesh.mesh(self.get(ConfigMap, *_MESH_CONFIG)).value
        filters = self.all(EnvoyFilter)
        return bootstrap_patches(pod, filters, settings.traffic.root_namespace) if filters else []

    def names(self) -> NameTable:
        """What DNS answers."""
        records = [_record(service, self) for service in self.all(Service)]
        return NameTable(records, hosts=self._hosts())

    def _hosts(self) -> list[HostRecord]:
        """The hosts of ServiceEntries that have addresses, oldest first."""
        entries = sorted(
            self.all(ServiceEntry), key=lambda e: (e.metadata.creation_timestamp, _key(e))
        )
        if not entries:
            return []
        settings = mesh.mesh(self.get(ConfigMap, *_MESH_CONFIG)).value
        found = []
        for entry in entries:
            for service in service_entries.services(entry, settings):
                addresses = tuple(a for a in service.addresses if "/" not in a)
                if addresses:
                    host, namespace = service.hostname, service.namespace
                    found.append(HostRecord(host, namespace, addresses, service.export_to))
        return found

    def has_envoy_filters(self) -> bool:
        """These may bring clusters that find their servers by the names of services."""
        return bool(self._objects[EnvoyFilter.__name__])

    def policy(self, pod: Pod) -> Ruleset:
        """What NetworkPolicies let into and out of a pod."""
        policies = self.all(NetworkPolicy)
        if not policies:
            return policy_rules(pod, (), (), {})
        labels = {each.metadata.name: each.metadata.labels for each in self.all(Namespace)}
        return policy_rules(pod, policies, self.all(Pod), labels)

    def service_targets(self) -> tuple[ServiceTarget, ...]:
        """Service addresses and where they lead, for pods without a proxy."""
        targets = []
        for service in sorted(self.all(Service), key=_key):
            address = service.spec.cluster_ip
            if not address or address == _HEADLESS:
                continue
            pods = self.pods_of(service)
            for port in service.spec.ports:
                ends = [(_address(p), target_port(port, p)) for p in pods]
                endpoints = tuple((a, number) for a, number in ends if number is not None)
                targets.append(ServiceTarget(address, port.port, endpoints))
        return tuple(targets)


def target_port(port: ServicePort, pod: Pod) -> int | None:
    """The number behind a service port on this pod; None when the pod has no port of that name."""
    target = port.target_port
    if target is None:
        return port.port
    if isinstance(target, int):
        return target
    for container in pod.spec.containers:
        for candidate in container.ports:
            if candidate.name == target:
                return candidate.container_port
    return int(target) if target.isdigit() else None


def _record(service: Service, cluster: Cluster) -> Record:
    name, namespace = service.metadata.name, service.metadata.namespace
    address = service.spec.cluster_ip
    if address and address != _HEADLESS:
        return Record(name, namespace, (address,))
    spec = service.spec
    if spec.type == "ExternalName":
        return Record(name, namespace, (), alias=spec.external_name.lower().removesuffix("."))
    pods = cluster.pods_of(service, not_ready=spec.publish_not_ready_addresses)
    hosts = tuple(
        (pod.spec.hostname.lower(), _address(pod))
        for pod in pods
        if pod.spec.hostname and pod.spec.subdomain == name
    )
    return Record(name, namespace, tuple(map(_address, pods)), hosts)


def _address(pod: Pod) -> str:
    return pod.status.pod_ip if pod.status is not None else ""


def _key(value: Object) -> Key:
    return (value.metadata.namespace, value.metadata.name)


def _version(value: Object) -> int:
    text = value.metadata.resource_version
    return int(text) if text.isdigit() else 0


def owned_by(pods: Iterable[Pod], deployment: Deployment) -> list[Pod]:
    return [pod for pod in pods if workloads.is_owned(pod, deployment)]
