"""A pod that was taken over, with the certificate that its proxy has, against Mixer's own server.

It may tell of itself what it likes, and of nobody else: not of another workload of its namespace,
even one of the same service account.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import grpc
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from envoy.service.accesslog.v3 import als_pb2
from starlette.applications import Starlette
from structlog.testing import capture_logs

from argosy import xds
from argosy.base.clock import SystemClock
from argosy.base.log import Secret
from argosy.base.names import TrustDomain
from argosy.citadel.identity import SpiffeId, TrustDomains
from argosy.citadel.signer import create_root, private_pem, sign_workload
from argosy.mixer.caller import Guard, Judge, Rules
from argosy.mixer.control_plane import ControlPlane
from argosy.mixer.credentials import MixerCredentials
from argosy.mixer.graph import part as graph
from argosy.mixer.parts import Ground
from argosy.mixer.records import part as records
from argosy.testing.telemetry import LABELS, Export

NAME = "mixer.istio-system.svc"
DOMAIN = TrustDomain("cluster.local")
EXPORT = f"/{graph.SERVICE}/Export"
LOGS = f"/{records.SERVICE}/StreamAccessLogs"
REQUESTS = "istio.requests_total"
WEB = "web;shop;web;v1;Kubernetes;web;v1"
POD = "web-5d8f9c7b6-x2x9z"

TO_DB = {"reporter": "destination", "destination_workload_namespace": "shop"}
"""Edges to ``db`` as its own proxy would tell of them."""


class World:
    def __init__(self, directory: Path) -> None:
        self.root = create_root(DOMAIN, datetime.now(UTC))
        clock = SystemClock()
        nothing = cast(ControlPlane, None), cast(MixerCredentials, None)
        self.graph = graph.GraphPart(Ground(directory, clock, *nothing, "127.0.0.1"))
        self.records = records.Records(clock)
        parts = (self.graph, self.records)
        rules = Rules(TrustDomains(DOMAIN))
        self.server = grpc.aio.server(interceptors=(Guard(Judge(lambda: rules)),))
        self.server.add_generic_rpc_handlers(tuple(h for part in parts for h in part.handlers()))
        key, chain = self.credential("istio-system", "mixer", dns=NAME)
        own = xds.Credentials(Secret(key), chain, self.trusted)
        self.port = self.server.add_secure_port("127.0.0.1:0", xds.server_credentials(lambda: own))
        transport = httpx.ASGITransport(Starlette(routes=[r for p in parts for r in p.routes()]))
        self.people = httpx.AsyncClient(transport=transport, base_url="http://mixer")

    @property
    def trusted(self) -> bytes:
        return self.root.root.public_bytes(serialization.Encoding.PEM)

    def credential(
        self, namespace: str, account: str, facts: str = "", dns: str = ""
    ) -> tuple[bytes, bytes]:
        """Key and chain, signed as the mesh's authority signs."""
        key = ec.generate_private_key(ec.SECP256R1())
        request = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(key, hashes.SHA256())
        issued = sign_workload(
            self.root,
            request.public_bytes(serialization.Encoding.PEM).decode(),
            SpiffeId.of(DOMAIN, namespace, account),
            datetime.now(UTC),
            dns_names=(dns,) if dns else (),
            facts=facts,
        )
        return private_pem(key), issued.chain[0].encode()

    @asynccontextmanager
    async def pod(self, facts: str = WEB, account: str = "web") -> AsyncIterator["Pod"]:
        key, chain = self.credential("shop", account, facts)
        credentials = grpc.ssl_channel_credentials(self.trusted, key, chain)
        options = (("grpc.ssl_target_name_override", NAME),)
        address = f"127.0.0.1:{self.port}"
        async with grpc.aio.secure_channel(address, credentials, options) as channel:
            yield Pod(channel)

    async def get(self, path: str) -> Any:
        answer = await self.people.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def observed(self) -> list[tuple[str, str, dict[str, str]]]:
        """Who a recording says was called: what suggestions are made of."""
        items = (await self.get("/records/observed"))["items"]
        return [(one["workload"], one["serviceAccount"], one["labels"]) for one in items]


