"""The agent's part of a workload's certificate: make the key, have it signed, keep it fresh.

The key is made here and leaves only in the file that this workload's Envoy reads; the authority
sees a request with the public key. ``certificate_plan`` decides, this file acts. Whom the workload
trusts is written beside it, before any certificate is.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Never, Protocol

import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from argosy.base.clock import Clock
from argosy.base.log import Secret
from argosy.proxy.certificate_plan import (
    Answered,
    Certificate,
    CertificatePlan,
    Event,
    Failed,
    Install,
    Installed,
    RenewalWanted,
    Request,
    Started,
    Tick,
    Wait,
)
from argosy.proxy.secret_files import (
    KeyPair,
    Roots,
    read_key_pair,
    versions_of,
    write_certificate,
    write_pem,
    write_pem_roots,
    write_roots,
)

REQUEST_TIMEOUT = 30.0
"""Seconds that the authority may take to answer; another than the mesh's may take 20."""

LONGEST_SLEEP = 30.0
"""Seconds between looks at the wall clock, which may be set, or jump after a suspend."""

_RETRY_SECONDS = 1.0

Issue = Callable[[str, str], Awaitable[Sequence[str]]]
"""A signing request (PEM), for a signer, to its chain (PEM): leaf first, root last.

Raises ``IssueError``.
"""

_log = structlog.get_logger()


class IssueError(Exception):
    """The authority did not sign; the message says why. It is asked again."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What holds for a workload now: its SPIFFE id, whom it trusts, and who signs.

    ``issuer`` is the SHA-256 fingerprint of the certificate that signs, in hexadecimal; empty where
    another than the mesh signs. ``signer`` is the name of that one; empty: it signs for all.
    """

    identity: str
    roots: Roots
    issuer: str
    signer: str = ""


