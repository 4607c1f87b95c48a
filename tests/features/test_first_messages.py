"""Whatever a proxy with a good certificate sends first: a refusal or its own, and never a foreign key.

https://istio.io/latest/news/security/istio-security-2022-003/ and 2021-007: a crafted message must
not end the control plane, and a name that somebody else was answered must not be answered again.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count

import pytest
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.features.test_distribution import Plane, peer
from tests.features.test_secrets import NAME, OURS, WORLD

from argosy import xds
from argosy.xds import type_urls
from argosy.xds.server import StreamRefusedError
from argosy.xds.wire import Protocol

TYPES = [
    *(getattr(type_urls, name) for name in ("SECRET", "LISTENER", "CLUSTER", "ROUTE", "ENDPOINT"))
]
NAMES = [
    NAME,
    "kubernetes://istio-system/site",
    "kubernetes://other",
    "kubernetes-gateway://istio-system/site",
    "default",
    "ROOTCA",
    "*",
    "",
    "0.0.0.0_443",
    "0.0.0.0_8443",
    "virtualInbound",
    "https.443.https.edge.default",
    "outbound|9080||reviews.default.svc.cluster.local",
]
NODES = [
    "router~10.244.0.31~edge-1.istio-system~istio-system.svc.cluster.local",
    "router~10.244.0.32~tenant-1.tenant~tenant.svc.cluster.local",
    "sidecar~10.244.0.33~neighbour-1.istio-system~istio-system.svc.cluster.local",
    "sidecar~10.244.0.32~tenant-1.tenant~tenant.svc.cluster.local",
]

GATEWAY, TENANT = peer("istio-system"), peer("tenant")

texts = st.text(max_size=30)
names = st.lists(st.sampled_from(NAMES) | texts, max_size=5)


@st.composite
def nodes(draw: st.DrawFn) -> base_pb2.Node:
    node = base_pb2.Node(id=draw(st.sampled_from(NODES) | texts), cluster=draw(texts))
    metadata = {
        "NAMESPACE": "istio-system",
        "SERVICE_ACCOUNT": "default",
        "LABELS": {"istio": "ingressgateway"},
        "GENERATOR": draw(st.sampled_from(["", "grpc", "api"])),
        draw(texts): draw(texts),
    }
    if draw(st.booleans()):
        node.metadata.update(metadata)
    return node


@st.composite
def delta(draw: st.DrawFn) -> bytes:
    message = discovery_pb2.DeltaDiscoveryRequest(
        node=draw(nodes()),
        type_url=draw(st.sampled_from(TYPES) | texts),
        resource_names_subscribe=draw(names),
        resource_names_unsubscribe=draw(names),
        response_nonce=draw(st.sampled_from(["", "1"]) | texts),
    )
    for name in draw(names):
        message.initial_resource_versions[name] = draw(texts)
    return bytes(message.SerializeToString())


@st.composite
def state_of_the_world(draw: st.DrawFn) -> bytes:
    message = discovery_pb2.DiscoveryRequest(
        node=draw(nodes()),
        type_url=draw(st.sampled_from(TYPES) | texts),
        resource_names=draw(names),
        version_info=draw(texts),
        response_nonce=draw(st.sampled_from(["", "1"]) | texts),
    )
    return bytes(message.SerializeToString())


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A message of which some bytes are others, or are missing."""
    whole = bytearray(draw(delta() | state_of_the_world()))
    for _ in range(draw(st.integers(1, 4))):
        if whole:
            place = draw(st.integers(0, len(whole) - 1))
            whole[place : place + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
    return bytes(whole)


messages = st.lists(
    st.one_of(delta(), state_of_the_world(), damaged(), st.binary(max_size=100)),
    min_size=1,
    max_size=3,
)
settled = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@dataclass
class Door:
    """A control plane that has answered the gateway already: its secrets are in every cache."""

    runner: asyncio.Runner
    plane: Plane
    hosts: Iterator[int] = field(default_factory=count)

    def send(self, who: xds.Peer, protocol: Protocol, said: list[bytes]) -> bytes:
        """All that a stream of these messages is answered."""
        written: list[bytes] = []
        left = iter(said)

        async def read() -> bytes | None:
            return next(left, None)

        async def write(body: bytes) -> None:
            written.append(body)

        # From a host of its own: that many streams of one host are refused for being so many.
        host = f"{next(self.hosts)}:1"

        async def carry() -> None:
            async with asyncio.timeout(20):
                await self.plane.server.serve(replace(who, address=host), protocol, read, write)

        with contextlib.suppress(StreamRefusedError):
            self.runner.run(carry())
        return b"".join(written)


def secrets_of(node: str) -> bytes:
    """The message by which the gateway asks for its secret."""
    message = discovery_pb2.DeltaDiscoveryRequest(
        node=base_pb2.Node(id=node),
        type_url=type_urls.SECRET,
        resource_names_subscribe=[NAME],
    )
    return bytes(message.SerializeToString())


@pytest.fixture
def door() -> Iterator[Door]:
    with asyncio.Runner() as runner:
        opened = Door(runner, Plane(*WORLD))
        said = [secrets_of(NODES[0])]
        answered = opened.send(GATEWAY, Protocol.DELTA, said)
        assert OURS.key.encode() in answered, "the owner gets its key, so others could be seen to"
        assert opened.send(TENANT, Protocol.DELTA, said) == b""
        yield opened


@settled
@given(said=messages, protocol=st.sampled_from(Protocol))
def test_a_proxy_of_another_namespace_gets_no_key(
    door: Door, said: list[bytes], protocol: Protocol
) -> None:
    answered = door.send(TENANT, protocol, said)
    assert OURS.key.encode() not in answered
    assert b"PRIVATE KEY" not in answered


@settled
@given(said=messages, protocol=st.sampled_from(Protocol))
def test_nobody_without_an_identity_gets_anything(
    door: Door, said: list[bytes], protocol: Protocol
) -> None:
    for who in (
        xds.Peer("memory:1"),
        xds.Peer("memory:1", ("spiffe://evil/ns/istio-system/sa/default",)),
        xds.Peer(
            "memory:1",
            (
                "spiffe://cluster.local/ns/istio-system/sa/default",
                "spiffe://cluster.local/ns/tenant/sa/default",
            ),
        ),
    ):
        assert door.send(who, protocol, said) == b""
    assert door.plane.server.clients() == ()
