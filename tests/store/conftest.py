from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from argosy.api.core import Service, ServiceSpec
from argosy.api.meta import Metadata, Origin
from argosy.api.registry import KINDS
from argosy.api.security import MutualTLS, PeerAuthentication, PeerAuthenticationSpec
from argosy.store.admission import KubernetesAdmission
from argosy.store.codec import MsgpackCodec
from argosy.store.journal import Journal
from argosy.store.store import Store


class FakeClock:
    """Stands still until told."""

    def __init__(self) -> None:
        self.at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    def advance(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class Objects:
    """Short ways to write objects."""

    def policy(
        self, name: str, mode: str = "STRICT", namespace: str = "default", **metadata: object
    ) -> PeerAuthentication:
        return PeerAuthentication(
            metadata=Metadata(name=name, namespace=namespace, **metadata),  # type: ignore[arg-type]  # Tests pass right fields.
            spec=PeerAuthenticationSpec(mtls=MutualTLS(mode=mode)),  # type: ignore[arg-type]  # As above.
        )

    def service(
        self,
        name: str,
        cluster_ip: str = "",
        service_type: str = "ClusterIP",
        namespace: str = "default",
    ) -> Service:
        return Service(
            metadata=Metadata(name=name, namespace=namespace),
            spec=ServiceSpec(type=service_type, cluster_ip=cluster_ip),  # type: ignore[arg-type]  # As above.
        )

    def origin(self, line: int) -> Origin:
        return Origin(file="a.yaml", line=line, fields={"spec.mtls": line + 3})


NewStore = Callable[..., Store]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def objects() -> Objects:
    return Objects()


@pytest.fixture
def new_store(clock: FakeClock) -> NewStore:
    """Makes loaded stores with Kubernetes' admission; ``path`` gives them a journal."""
    numbers = count(1)

    def make(path: Path | None = None, **options: object) -> Store:
        store = Store(
            clock=clock,
            uids=lambda: f"uid-{next(numbers)}",
            codec=MsgpackCodec({entry.kind: entry.struct for entry in KINDS}),
            journal=Journal(path) if path else None,
            admission=KubernetesAdmission({entry.kind: entry.namespaced for entry in KINDS}),
            **options,  # type: ignore[arg-type]  # Tests pass right options.
        )
        store.load()
        return store

    return make


@pytest.fixture
def store(new_store: NewStore) -> Store:
    return new_store()
