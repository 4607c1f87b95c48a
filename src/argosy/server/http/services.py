"""What the HTTP API needs from the rest of the control plane.

The composition root fills in :class:`ApiServices`. Everything here is called on the event loop:
a plain method must be quick (well under a millisecond), whatever waits is async.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol

import msgspec

from argosy.base.clock import Clock
from argosy.base.names import ObjectKey
from argosy.base.problems import Problem
from argosy.store.store import Store


class Role(Enum):
    """What its holder may do; ``auth`` has the rules.

    NODE reads, and writes what a kubelet and its controllers write.
    """

    VIEW = "view"
    EDIT = "edit"
    ADMIN = "admin"
    NODE = "node"


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
    """A provider refuses a request. ``code`` is 400, 401, 403, 404 or 503."""

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

    async def issue(self, csr: str, token: str) -> tuple[str, ...]:
        """PEM in; the chain in PEM out, leaf first and root last."""
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


@dataclass(frozen=True, slots=True)
class ApiServices:
    """Everything that :func:`argosy.server.http.app.create_app` needs."""

    store: Store
    authenticator: Authenticator
    proxies: ProxyProvider
    problems: ProblemProvider
    certificates: CertificateIssuer
    tokens: TokenIssuer
    access: AccessTokens
    clock: Clock
    version: str
