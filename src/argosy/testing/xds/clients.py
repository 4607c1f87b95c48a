"""Clients of both protocols, sans-io.

They behave as Envoy does where the protocol leaves room: they subscribe to the endpoints that
clusters and the routes that listeners name, they apply the good clusters and listeners of a
response that they refuse but do not record their versions, and on reconnection they say what they
have.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from envoy.service.discovery.v3 import discovery_pb2

from argosy.testing.xds.names import resource_name, route_names
from argosy.xds import Protocol as XdsProtocol
from argosy.xds.type_urls import CLUSTER, ENDPOINT, FULL_SET, LISTENER, ROUTE
from argosy.xds.warming import awaited_endpoints

Reject = Callable[[str, str, bytes], str | None]
"""Given type URL, name and body: the error to refuse the resource with, or None to take it."""


def accept(_type_url: str, _name: str, _body: bytes) -> None:
    """Refuse nothing."""


class Client(Protocol):
    """What both clients can do. ``have`` maps type URL to the bodies in force by name."""

    protocol: XdsProtocol
    have: dict[str, dict[str, bytes]]

    def connect(self) -> list[bytes]: ...

    def subscribe(self, type_url: str, *names: str) -> list[bytes]: ...

    def unsubscribe(self, type_url: str, *names: str) -> list[bytes]: ...

    def handle(self, raw: bytes) -> list[bytes]: ...


@dataclass
class _Base:
    node: Mapping[str, Any] = field(default_factory=lambda: {"id": "a-client"})
    reject: Reject = accept
    follow: bool = False
    have: dict[str, dict[str, bytes]] = field(default_factory=lambda: defaultdict(dict))
    names: dict[str, set[str]] = field(default_factory=dict)
    received: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = field(default_factory=list)
    """Every response since the connection: type URL, names of resources, names removed."""
    refused: list[tuple[str, str]] = field(default_factory=list)
    """Every NACK: type URL and error."""
    _node_sent: bool = False

    def _sent(self, request: Any) -> bytes:
        """As it goes over the wire: the first one of a stream says who asks."""
        if not self._node_sent:
            request.node.MergeFrom(discovery_pb2.DeltaDiscoveryRequest(node=self.node).node)
            self._node_sent = True
        return bytes(request.SerializeToString())

    def _errors(self, type_url: str, bodies: Mapping[str, bytes]) -> dict[str, str]:
        return {
            name: error
            for name, body in bodies.items()
            if (error := self.reject(type_url, name, body)) is not None
        }

    def _error(self, type_url: str, errors: Mapping[str, str]) -> str:
        kinds = {
            CLUSTER: "Error adding/updating cluster(s) ",
            LISTENER: "Error adding/updating listener(s) ",
        }
        if type_url in kinds:
            return kinds[type_url] + ", ".join(f"{name}: {why}" for name, why in errors.items())
        return "; ".join(errors.values())

    def _referred(self, type_url: str) -> tuple[str, set[str]] | None:
        """The type and names that the resources of a type refer to."""
        if not self.follow:
            return None
        if type_url == CLUSTER:
            found = (awaited_endpoints(body) for body in self.have[CLUSTER].values())
            return ENDPOINT, {name for name in found if name}
        if type_url == LISTENER:
            return ROUTE, {
                name for body in self.have[LISTENER].values() for name in route_names(body)
            }
        return None


@dataclass
class DeltaClient(_Base):
    """A delta client. ``versions`` is what it would say on reconnection."""

    protocol: XdsProtocol = XdsProtocol.DELTA
    versions: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))

    def _request(self, type_url: str, **fields: Any) -> bytes:
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=type_url, **fields)
        return self._sent(request)

    def connect(self) -> list[bytes]:
        """The first requests on a new stream: all subscriptions and the versions it has."""
        self._node_sent = False
        self.received.clear()
        return [
            self._request(
                type_url,
                resource_names_subscribe=sorted(names) if names != {"*"} else [],
                initial_resource_versions=self.versions[type_url],
            )
            for type_url, names in self.names.items()
        ]

    def subscribe(self, type_url: str, *names: str) -> list[bytes]:
        """Subscribe to names, or to everything when there are none and it is the first time."""
        first = type_url not in self.names
        wanted = self.names.setdefault(type_url, set())
        wanted |= set(names) or ({"*"} if first else set())
        versions = self.versions[type_url] if first else {}
        return [
            self._request(
                type_url,
                resource_names_subscribe=sorted(names),
                initial_resource_versions=versions,
            )
        ]

    def unsubscribe(self, type_url: str, *names: str) -> list[bytes]:
        """Unsubscribe; what "*" does not cover any more is dropped."""
        self.names[type_url] -= set(names)
        for name in list(self.have[type_url]):
            if "*" not in self.names[type_url] and name not in self.names[type_url]:
                del self.have[type_url][name]
                self.versions[type_url].pop(name, None)
        return [self._request(type_url, resource_names_unsubscribe=sorted(names))]

    def handle(self, raw: bytes) -> list[bytes]:
        """Take a response: requests to send, the ACK or NACK first."""
        response = discovery_pb2.DeltaDiscoveryResponse.FromString(raw)
        url = response.type_url
        bodies = {one.name: one.resource.value for one in response.resources}
        assert len(bodies) == len(response.resources), "a name twice in one response"
        self.received.append((url, tuple(sorted(bodies)), tuple(response.removed_resources)))
        errors = self._errors(url, bodies)
        if errors and url not in FULL_SET:
            bodies = {}
        wanted = self.names.get(url, set())
        for one in response.resources:
            if one.name in bodies and one.name not in errors:
                if "*" not in wanted and one.name not in wanted:
                    continue
                self.have[url][one.name] = bodies[one.name]
                if not errors:
                    self.versions[url][one.name] = one.version
        for name in response.removed_resources:
            self.have[url].pop(name, None)
            self.versions[url].pop(name, None)
        if not errors:
            return [self._request(url, response_nonce=response.nonce), *self._follow(url)]
        text = self._error(url, errors)
        self.refused.append((url, text))
        detail = {"code": 13, "message": text}
        nack = self._request(url, response_nonce=response.nonce, error_detail=detail)
        return [nack, *self._follow(url)]

    def _follow(self, type_url: str) -> list[bytes]:
        referred = self._referred(type_url)
        if referred is None:
            return []
        url, names = referred
        before = self.names.get(url, set())
        requests = []
        if names - before:
            requests += self.subscribe(url, *(names - before))
        if before - names:
            requests += self.unsubscribe(url, *(before - names))
        return requests


@dataclass
class SotwClient(_Base):
    """A state-of-the-world client."""

    protocol: XdsProtocol = XdsProtocol.SOTW
    version: dict[str, str] = field(default_factory=lambda: defaultdict(str))
    nonce: dict[str, str] = field(default_factory=lambda: defaultdict(str))

    def _request(self, type_url: str, error: str = "") -> bytes:
        names = self.names[type_url]
        request = discovery_pb2.DiscoveryRequest(
            type_url=type_url,
            version_info=self.version[type_url],
            response_nonce=self.nonce[type_url],
            resource_names=sorted(names) if names != {"*"} else [],
        )
        if error:
            request.error_detail.code = 13
            request.error_detail.message = error
        return self._sent(request)

    def connect(self) -> list[bytes]:
        """The first requests on a new stream: all subscriptions and the last versions."""
        self._node_sent = False
        self.received.clear()
        self.nonce.clear()
        return [self._request(type_url) for type_url in self.names]

    def subscribe(self, type_url: str, *names: str) -> list[bytes]:
        """Subscribe to names, or to everything when there are none and it is the first time."""
        first = type_url not in self.names
        wanted = self.names.setdefault(type_url, set())
        wanted |= set(names) or ({"*"} if first else set())
        return [self._request(type_url)]

    def unsubscribe(self, type_url: str, *names: str) -> list[bytes]:
        """Unsubscribe from names."""
        wanted = self.names[type_url]
        wanted -= set(names)
        for name in list(self.have[type_url]):
            if "*" not in wanted and name not in wanted:
                del self.have[type_url][name]
        return [self._request(type_url)]

    def handle(self, raw: bytes) -> list[bytes]:
        """Take a response: requests to send, the ACK or NACK first."""
        response = discovery_pb2.DiscoveryResponse.FromString(raw)
        url = response.type_url
        bodies = {resource_name(url, one.value): one.value for one in response.resources}
        assert len(bodies) == len(response.resources), "a name twice in one response"
        self.received.append((url, tuple(sorted(bodies)), ()))
        self.nonce[url] = response.nonce
        errors = self._errors(url, bodies)
        wanted = self.names.get(url, set())
        if not errors or url in FULL_SET:
            for name, body in bodies.items():
                if name not in errors and ("*" in wanted or name in wanted):
                    self.have[url][name] = body
            if url in FULL_SET:
                for name in set(self.have[url]) - set(bodies):
                    del self.have[url][name]
        error = ""
        if errors:
            error = self._error(url, errors)
            self.refused.append((url, error))
        else:
            self.version[url] = response.version_info
        requests = [self._request(url, error)]
        referred = self._referred(url)
        if referred is not None and self.names.get(referred[0], set()) != referred[1]:
            type_url, names = referred
            self.names[type_url] = set(names)
            for name in set(self.have[type_url]) - names:
                del self.have[type_url][name]
            requests.append(self._request(type_url))
        return requests
