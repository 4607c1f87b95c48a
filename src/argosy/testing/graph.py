"""The formulas over a store in memory: YAML in, resources out. No clock, no process, no network."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import ParamSpec, TypeVar

from argosy import derive
from argosy.api import registry
from argosy.api.decode import decode_yaml
from argosy.api.meta import Object
from argosy.base.jwks import encoded
from argosy.base.names import Namespace, ObjectKey
from argosy.base.problems import Problem
from argosy.model.proxy import ProxyType, Role
from argosy.pilot.graph import layers
from argosy.pilot.graph.encode import Encoded
from argosy.pilot.graph.problems import problems_of
from argosy.pilot.graph.request_authn import UnverifiableKeys
from argosy.store.admission import KubernetesAdmission
from argosy.store.cells import CellFeed
from argosy.store.store import Store
from argosy.store.transaction import Delete, Event, Put, SetStatus
from argosy.testing.xds.names import extension_names, route_names, secret_names
from argosy.xds import type_urls
from argosy.xds.warming import awaited_endpoints

P = ParamSpec("P")
T = TypeVar("T")

_FULL = {
    type_urls.short_name(url): url
    for url in (
        type_urls.CLUSTER,
        type_urls.ENDPOINT,
        type_urls.LISTENER,
        type_urls.ROUTE,
        type_urls.SECRET,
        type_urls.EXTENSION,
    )
}
UNVERIFIABLE = json.dumps(
    {"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "none", "x": encoded(bytes(31) + b"\1")}]}
)
"""What a control plane makes anew each time: always the same here, so that outputs are."""

_START = datetime(2026, 1, 1, tzinfo=UTC)


class TickingClock:
    """A second later at each look, so that the order of creation is the order of age."""

    def __init__(self) -> None:
        self._ticks = count()

    def now(self) -> datetime:
        return _START + timedelta(seconds=next(self._ticks))

    def monotonic(self) -> float:
        return float(next(self._ticks))


def objects(*texts: str) -> list[Object]:
    """The objects of YAML texts, which must be without mistakes."""
    found: list[Object] = []
    for text in texts:
        decoded = decode_yaml(text, "test.yaml")
        assert not decoded.problems, decoded.problems
        found.extend(decoded.objects)
    return found


class Graph:
    """A store with an engine behind it."""

    def __init__(self, *texts: str) -> None:
        uids = count(1)
        self.store = Store(
            clock=TickingClock(),
            uids=lambda: f"uid-{next(uids)}",
            admission=KubernetesAdmission(registry.NAMESPACED),
        )
        self.engine = derive.Engine()
        self.engine.set({UnverifiableKeys(): UNVERIFIABLE})
        self._feed = CellFeed(derive.ABSENT)
        self.changes: tuple[derive.Change, ...] = ()
        self.detach = self.store.subscribe(self._receive)
        """Stops feeding the engine, for whoever feeds it from the store himself."""
        if texts:
            self.apply(*texts)

    def apply(self, *texts: str) -> tuple[derive.Change, ...]:
        """Create or change objects in one transaction; the observed formulas that changed."""
        return self.put(objects(*texts))

    def put(self, values: Iterable[Object]) -> tuple[derive.Change, ...]:
        self.changes = ()
        operations: list[Put | SetStatus] = []
        for value in values:
            operations.append(Put(value))
            if getattr(value, "status", None) is not None:
                operations.append(SetStatus(value))
        self.store.apply(operations)
        return self.changes

    def delete(self, kind: str, namespace: str, name: str) -> tuple[derive.Change, ...]:
        self.changes = ()
        self.store.apply([Delete(ObjectKey(kind, Namespace(namespace), name))])
        return self.changes

    def resources(self, role: Role) -> dict[tuple[str, str], Encoded]:
        """Everything that a proxy of this role gets when it asks for all, and what that names.

        By type (CDS, EDS, LDS, RDS, SDS, ECDS) and name.
        """
        layered = self._value(layers.layers, role)
        kept = [(one, url) for one in layered for url in (type_urls.CLUSTER, type_urls.LISTENER)]
        for layer, type_url in kept:  # as a stream does: what all names share is computed once
            self.engine.observe(layers.layer_names, layer, type_url)
        try:
            return self._resources(role, kept)
        finally:
            for layer, type_url in kept:
                self.engine.release(layers.layer_names, layer, type_url)

    def _resources(
        self, role: Role, layer_types: Iterable[tuple[layers.Layer, str]]
    ) -> dict[tuple[str, str], Encoded]:
        found: dict[tuple[str, str], Encoded] = {}
        for layer, type_url in layer_types:
            for name in self._value(layers.layer_names, layer, type_url):
                encoded = self._value(layers.layer_resource, layer, type_url, name)
                assert encoded is not None, f"{name} is promised and not there"
                found[type_urls.short_name(type_url), name] = encoded
        named: set[tuple[str, str]] = set()
        for (kind, _), encoded in found.items():
            named |= {(type_urls.SECRET, name) for name in secret_names(kind, encoded.body)}
            if kind == "CDS":
                awaited = awaited_endpoints(encoded.body)
                named |= {(type_urls.ENDPOINT, awaited)} if awaited else set()
            else:
                named |= {(type_urls.ROUTE, name) for name in route_names(encoded.body)}
                named |= {(type_urls.EXTENSION, name) for name in extension_names(encoded.body)}
        for type_url, name in sorted(named):
            encoded = self.resource(role, type_url, name)
            assert encoded is not None, f"{name} is named and not there"
            found[type_urls.short_name(type_url), name] = encoded
        return found

    def observe(self, role: Role) -> None:
        """Look at everything that the proxy gets, as long as the graph lives."""
        layered = self._value(layers.layers, role)
        for short, name in self.resources(role):
            type_url = _FULL[short]
            self.engine.observe(
                layers.layer_resource, layers.owner(layered, type_url, name), type_url, name
            )

    def resource(self, role: Role, type_url: str, name: str) -> Encoded | None:
        layer = layers.owner(self._value(layers.layers, role), type_url, name)
        return self._value(layers.layer_resource, layer, type_url, name)

    def problems(self, kind: str, namespace: str, name: str) -> tuple[Problem, ...]:
        return self._value(problems_of, ObjectKey(kind, Namespace(namespace), name))

    def _value(self, formula: derive.Formula[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        value = self.engine.value(formula, *args, **kwargs)
        assert not isinstance(value, derive.Failed), value.trace
        return value

    def _receive(self, events: Sequence[Event], _revision: int) -> None:
        self.changes = self.engine.set(self._feed.cells(events))


def sidecar(namespace: str = "default", **labels: str) -> Role:
    """A sidecar of workloads with these labels."""
    return Role(ProxyType.SIDECAR, Namespace(namespace), tuple(sorted(labels.items())), "default")


def gateway(namespace: str = "istio-system", **labels: str) -> Role:
    return Role(ProxyType.ROUTER, Namespace(namespace), tuple(sorted(labels.items())), "default")


def a_pod(
    name: str, address: str, namespace: str = "default", ready: bool = True, **labels: str
) -> str:
    """A pod with a sidecar, as YAML."""
    written = {"security.istio.io/tlsMode": "istio", **labels}
    lines = "\n".join(f"    {key}: {value}" for key, value in written.items())
    return f"""
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  namespace: {namespace}
  labels:
{lines}
spec:
  containers: [{{name: app, image: app}}]
status:
  podIP: {address}
  phase: Running
  conditions: [{{type: Ready, status: "{ready}"}}]
"""


def a_service(
    name: str, port: int = 80, namespace: str = "default", port_name: str = "http", **selector: str
) -> str:
    """A service that selects by labels (``app: <name>`` when none are given), as YAML."""
    pairs = selector or {"app": name}
    chosen = ", ".join(f"{key}: {value}" for key, value in pairs.items())
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  ports: [{{name: {port_name}, port: {port}}}]
  selector: {{{chosen}}}
"""