class Watched(Protocol):
    """The standing of one workload, which may change."""

    async def first(self) -> Standing:
        """As soon as it is known."""
        ...

    def now(self) -> Standing:
        """Only after ``first`` has returned."""
        ...

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call ``changed`` after each change, until what is returned is called."""
        ...


@dataclass(frozen=True, slots=True)
class CertificateState:
    """For the agent's status. ``certificate`` is None until the first one is installed.

    ``signer`` is the name of who signed it, empty for whoever signs for all; ``secrets`` are the
    versions in the files that say whom to trust, by the names of the secrets.

    ``issuer`` is the fingerprint of who signed it; ``roots`` the version of those that were
    written last; ``written`` is when (monotonic seconds) a file was written last.
    """

    identity: str
    certificate: Certificate | None
    issuer: str
    roots: str
    written: float
    renew_at: datetime | None
    failures: int
    last_failure: str
    signer: str = ""
    secrets: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Signed:
    certificate: Certificate
    pair: KeyPair
    issuer: str
    identity: str
    root: str


class CertificateRunner:
    """Keeps the certificate of one workload in ``directory`` (Envoy's ``certs``).

    ``pem`` are directories that have it as PEM files too.
    """

    def __init__(
        self,
        watched: Watched,
        directory: Path,
        issue: Issue,
        clock: Clock,
        *,
        jitter: Callable[[], float] = random.random,
        pem: Sequence[Path] = (),
    ) -> None:
        self._watched = watched
        self._directory = directory
        self._issue = issue
        self._clock = clock
        self._jitter = jitter
        self._pem = tuple(pem)
        self._plan = CertificatePlan()
        self._signed: _Signed | None = None
        self._installed = asyncio.Event()
        self._wanted = asyncio.Event()
        self._moved = asyncio.Event()
        self._identity = ""
        self._issuer = ""
        self._signer = ""
        self._root = ""
        self._seen: Standing | None = None
        self._roots: Roots | None = None
        self._written = 0.0
        self._log = _log

    @property
    def state(self) -> CertificateState:
        plan = self._plan
        return CertificateState(
            self._identity,
            plan.held,
            self._issuer,
            self._roots.version if self._roots is not None else "",
            self._written,
            plan.renew_at,
            plan.failures,
            plan.last_failure,
            self._signer,
            versions_of(self._roots) if self._roots is not None else {},
        )

    async def ready(self) -> None:
        """Wait until Envoy may start: a certificate is in its place, and whom to trust."""
        await self._installed.wait()

    def renew(self) -> None:
        """Get a new certificate now."""
        self._wanted.set()

    async def run(self) -> Never:
        """Keep the certificate fresh until cancelled."""
        standing = await self._watched.first()
        self._log = _log.bind(identity=standing.identity)
        stop = self._watched.subscribe(self._moved.set)
        try:
            await self._keep(standing)
        finally:
            stop()
        raise AssertionError("it is kept for ever")

    async def _keep(self, standing: Standing) -> None:
        while not await self._write_roots(standing):  # noqa: ASYNC110  (a disk sends no event)
            await asyncio.sleep(_RETRY_SECONDS)
        held = await asyncio.to_thread(self._left_from_before, standing)
        event: Event = Started(held, self._jitter())
        while True:
            commands = self._plan.handle(event, self._clock.now())
            if self._plan.held is not None and isinstance(event, Started):
                self._installed.set()
            event = Tick()
            for command in commands:
                match command:
                    case Install():
                        event = await self._install()
                    case Request():
                        event = await self._request()
                    case Wait(until):
                        event = await self._wait(until)

    async def _request(self) -> Event:
        standing = self._watched.now()
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                key, csr = await asyncio.to_thread(make_request, standing.identity)
                chain = await self._issue(csr, standing.signer)
                self._signed = _checked(chain, key, standing)
        except TimeoutError:
            reason = f"no answer in {REQUEST_TIMEOUT:.0f} s"
        except (IssueError, OSError) as error:
            reason = str(error) or type(error).__name__
        else:
            return Answered(self._signed.certificate, self._jitter())
        self._log.warning("certificate.failed", reason=reason, attempt=self._plan.failures + 1)
        return Failed(reason, self._jitter())

    async def _install(self) -> Event:
        signed, self._signed = self._signed, None
        assert signed is not None, "installed before it was answered"
        serial = signed.certificate.serial
        try:
            for directory in self._pem:
                await asyncio.to_thread(write_pem, directory, signed.pair)
            await asyncio.to_thread(write_certificate, self._directory, signed.pair, serial)
        except OSError as error:
            self._log.warning("certificate.not-written", reason=str(error))
            return Failed(f"the files were not written: {error}", self._jitter())
        self._identity, self._issuer = signed.identity, signed.issuer
        self._signer, self._root = signed.pair.signer, signed.root
        self._written = self._clock.monotonic()
        self._installed.set()
        self._log.info(
            "certificate.installed",
            serial=serial,
            expires=signed.certificate.not_after.isoformat(),
        )
        return Installed(signed.certificate, self._jitter())

    async def _wait(self, until: datetime) -> Event:
        if self._moved.is_set() or self._watched.now() != self._seen:
            self._moved.clear()
            if await self._follow():
                return RenewalWanted()
        seconds = (until - self._clock.now()).total_seconds()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(seconds, LONGEST_SLEEP))):
                await _either(self._wanted, self._moved)
        if self._wanted.is_set():
            self._wanted.clear()
            return RenewalWanted()
        return Tick()

    async def _follow(self) -> bool:
        """Take in what has changed; whether the certificate must be another one."""
        standing = self._seen = self._watched.now()
        if not await self._write_roots(standing):
            await asyncio.sleep(_RETRY_SECONDS)
            self._moved.set()
            return False
        return self._plan.held is not None and not self._fits(standing)

    def _fits(self, standing: Standing) -> bool:
        """Whether the certificate is one that the workload would get now."""
        if (self._identity, self._signer) != (standing.identity, standing.signer):
            return False
        if standing.issuer:
            return self._issuer == standing.issuer
        return self._root in _fingerprints(standing.roots.of_peers)

    async def _write_roots(self, standing: Standing) -> bool:
        roots = standing.roots
        if roots == self._roots:
            return True
        try:
            for directory in self._pem:
                await asyncio.to_thread(write_pem_roots, directory, roots)
            await asyncio.to_thread(write_roots, self._directory, roots)
        except OSError as error:
            self._log.warning("roots.not-written", reason=str(error))
            return False
        self._roots = roots
        self._written = self._clock.monotonic()
        return True

    def _left_from_before(self, standing: Standing) -> Certificate | None:
        """What an earlier run left, if it is still what the workload should have."""
        pair = read_key_pair(self._directory)
        if pair is None:
            return None
        try:
            chain = x509.load_pem_x509_certificates("".join(pair.chain).encode())
            key = serialization.load_pem_private_key(bytes(pair.key), password=None)
            leaf = chain[0]
            if key.public_key() != leaf.public_key() or _names(leaf) != [standing.identity]:
                return None
            signed_by = fingerprint(chain[1]) if len(chain) > 1 else standing.issuer
        except (ValueError, TypeError, UnsupportedAlgorithm):
            return None
        self._identity, self._issuer = standing.identity, signed_by
        self._signer, self._root = pair.signer, fingerprint(chain[-1])
        if not self._fits(standing):
            self._identity = self._issuer = self._signer = self._root = ""
            return None
        try:
            for directory in self._pem:
                write_pem(directory, pair)
        except OSError as error:
            self._log.warning("certificate.not-written", reason=str(error))
            return None
        return _certificate(leaf)


async def _either(first: asyncio.Event, second: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(first.wait()), tasks.create_task(second.wait())]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()


def make_request(identity: str) -> tuple[ec.EllipticCurvePrivateKey, str]:
    """A new P-256 key, and the request (PEM) to certify it. 0.1 ms."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)])
    builder = x509.CertificateSigningRequestBuilder(
        subject_name=x509.Name([]), extensions=[x509.Extension(names.oid, False, names)]
    )
    csr = builder.sign(key, hashes.SHA256())
    return key, csr.public_bytes(serialization.Encoding.PEM).decode()


def fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def _fingerprints(roots: str) -> frozenset[str]:
    """Of none, or of several in PEM."""
    return frozenset(
        map(fingerprint, x509.load_pem_x509_certificates(roots.encode()) if roots else ())
    )


def _checked(chain: Sequence[str], key: ec.EllipticCurvePrivateKey, standing: Standing) -> _Signed:
    """The answer, if it is what was asked for. Raises ``IssueError``."""
    identity = standing.identity
    if len(chain) < 2:
        raise IssueError("the answer must hold a certificate and a root")
    try:
        leaf = x509.load_pem_x509_certificate(chain[0].encode())
        issuers = [x509.load_pem_x509_certificates(text.encode())[0] for text in chain[1:]]
        names = _names(leaf)
    except ValueError as error:
        raise IssueError(f"the answer holds no certificates: {error}") from error
    if leaf.public_key() != key.public_key():
        raise IssueError("the answer certifies another key")
    if names != [identity]:
        raise IssueError(f"the answer certifies {names}, not {identity}")
    form = (
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    # The root goes with it, as Istio's proxies show it; clients do not need it and ignore it.
    chain = tuple(map(_line_end, chain))
    pair = KeyPair(Secret(key.private_bytes(*form)), chain, standing.signer)
    return _Signed(
        _certificate(leaf),
        pair,
        fingerprint(issuers[0]),
        identity,
        fingerprint(issuers[-1]),
    )


def _line_end(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"


def _names(leaf: x509.Certificate) -> list[str]:
    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return extension.value.get_values_for_type(x509.UniformResourceIdentifier)


def _certificate(leaf: x509.Certificate) -> Certificate:
    serial = f"{leaf.serial_number:x}"
    return Certificate(serial, leaf.not_valid_before_utc, leaf.not_valid_after_utc)
