"""What the HTTP API needs from the rest of the control plane.

The composition root fills in :class:`ApiServices`. Everything here is called on the event loop:
a plain method must be quick (well under a millisecond), whatever waits is async.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol

import msgspec
from opentelemetry.trace import NoOpTracer, Tracer

from argosy.api.shared_limits import LimitsDocument
from argosy.base.clock import Clock
from argosy.base.names import ObjectKey
from argosy.base.problems import Problem
from argosy.citadel.reports import CertificateReport
from argosy.citadel.trust import TrustDocument
from argosy.store.store import Store


class Role(Enum):
    """What its holder may do; ``auth`` has the rules.

    NODE reads, and writes what a kubelet and its controllers write. MIXER reads what VIEW reads,
    and gets Mixer's certificate.
    """

    VIEW = "view"
    EDIT = "edit"
    ADMIN = "admin"
    NODE = "node"
    MIXER = "mixer"


@dataclass(frozen=True, slots=True)
class Actor:
    """An authenticated caller; ``name`` is for logs. ``namespace`` empty: in the whole mesh."""

    name: str
    roles: frozenset[Role]
    namespace: str = ""

    def __str__(self) -> str:
        roles = " and ".join(sorted(role.value for role in self.roles)) or "none"
        where = f" in namespace {self.namespace}" if self.namespace else ""
        return f"{self.name} (role {roles}{where})"


class Authenticator(Protocol):
    """Who holds this bearer token? None for nobody. Must compare in constant time."""

    def authenticate(self, token: str) -> Actor | None: ...


class RefusedError(Exception):
    """A provider refuses a request. ``code`` is 400, 401, 403, 404, 409, 429 or 503."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Cause(msgspec.Struct, frozen=True):
    """The object, and the line of its file, that made a proxy reject its configuration."""

    object: str
    file: str = ""
    line: int = 0


class Rejection(msgspec.Struct, frozen=True):
    """A NACK. ``message`` is Envoy's words; ``type`` is CDS, EDS, LDS, RDS, SDS ..."""

    proxy: str
    type: str
    message: str
    causes: tuple[Cause, ...] = ()


class Distribution(msgspec.Struct, frozen=True):
    """How far a revision got: counts of proxies, and the names of those still to answer."""

    touched: int
    acknowledged: int
    rejected: tuple[Rejection, ...] = ()
    pending: tuple[str, ...] = ()
    milliseconds: float = 0.0


class TypeState(msgspec.Struct, frozen=True, rename="camel"):
    """One xDS type of one proxy; ``state`` is SYNCED, STALE, NACK or NOT SENT."""

    state: str
    version: str = ""
    acked_version: str = ""
    error: str = ""


class ProxyCertificate(msgspec.Struct, frozen=True):
    """The certificate a proxy connected with; ``expires`` is RFC 3339."""

    serial: str
    expires: str


class ProxyStatus(msgspec.Struct, frozen=True):
    """One proxy. ``types`` is keyed by the short name of the xDS type."""

    name: str
    namespace: str
    type: str
    identity: str
    connected: bool
    types: dict[str, TypeState]
    certificate: ProxyCertificate | None = None
    version: str = ""
    mtls: str = ""
    """What the workload demands of its callers (PERMISSIVE ...); empty for a gateway."""


class ProxyProvider(Protocol):
    """What the control plane knows of its proxies."""

    def proxies(self) -> Sequence[ProxyStatus]: ...

    async def distribution(self, revision: int, timeout_seconds: float) -> Distribution:
        """Wait until every proxy that the revision touches answered, or the time is over."""
        ...

    def status(self) -> dict[str, object]:
        """Facts of the control plane, JSON-like: uptime, counts, certificate authority ..."""
        ...

    def ready(self) -> str:
        """Empty when the control plane serves proxies, else what it is waiting for."""
        ...


REJECTED_BY_PROXY = "RejectedByProxy"
"""The code of a problem that is what proxies have answered to what was made from an object."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How far the present version of one object got. ``rejected`` holds one text per NACK."""

    touched: int
    acknowledged: int
    rejected: tuple[str, ...] = ()


class ProblemProvider(Protocol):
    """What the compilers and the proxies say about an object."""

    def problems(self, key: ObjectKey) -> tuple[Problem, ...]: ...

    def problems_of_many(
        self, keys: Sequence[ObjectKey]
    ) -> Mapping[ObjectKey, tuple[Problem, ...]]:
        """As ``problems``; what they share is computed once."""
        ...

    def addresses(self, key: ObjectKey) -> tuple[str, ...]:
        """Of the gateway that serves an Ingress; none when nobody does."""
        ...

    def spread(self, key: ObjectKey) -> Spread | None:
        """None when it is not known."""
        ...


class CertificateIssuer(Protocol):
    """Signs for the identity that the workload token proves; raises :class:`RefusedError`."""

    async def issue(self, csr: str, token: str, signer: str = "") -> tuple[str, ...]:
        """PEM in; the chain in PEM out, leaf first and root last. ``signer`` empty: of the mesh."""
        ...

    async def issue_to_mixer(self, csr: str) -> tuple[str, ...]:
        """The same for Mixer, whom the caller has authenticated."""
        ...


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """For whom a workload token is wanted. Empty ``audiences`` means the issuer's default."""

    namespace: str
    service_account: str
    pod: str = ""
    audiences: tuple[str, ...] = ()
    expiration_seconds: int = 3600


