"""The HTTP API around a real store, with scripted neighbours."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from argosy.api.registry import KINDS
from argosy.base.names import ObjectKey
from argosy.base.problems import Problem
from argosy.citadel.reports import CertificateReport
from argosy.citadel.trust import TrustDocument
from argosy.server.access_tokens import KeptTokens
from argosy.server.http.app import create_app
from argosy.server.http.services import (
    Actor,
    ApiServices,
    CertificateOverview,
    Distribution,
    IssuedToken,
    ProxyStatus,
    RefusedError,
    Rejection,
    Role,
    RotationStatus,
    Spread,
    TokenRequest,
    TypeState,
)
from argosy.store.admission import KubernetesAdmission
from argosy.store.store import Store

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class StandingClock:
    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0


@dataclass
class Neighbours:
    """Authenticator and all providers; what they were asked is kept."""

    found: dict[ObjectKey, tuple[Problem, ...]] = field(default_factory=dict)
    spreads: dict[ObjectKey, Spread] = field(default_factory=dict)
    waiting: str = ""
    asked: list[object] = field(default_factory=list)

    def authenticate(self, token: str) -> Actor | None:
        actors = {
            "admin-token": Actor("admin", frozenset({Role.ADMIN})),
            "mixer-token": Actor("mixer", frozenset({Role.MIXER})),
            "node-token": Actor("node", frozenset({Role.NODE})),
            "nobody-token": Actor("nobody", frozenset()),
            "view-token": Actor("vera", frozenset({Role.VIEW})),
            "edit-token": Actor("ed", frozenset({Role.EDIT})),
            "shop-view": Actor("sven", frozenset({Role.VIEW}), "shop"),
            "shop-edit": Actor("ana", frozenset({Role.EDIT}), "shop"),
            "shop-admin": Actor("ada", frozenset({Role.ADMIN}), "shop"),
            "system-edit": Actor("sid", frozenset({Role.EDIT}), "istio-system"),
        }
        return actors.get(token)

    def proxies(self) -> Sequence[ProxyStatus]:
        types = {"CDS": TypeState("SYNCED", "a1", "a1")}
        return [ProxyStatus("web", "default", "sidecar", "spiffe://x", "now", types)]

    async def distribution(self, revision: int, timeout_seconds: float) -> Distribution:
        self.asked.append((revision, timeout_seconds))
        return Distribution(3, 2, (Rejection("web.default", "RDS", "no"),), (), 41.0)

    def status(self) -> dict[str, object]:
        return {"proxies": 1}

    def ready(self) -> str:
        return self.waiting

    def addresses(self, key: ObjectKey) -> tuple[str, ...]:
        return ()

    def problems(self, key: ObjectKey) -> tuple[Problem, ...]:
        return self.found.get(key, ())

    def problems_of_many(self, keys: Sequence[ObjectKey]) -> dict[ObjectKey, tuple[Problem, ...]]:
        return {key: self.problems(key) for key in keys}

    def spread(self, key: ObjectKey) -> Spread | None:
        return self.spreads.get(key)


class Certificates:
    async def issue(self, csr: str, token: str, signer: str = "") -> tuple[str, ...]:
        if token != "workload-token":
            raise RefusedError(403, "this token proves nothing")
        return (f"leaf for {csr}", "root")

    async def issue_to_mixer(self, csr: str) -> tuple[str, ...]:
        return (f"mixer's leaf for {csr}", "root")


@dataclass
class Tokens:
    asked: list[TokenRequest] = field(default_factory=list)

    def issue(self, request: TokenRequest) -> IssuedToken:
        self.asked.append(request)
        return IssuedToken("jwt", NOW + timedelta(seconds=request.expiration_seconds))


class Trusts:
    """A mesh whose root is never rotated."""

    def __init__(self) -> None:
        self.reports: list[CertificateReport] = []

    async def document(self, version: str, seconds: float) -> TrustDocument:
        return TrustDocument("v1", "b1", "i1", "cluster.local", "roots")

    def report(self, reports: Sequence[CertificateReport]) -> None:
        self.reports += reports

    def overview(self) -> CertificateOverview:
        return CertificateOverview("cluster.local", (), "", False, "roots", False, (), (), ())

    def rotation(self) -> RotationStatus:
        return RotationStatus(False, "", (), "old", "", "", "", ())

    def rotate(self, *, dry_run: bool) -> RotationStatus:
        if not dry_run:
            raise RefusedError(409, "the root is plugged in")
        return self.rotation()


class Counted:
    def text(self) -> bytes:
        return b"# TYPE pilot_xds gauge\npilot_xds 0.0\n"


@pytest.fixture
def store() -> Store:
    numbers = count(1)
    return Store(
        clock=StandingClock(),
        uids=lambda: f"uid-{next(numbers)}",
        admission=KubernetesAdmission({entry.kind: entry.namespaced for entry in KINDS}),
        history=50,
    )


@pytest.fixture
def neighbours() -> Neighbours:
    return Neighbours()


@pytest.fixture
def tokens() -> Tokens:
    return Tokens()


@pytest.fixture
def trusts() -> Trusts:
    return Trusts()


@pytest.fixture
def services(
    store: Store, neighbours: Neighbours, tokens: Tokens, trusts: Trusts, tmp_path: Path
) -> ApiServices:
    return ApiServices(
        store=store,
        authenticator=neighbours,
        proxies=neighbours,
        problems=neighbours,
        certificates=Certificates(),
        tokens=tokens,
        trust=trusts,
        access=KeptTokens(tmp_path / "tokens.json", StandingClock()),
        metrics=Counted(),
        clock=StandingClock(),
        version="0.1.0",
    )


@pytest.fixture
def app(services: ApiServices) -> Starlette:
    return create_app(services)


@pytest.fixture
async def api(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the admin's token."""
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://argosy",
        headers={"Authorization": "Bearer admin-token"},
    ) as client:
        yield client
