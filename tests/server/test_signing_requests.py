"""Requests that signers outside take from the store: answered, refused, forgotten."""

import asyncio
import base64
import itertools
from collections.abc import Callable
from datetime import timedelta

import pytest
from msgspec import structs

from argosy.api.certificates import (
    CertificateSigningRequest,
    CertificateSigningRequestCondition,
    CertificateSigningRequestStatus,
)
from argosy.api.registry import NAMESPACED
from argosy.base.clock import SystemClock
from argosy.base.names import ObjectKey
from argosy.citadel.refusal import RefusedError
from argosy.proxy.certificates import make_request
from argosy.server.signers.requests import SigningRequests
from argosy.store.admission import KubernetesAdmission
from argosy.store.store import Store
from argosy.store.transaction import Delete, InvalidError, Put, Replace, SetStatus

FOO = "signers.example/foo"
_, CSR = make_request("spiffe://cluster.local/ns/foo/sa/default")
KIND = "CertificateSigningRequest"


class World:
    def __init__(self, seconds: float = 10) -> None:
        numbers = itertools.count()
        self.store = Store(
            clock=SystemClock(),
            uids=lambda: f"uid-{next(numbers)}",
            admission=KubernetesAdmission(NAMESPACED),
        )
        self.requests = SigningRequests(self.store, SystemClock(), timedelta(seconds=seconds))
        self.store.subscribe(self.requests.receive)

    def open(self) -> list[CertificateSigningRequest]:
        return [one for one in self.store.list(KIND) if isinstance(one, CertificateSigningRequest)]

    async def sign(self, act: Callable[[CertificateSigningRequest], None]) -> str:
        """What comes of it when somebody does ``act`` with the request."""
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(self.caught())
            await asyncio.sleep(0)
            (request,) = self.open()
            act(request)
        assert self.open() == [], "it goes away"
        return asking.result()

    async def caught(self) -> str:
        try:
            return await self.requests.sign(FOO, CSR, timedelta(hours=24))
        except RefusedError as error:
            return f"{error.code}: {error.message}"

    def status(
        self, request: CertificateSigningRequest, certificate: str = "", **more: str
    ) -> None:
        assert request.status is not None
        conditions = request.status.conditions
        if more:
            conditions = (*conditions, CertificateSigningRequestCondition(**more))
        status = CertificateSigningRequestStatus(certificate=certificate, conditions=conditions)
        self.store.apply([SetStatus(structs.replace(request, status=status))])


async def test_a_signer_finds_an_approved_request_and_its_answer_comes_back() -> None:
    world = World()

    def sign(request: CertificateSigningRequest) -> None:
        assert request.spec.signer_name == FOO
        assert base64.b64decode(request.spec.request).decode() == CSR
        assert request.spec.expiration_seconds == 86_400
        assert request.status is not None
        assert [one.type for one in request.status.conditions] == ["Approved"]
        world.status(request, base64.b64encode(b"CHAIN").decode())

    assert await world.sign(sign) == "CHAIN"


@pytest.mark.parametrize(
    ("act", "told"),
    [
        (lambda w, r: w.status(r, type="Denied", message="no"), "502: signers.example/foo denied"),
        (lambda w, r: w.status(r, type="Failed", reason="Broken"), "failed to sign the request: B"),
        (lambda w, r: w.status(r, certificate="!"), "is no PEM text in base64"),
        (lambda w, r: w.status(r, certificate="A" * 300_000), "too large"),
        (lambda w, r: w.store.apply([Delete(r.key)]), "502: the request was deleted"),
    ],
)
async def test_what_a_signer_may_answer_instead(
    act: Callable[[World, CertificateSigningRequest], None], told: str
) -> None:
    world = World()
    assert told in await world.sign(lambda request: act(world, request))


async def test_nobody_waits_for_ever() -> None:
    world = World(seconds=0.05)
    told = await world.sign(lambda _: None)
    assert told.startswith("504: signers.example/foo did not sign csr-workload-")


def written(name: str, **metadata: dict[str, str]) -> CertificateSigningRequest:
    """As somebody writes it who says that it is approved."""
    bare = CertificateSigningRequest()
    approved = CertificateSigningRequestCondition(type="Approved")
    return structs.replace(
        bare,
        metadata=structs.replace(bare.metadata, name=name, **metadata),
        spec=structs.replace(bare.spec, signer_name=FOO),
        status=CertificateSigningRequestStatus(conditions=(approved,)),
    )


def test_nobody_brings_an_approval_and_nobody_changes_what_was_approved() -> None:
    world = World()
    world.store.apply([Put(written("a"))])
    (found,) = world.open()
    assert found.status is None
    world.store.apply([SetStatus(written("a"))])
    changed = structs.replace(found, spec=structs.replace(found.spec, signer_name="other/x"))
    changed = structs.replace(changed, metadata=written("a").metadata)
    with pytest.raises(InvalidError):
        world.store.apply([Replace(changed)])
    world.store.apply([Replace(structs.replace(written("a"), status=None))])
    assert world.open()[0].status is not None, "nor takes it away"


def test_requests_of_a_control_plane_that_is_gone_go_away() -> None:
    world = World()
    world.store.apply(
        [
            Put(written("old", labels={"argosy.dev/requested-by": "control-plane"})),
            Put(written("a")),
        ]
    )
    world.requests.begin()
    assert [one.key for one in world.open()] == [
        ObjectKey(KIND, world.open()[0].key.namespace, "a")
    ]