@dataclass(frozen=True, slots=True)
class IssuedToken:
    token: str
    expires: datetime

    def __repr__(self) -> str:
        return f"IssuedToken([redacted], expires={self.expires!r})"


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A bearer token of the API, without itself. ``namespace`` empty: in the whole mesh."""

    name: str
    role: Role
    namespace: str
    created: datetime
    expires: datetime


class AccessTokens(Protocol):
    """The API's own tokens; raises :class:`RefusedError`."""

    def create(
        self, name: str, role: Role, namespace: str, lifetime: timedelta
    ) -> tuple[str, AccessToken]:
        """The token itself is shown this once: only its digest is kept."""
        ...

    def list(self) -> Sequence[AccessToken]:
        """Those in force, by name."""
        ...

    def revoke(self, name: str) -> None: ...


class TokenIssuer(Protocol):
    """Makes workload tokens; raises :class:`RefusedError`."""

    def issue(self, request: TokenRequest) -> IssuedToken: ...


class AuthorityCertificate(msgspec.Struct, frozen=True, rename="camel"):
    """A root or an intermediate. ``signs``: workloads' certificates. Times are RFC 3339."""

    subject: str
    root: bool
    signs: bool
    serial: str
    fingerprint: str
    not_before: str
    not_after: str
    pem: str


class WorkloadCertificate(msgspec.Struct, frozen=True):
    """``issuer`` and ``root`` are names, empty for what this mesh knows no more.

    Of a certificate that another signed, ``issuer`` is the signer.
    """

    report: CertificateReport
    issuer: str
    root: str


class CertificateWarning(msgspec.Struct, frozen=True):
    """``level`` is notice, warning or error."""

    level: str
    about: str
    message: str


class CertificateOverview(msgspec.Struct, frozen=True, rename="camel"):
    """``address`` is the certificate service's; ``roots`` are PEM."""

    trust_domain: str
    trust_domain_aliases: tuple[str, ...]
    address: str
    plugged: bool
    roots: str
    revocations: bool
    authorities: tuple[AuthorityCertificate, ...]
    workloads: tuple[WorkloadCertificate, ...]
    warnings: tuple[CertificateWarning, ...]


class RotationProof(msgspec.Struct, frozen=True):
    """One proxy in one step; ``missing`` says what it has not done yet."""

    proxy: str
    missing: str
    serial: str


class RotationStep(msgspec.Struct, frozen=True):
    step: str
    title: str
    done: bool = False
    proofs: tuple[RotationProof, ...] = ()


class RotationStatus(msgspec.Struct, frozen=True):
    """``step`` is the one that is going on. ``proxies`` are those that must prove each step."""

    active: bool
    step: str
    steps: tuple[RotationStep, ...]
    old: str
    new: str
    began: str
    ended: str
    proxies: tuple[str, ...]


class TrustProvider(Protocol):
    """Whom the mesh trusts, who has which certificate, and the rotation of the root."""

    async def document(self, version: str, seconds: float) -> TrustDocument:
        """As it is; with ``version`` as soon as it is another, or after ``seconds``."""
        ...

    def report(self, reports: Sequence[CertificateReport]) -> None: ...

    def overview(self) -> CertificateOverview: ...

    def rotation(self) -> RotationStatus: ...

    def rotate(self, *, dry_run: bool) -> RotationStatus:
        """Begin to rotate the root, or say what would be done. Raises :class:`RefusedError`."""
        ...


class MetricsProvider(Protocol):
    """What the control plane counts, in Prometheus' text format."""

    def text(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class MixerQuestion:
    """``target`` is a path with its query. ``headers`` say for whom it is asked."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class MixerAnswer:
    """``body`` comes as Mixer sends it, maybe without an end; raises :class:`BrokenOffError`."""

    status: int
    content_type: str
    body: AsyncIterator[bytes]


class BrokenOffError(Exception):
    """An answer that has begun will have no end."""


class MixerLink(Protocol):
    """Mixer's own HTTP interface."""

    def ask(
        self, question: MixerQuestion, *, seconds: float | None = None
    ) -> AbstractAsyncContextManager[MixerAnswer]:
        """Raises :class:`RefusedError` (503) when Mixer does not answer, or too many ask.

        ``seconds`` bounds each wait for a piece of the answer. None is for streams, which take as
        long as somebody watches.
        """
        ...

    async def runs(self) -> bool: ...


class LimitsProvider(Protocol):
    """The rate limits that Mixer counts by."""

    async def document(self, version: str, seconds: float) -> LimitsDocument:
        """As it is; with ``version`` as soon as it is another, or after ``seconds``."""
        ...


@dataclass(frozen=True, slots=True)
class ApiServices:
    """Everything that :func:`argosy.server.http.app.create_app` needs."""

    store: Store
    authenticator: Authenticator
    proxies: ProxyProvider
    problems: ProblemProvider
    certificates: CertificateIssuer
    tokens: TokenIssuer
    trust: TrustProvider
    access: AccessTokens
    metrics: MetricsProvider
    clock: Clock
    version: str
    mixer: MixerLink | None = None
    """None in a mesh without Mixer."""

    limits: LimitsProvider | None = None
    tracer: Tracer = field(default_factory=NoOpTracer)
    """Requests that write become spans of it."""
