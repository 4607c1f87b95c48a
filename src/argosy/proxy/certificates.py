"""The agent's part of a workload's certificate: make the key, have it signed, keep it fresh.

The key is made here and leaves only in the file that this workload's Envoy reads; the authority
sees a request with the public key. ``certificate_plan`` decides, this file acts.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Never

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
from argosy.proxy.secret_files import KeyPair, read_key_pair, write_pem, write_secrets

REQUEST_TIMEOUT = 10.0
"""Seconds that the authority may take to answer."""

LONGEST_SLEEP = 30.0
"""Seconds between looks at the wall clock, which may be set, or jump after a suspend."""

Issue = Callable[[str], Awaitable[Sequence[str]]]
"""A signing request (PEM) to its chain (PEM): leaf first, root last. Raises ``IssueError``."""

_log = structlog.get_logger()


class IssueError(Exception):
    """The authority did not sign; the message says why. It is asked again."""


@dataclass(frozen=True, slots=True)
class CertificateState:
    """For the agent's status. ``certificate`` is None until the first one is installed."""

    certificate: Certificate | None
    renew_at: datetime | None
    failures: int
    last_failure: str


@dataclass(frozen=True, slots=True)
class _Signed:
    certificate: Certificate
    pair: KeyPair
    roots: tuple[str, ...]


class CertificateRunner:
    """Keeps the certificate of one workload in ``directory`` (Envoy's ``certs``).

    ``identity`` is the SPIFFE id that a new certificate must carry. ``pem``: also as PEM files.
    """

    def __init__(
        self,
        identity: Callable[[], str],
        directory: Path,
        issue: Issue,
        clock: Clock,
        *,
        jitter: Callable[[], float] = random.random,
        pem: bool = False,
    ) -> None:
        self._identity = identity
        self._directory = directory
        self._issue = issue
        self._clock = clock
        self._jitter = jitter
        self._pem = pem
        self._plan = CertificatePlan()
        self._signed: _Signed | None = None
        self._installed = asyncio.Event()
        self._wanted = asyncio.Event()
        self._log = _log.bind(identity=identity())

    @property
    def state(self) -> CertificateState:
        plan = self._plan
        return CertificateState(plan.held, plan.renew_at, plan.failures, plan.last_failure)

    async def ready(self) -> None:
        """Wait until Envoy may start: a certificate is in its place."""
        await self._installed.wait()

    def renew(self) -> None:
        """Get a new certificate now."""
        self._wanted.set()

    async def run(self) -> Never:
        """Keep the certificate fresh until cancelled."""
        held = await asyncio.to_thread(self._left_from_before)
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
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                identity = self._identity()
                key, csr = await asyncio.to_thread(make_request, identity)
                self._signed = _checked(await self._issue(csr), key, identity)
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
            if self._pem:
                await asyncio.to_thread(write_pem, self._directory, signed.pair, signed.roots)
            await asyncio.to_thread(
                write_secrets, self._directory, signed.pair, signed.roots, serial
            )
        except OSError as error:
            self._log.warning("certificate.not-written", reason=str(error))
            return Failed(f"the files were not written: {error}", self._jitter())
        self._installed.set()
        self._log.info(
            "certificate.installed",
            serial=serial,
            expires=signed.certificate.not_after.isoformat(),
        )
        return Installed(signed.certificate, self._jitter())

    async def _wait(self, until: datetime) -> Event:
        seconds = (until - self._clock.now()).total_seconds()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(seconds, LONGEST_SLEEP))):
                await self._wanted.wait()
        if self._wanted.is_set():
            self._wanted.clear()
            return RenewalWanted()
        return Tick()

    def _left_from_before(self) -> Certificate | None:
        pair = read_key_pair(self._directory)
        if pair is None:
            return None
        try:
            leaf = x509.load_pem_x509_certificates("".join(pair.chain).encode())[0]
            key = serialization.load_pem_private_key(bytes(pair.key), password=None)
            if key.public_key() == leaf.public_key() and _names(leaf) == [self._identity()]:
                return _certificate(leaf)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            pass
        return None


def make_request(identity: str) -> tuple[ec.EllipticCurvePrivateKey, str]:
    """A new P-256 key, and the request (PEM) to certify it. 0.1 ms."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)])
    builder = x509.CertificateSigningRequestBuilder(
        subject_name=x509.Name([]), extensions=[x509.Extension(names.oid, False, names)]
    )
    csr = builder.sign(key, hashes.SHA256())
    return key, csr.public_bytes(serialization.Encoding.PEM).decode()


def _checked(chain: Sequence[str], key: ec.EllipticCurvePrivateKey, identity: str) -> _Signed:
    """The answer, if it is what was asked for. Raises ``IssueError``."""
    if len(chain) < 2:
        raise IssueError("the answer must hold a certificate and a root")
    try:
        leaf = x509.load_pem_x509_certificate(chain[0].encode())
        for text in chain[1:]:
            x509.load_pem_x509_certificates(text.encode())
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
    pair = KeyPair(Secret(key.private_bytes(*form)), tuple(map(_line_end, chain[:-1])))
    return _Signed(_certificate(leaf), pair, (_line_end(chain[-1]),))


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