class Pod:
    """Holds the key of a proxy, and says what it likes."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def count(self, labels: dict[str, str]) -> None:
        body = Export().count(REQUESTS, 7, LABELS | labels).bytes
        await self._channel.unary_unary(EXPORT)(body, timeout=10)

    async def tell(self, *, namespace: str = "shop", **metadata: Any) -> str:
        """Of one request; the code that the stream ends with."""
        message = als_pb2.StreamAccessLogsMessage()
        message.identifier.log_name = "inbound"
        node = message.identifier.node
        node.id = f"sidecar~10.0.0.1~{POD}.{namespace}~{namespace}.svc.cluster.local"
        node.metadata.update(metadata)
        entry = message.http_logs.log_entry.add()
        entry.common_properties.start_time.GetCurrentTime()
        entry.request.path = "/"
        entry.response.response_code.value = 200
        call = self._channel.stream_unary(LOGS)(iter([message.SerializeToString()]), timeout=10)
        return str((await call.code()).name)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(world.graph.run())
        await world.server.start()
        yield world
        await world.people.aclose()
        await world.server.stop(None)
        task.cancel()


async def test_edges_of_other_workloads_are_refused_and_its_own_are_by_its_certificate(
    world: World,
) -> None:
    with capture_logs() as logs:
        async with world.pod() as pod:
            await pod.count({"source_app": "db", "source_version": "v9"})
            for lie in (
                {"source_workload": "db"},
                {"source_workload_namespace": "bank"},
                {"source_principal": "spiffe://cluster.local/ns/shop/sa/db"},
                TO_DB,
            ):
                await pod.count(lie)
    found = await world.get("/edges")
    ((edge,),) = (found["edges"],)
    assert edge["source"] == {
        "namespace": "shop", "workload": "web", "app": "web", "version": "v1",
        "principal": "spiffe://cluster.local/ns/shop/sa/web",
    }  # fmt: skip
    assert (edge["requests"], found["rejected"]) == (7, 4)
    assert [line["event"] for line in logs].count("metrics.rejected") == 1


async def test_requests_at_other_workloads_are_refused(world: World) -> None:
    await world.people.post("/records/record", json={"seconds": 60})
    told = {"NAME": POD, "LABELS": {"app": "db", "role": "frontend"}}
    with capture_logs() as logs:
        async with world.pod() as pod:
            for _ in range(3):
                assert await pod.tell(WORKLOAD_NAME="db", **told) == "PERMISSION_DENIED"
            assert await pod.tell(namespace="bank") == "PERMISSION_DENIED"
            assert await world.observed() == []
            assert await pod.tell(WORKLOAD_NAME="web", **told) == "OK"
    own = {"app": "web", "version": "v1", "role": "frontend"}
    own |= {"service.istio.io/canonical-name": "web", "service.istio.io/canonical-revision": "v1"}
    assert await world.observed() == [("web", "web", own)]
    assert (await world.get("/records/status"))["refused"] == 4
    assert [line["event"] for line in logs].count("records.refused") == 1


async def test_another_workload_of_the_same_account_is_another(world: World) -> None:
    await world.people.post("/records/record", json={"seconds": 60})
    async with world.pod("db;shop;db;v1;Kubernetes;;", account="web") as pod:
        assert await pod.tell(WORKLOAD_NAME="web") == "PERMISSION_DENIED"
        await pod.count({})
        await pod.count(TO_DB | {"destination_principal": "spiffe://cluster.local/ns/shop/sa/web"})
    ((edge,),) = ((await world.get("/edges"))["edges"],)
    destination = edge["destination"]
    assert (destination["workload"], destination["app"]) == ("db", "unknown")


async def test_what_another_signers_certificate_does_not_say_is_its_owners_word(
    world: World,
) -> None:
    """Its namespace and account are proven all the same."""
    await world.people.post("/records/record", json={"seconds": 60})
    async with world.pod(facts="") as pod:
        assert await pod.tell(WORKLOAD_NAME="web", LABELS={"app": "shop"}) == "OK"
        assert await pod.tell(namespace="bank") == "PERMISSION_DENIED"
        await pod.count({})
        await pod.count({"source_workload_namespace": "bank"})
        await pod.count({"source_principal": "spiffe://cluster.local/ns/shop/sa/db"})
    assert await world.observed() == [("web", "web", {"app": "shop"})]
    found = await world.get("/edges")
    assert ([edge["requests"] for edge in found["edges"]], found["rejected"]) == ([7], 2)


async def test_a_certificate_whose_facts_are_of_another_namespace_is_nobodys(world: World) -> None:
    async with world.pod("web;bank;web;v1;Kubernetes;web;v1") as pod:
        assert await pod.tell() == "UNAUTHENTICATED"
