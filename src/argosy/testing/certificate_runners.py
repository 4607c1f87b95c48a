"""A real authority in the place of the control plane's, and runners that ask it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509

from argosy.base.clock import SystemClock
from argosy.base.names import TrustDomain
from argosy.citadel.identity import SpiffeId
from argosy.citadel.refusal import RefusedError
from argosy.citadel.signer import Authority, create_root, pem, sign_workload
from argosy.proxy.certificates import (
    CertificateRunner,
    IssueError,
    Standing,
    fingerprint,
)
from argosy.proxy.secret_files import Roots

DOMAIN = TrustDomain("cluster.local")
REVIEWS = SpiffeId.of(DOMAIN, "default", "reviews")


class FakeAuthority:
    """The control plane's authority, as the agent reaches it; ``down`` makes it fail."""

    def __init__(self, identity: SpiffeId = REVIEWS) -> None:
        self.root: Authority = create_root(DOMAIN, datetime.now(UTC))
        self.identity = identity
        self.lifetime = timedelta(hours=24)
        self.down = False
        self.requests: list[str] = []
        self.more_roots: tuple[x509.Certificate, ...] = ()
        self.subscribers: list[Callable[[], None]] = []

    async def first(self) -> Standing:
        return self.now()

    def now(self) -> Standing:
        signs = self.root.certificate
        trusted = "".join(pem(root) for root in (*self.more_roots, self.root.root))
        version = f"{len(trusted)}-{trusted[40:80]}"
        return Standing(str(self.identity), Roots(version, trusted), fingerprint(signs))

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        self.subscribers.append(changed)
        return lambda: self.subscribers.remove(changed)

    def tell(self) -> None:
        for changed in self.subscribers:
            changed()

    async def issue(self, csr: str, signer: str = "") -> Sequence[str]:
        self.requests.append(csr)
        if self.down:
            raise IssueError("connection refused")
        try:
            now = datetime.now(UTC)
            return sign_workload(self.root, csr, self.identity, now, self.lifetime).chain
        except RefusedError as error:
            raise IssueError(error.message) from error


@asynccontextmanager
async def running(runner: CertificateRunner) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(runner.run())
        try:
            yield
        finally:
            task.cancel()


def runner_for(authority: FakeAuthority, directory: Path, *pem: Path) -> CertificateRunner:
    clock, issue = SystemClock(), authority.issue
    return CertificateRunner(authority, directory, issue, clock, jitter=lambda: 0.5, pem=pem)


def secret(directory: Path) -> dict[str, Any]:
    resources = json.loads((directory / "default.json").read_bytes())["resources"]
    found = resources[0]["tls_certificate"]
    assert isinstance(found, dict)
    return found


def leaf(directory: Path) -> x509.Certificate:
    chain = secret(directory)["certificate_chain"]["inline_string"]
    return x509.load_pem_x509_certificates(chain.encode())[0]


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  what it looks at sends no event
            await asyncio.sleep(0.01)
