"""A mesh of a given shape as objects: services, their pods, and the pods that have a proxy.

No process and no file, except ``write_journal``, which leaves the state that a restarted control
plane finds. Pods look as the node reports them: labelled, ready, with an address.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from argosy.api import registry
from argosy.api.core import Namespace as NamespaceObject
from argosy.api.core_pod import Pod
from argosy.api.decode import decode_yaml
from argosy.api.meta import Metadata, Object
from argosy.base.clock import SystemClock
from argosy.base.names import Namespace
from argosy.model.proxy import ProxyType, Role
from argosy.pilot.compile.roles import role_of
from argosy.store.admission import KubernetesAdmission
from argosy.store.codec import MsgpackCodec
from argosy.store.journal import Journal
from argosy.store.store import Store
from argosy.store.transaction import Put, SetStatus


@dataclass(frozen=True, slots=True)
class Shape:
    """How large the mesh is, and how it is spread.

    ``services`` are spread evenly over ``namespaces`` and over ``ports`` port numbers, and have
    ``endpoints`` pods each. Of the first ``workloads`` services, ``replicas`` pods have a proxy
    that is connected.
    """

    services: int = 1000
    endpoints: int = 10
    namespaces: int = 50
    ports: int = 10
    workloads: int = 100
    replicas: int = 5

    def __post_init__(self) -> None:
        assert self.workloads <= self.services, "a workload stands behind a service"
        assert self.replicas <= self.endpoints, "a replica is an endpoint"

    @property
    def proxies(self) -> int:
        return self.workloads * self.replicas

    def namespace(self, service: int) -> str:
        return f"team-{service % self.namespaces:02}"

    def port(self, service: int) -> int:
        return 8000 + service // self.namespaces % self.ports


@dataclass(frozen=True, slots=True)
class Proxy:
    """A pod with a proxy: what the proxy says and proves of itself."""

    pod: str
    namespace: str
    service_account: str
    address: str
    role: Role

    @property
    def node_id(self) -> str:
        assert self.role.type is ProxyType.SIDECAR
        suffix = f"{self.namespace}.svc.cluster.local"
        return f"sidecar~{self.address}~{self.pod}.{self.namespace}~{suffix}"


def service_name(service: int) -> str:
    return f"service-{service:04}"


def host(shape: Shape, service: int) -> str:
    return f"{service_name(service)}.{shape.namespace(service)}.svc.cluster.local"


def objects(shape: Shape) -> Iterator[Object]:
    """Everything: namespaces, services, pods."""
    for number in range(min(shape.namespaces, shape.services)):
        metadata = Metadata(name=shape.namespace(number))
        yield NamespaceObject(api_version="v1", kind="Namespace", metadata=metadata)
    for service in range(shape.services):
        yield from _decoded(_SERVICE.format(**_words(shape, service)))
    for service in range(shape.services):
        yield from pods(shape, service)


def pods(shape: Shape, service: int) -> tuple[Pod, ...]:
    """The pods of one service."""
    (template,) = _decoded(_POD.format(**_words(shape, service)))
    assert isinstance(template, Pod)
    assert template.status is not None
    made = []
    for replica in range(shape.endpoints):
        number = service * shape.endpoints + replica
        name = f"{service_name(service)}-{replica:02}"
        address = f"10.{1 + number // 64516}.{1 + number // 254 % 254}.{1 + number % 254}"
        metadata = replace(template.metadata, name=name)
        status = replace(template.status, pod_ip=address)
        made.append(replace(template, metadata=metadata, status=status))
    return tuple(made)


def proxies(shape: Shape) -> tuple[Proxy, ...]:
    """The pods with a connected proxy."""
    found = []
    for service in range(shape.workloads):
        for pod in pods(shape, service)[: shape.replicas]:
            assert pod.status is not None
            found.append(
                Proxy(
                    pod.metadata.name,
                    pod.metadata.namespace,
                    pod.spec.account,
                    pod.status.pod_ip,
                    role_of(pod),
                )
            )
    return tuple(found)


def virtual_service(shape: Shape, service: int, milliseconds: int) -> str:
    """Rules of one host: two routes and a time limit that the caller varies."""
    return _VIRTUAL_SERVICE.format(
        **_words(shape, service), host=host(shape, service), milliseconds=milliseconds
    )


def write_journal(shape: Shape, path: Path) -> None:
    """The journal of a control plane that has seen the whole mesh."""
    store = Store(
        clock=SystemClock(),
        uids=lambda: str(uuid.uuid4()),
        codec=MsgpackCodec({entry.kind: entry.struct for entry in registry.KINDS}),
        journal=Journal(path),
        admission=KubernetesAdmission({e.kind: e.namespaced for e in registry.KINDS}),
        ephemeral=frozenset(),
    )
    store.load()
    for_status: list[Pod] = []
    operations: list[Put | SetStatus] = []
    for value in objects(shape):
        operations.append(Put(value))
        if isinstance(value, Pod):
            for_status.append(value)
    operations += map(SetStatus, for_status)
    store.apply(operations)
    store.close()


def _words(shape: Shape, service: int) -> dict[str, object]:
    return {
        "name": service_name(service),
        "namespace": Namespace(shape.namespace(service)),
        "port": shape.port(service),
    }


def _decoded(text: str) -> tuple[Object, ...]:
    decoded = decode_yaml(text, "bench.yaml")
    assert not decoded.problems, decoded.problems
    # What comes through the API in JSON has no lines; neither do pods in a mesh.
    return tuple(replace(found, origin=None) for found in decoded.objects)


_SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}}}}}
spec:
  ports: [{{name: http, port: {port}, targetPort: 8080}}]
  selector: {{app: {name}}}
"""

_POD = """
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  namespace: {namespace}
  labels:
    app: {name}
    version: v1
    security.istio.io/tlsMode: istio
    service.istio.io/canonical-name: {name}
    service.istio.io/canonical-revision: v1
spec:
  serviceAccountName: {name}
  containers:
  - name: app
    image: registry.example/{name}:1.0
    ports: [{{name: http, containerPort: 8080}}]
    env: [{{name: PORT, value: "8080"}}]
status:
  podIP: 10.1.1.1
  phase: Running
  conditions: [{{type: Ready, status: "True"}}]
  containerStatuses: [{{name: app, ready: true, image: "registry.example/{name}:1.0"}}]
"""

_VIRTUAL_SERVICE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  hosts: [{host}]
  http:
  - match: [{{headers: {{end-user: {{exact: jason}}}}}}]
    route: [{{destination: {{host: {host}}}}}]
    retries: {{attempts: 3, perTryTimeout: 2s}}
  - route: [{{destination: {{host: {host}}}}}]
    timeout: {milliseconds}ms
"""
