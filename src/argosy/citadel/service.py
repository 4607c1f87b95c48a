"""The issuing service: who calls, may it, sign, remember. What the HTTP API stands on."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog
from cryptography import x509

from argosy.base.clock import Clock
from argosy.citadel.identity import Caller, SpiffeId, TrustDomains, caller_by_certificate
from argosy.citadel.limit import RateLimit
from argosy.citadel.refusal import RefusedError
from argosy.citadel.signer import (
    WORKLOAD_LIFETIME,
    Authority,
    Credential,
    Issued,
    server_credential,
    sign_workload,
)
from argosy.citadel.tokens import TokenAuthority, WorkloadToken

BURST = 10
"""Certificates that one workload may have at once ..."""

INTERVAL = 10.0
"""... and then one each so many seconds. A healthy workload asks twice a day."""

LOG_SIZE = 10_000
"""Workloads whose last certificate is remembered."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CertificateRecord:
    """The certificate that a workload got last. ``serial`` is lower-case hexadecimal."""

    identity: SpiffeId
    pod: str
    serial: str
    issued: datetime
    expires: datetime


class CertificateService:
    """Signs for callers that prove an identity of this mesh.

    ``trusted`` are the mesh's trust domains at the moment.
    ``is_current`` says whether the pod of a token still exists; a token outlives its pod.
    All methods belong to the event loop; only the signing itself leaves it.
    """

    def __init__(
        self,
        authority: Authority,
        tokens: TokenAuthority,
        trusted: Callable[[], TrustDomains],
        clock: Clock,
        *,
        lifetime: timedelta = WORKLOAD_LIFETIME,
        is_current: Callable[[WorkloadToken], bool] = lambda _: True,
    ) -> None:
        self.authority = authority
        self._tokens = tokens
        self._trusted = trusted
        self._clock = clock
        self._lifetime = lifetime
        self._is_current = is_current
        self._limit = RateLimit(BURST, INTERVAL)
        self._records: OrderedDict[tuple[SpiffeId, str], CertificateRecord] = OrderedDict()

    async def issue(self, csr: str, proof: str | x509.Certificate) -> tuple[str, ...]:
        """The chain in PEM, leaf first and root last.

        ``proof`` is a workload token, or the client's certificate that TLS has verified. Raises
        ``RefusedError``.
        """
        caller = self.authenticate(proof)
        wait = self._limit.admit((caller.identity, caller.pod), self._clock.monotonic())
        if wait:
            _log.warning("certificate.limited", identity=str(caller.identity), pod=caller.pod)
            raise RefusedError(
                429, f"{caller.identity} asks for certificates too often: wait {wait:.0f} s"
            )
        now = self._clock.now()
        identity = replace(caller.identity, trust_domain=self._trusted().own)
        issued = await asyncio.to_thread(
            sign_workload, self.authority, csr, identity, now, self._lifetime
        )
        self._remember(replace(caller, identity=identity), issued, now)
        return issued.chain

    def authenticate(self, proof: str | x509.Certificate) -> Caller:
        """Who holds this token or certificate; ``RefusedError`` (401) for nobody of ours."""
        if isinstance(proof, x509.Certificate):
            if proof.not_valid_after_utc <= self._clock.now():
                raise RefusedError(401, "the client's certificate has expired")
            return caller_by_certificate(proof, self._trusted())
        token = self._tokens.verify(proof, self._clock.now())
        if token.pod and not self._is_current(token):
            raise RefusedError(401, f"the token's pod {token.namespace}/{token.pod} is gone")
        return token.caller(self._trusted().own)

    def issue_token(
        self,
        namespace: str,
        service_account: str,
        *,
        pod: str = "",
        pod_uid: str = "",
        audiences: Sequence[str] = (),
        lifetime: timedelta = timedelta(hours=1),
    ) -> tuple[str, datetime]:
        """A workload token and its end. The caller of this must have proved to be a node."""
        try:
            identity = SpiffeId.of(self._trusted().own, namespace, service_account)
        except ValueError as error:
            raise RefusedError(400, str(error)) from error
        return self._tokens.issue(
            identity,
            self._clock.now(),
            pod=pod,
            pod_uid=pod_uid,
            audiences=audiences,
            lifetime=lifetime,
        )

    def records(self) -> tuple[CertificateRecord, ...]:
        """The last certificate of each workload, the latest issue last."""
        return tuple(self._records.values())

    def _remember(self, caller: Caller, issued: Issued, now: datetime) -> None:
        record = CertificateRecord(
            caller.identity, caller.pod, f"{issued.serial:x}", now, issued.not_after
        )
        key = (caller.identity, caller.pod)
        self._records[key] = record
        self._records.move_to_end(key)
        if len(self._records) > LOG_SIZE:
            self._records.popitem(last=False)
        _log.info(
            "certificate.issued",
            identity=str(record.identity),
            pod=record.pod,
            serial=record.serial,
            expires=record.expires.isoformat(),
            proof=caller.proof.value,
        )


class ServerCertificate:
    """The control plane's own certificate, renewed in its half life; ask at each handshake."""

    def __init__(self, authority: Authority, names: Sequence[str], clock: Clock) -> None:
        self._authority = authority
        self._names = tuple(names)
        self._clock = clock
        self._credential: Credential | None = None

    def current(self) -> Credential:
        """The same object until it is renewed."""
        now = self._clock.now()
        held = self._credential
        if held is None or now >= _half_life(held.issued):
            held = self._credential = server_credential(self._authority, self._names, now)
            _log.info("server-certificate.made", serial=f"{held.issued.serial:x}")
        return held


def _half_life(issued: Issued) -> datetime:
    return issued.not_before + (issued.not_after - issued.not_before) / 2
