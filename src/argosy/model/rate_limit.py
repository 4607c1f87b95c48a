"""Rate limits: how many requests pass, told apart by what.

A limit is a token bucket for each combination of its keys' values: it holds ``burst`` tokens, a
request takes one, and ``requests`` come back per ``period``. So in any time T at most
``burst + requests * T / period`` requests pass. https://en.wikipedia.org/wiki/Token_bucket
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from argosy.base.names import Namespace, ObjectKey
from argosy.model.authz import Clause, Header, Host, Method, Path
from argosy.model.policy_scope import PolicyScope
from argosy.model.text_match import Text

LIMIT_ENTRY = "limit"
"""The entry of a descriptor that names the limit; the others are its keys."""

ROUTE_ENTRY = "route"
"""The entry, after that of the limit, of a request whose route the limit is for; its value says no more."""

SHARED_DOMAIN = "argosy"
"""The domain of every question that proxies ask about limits."""

LIMIT_STATS = "limit"
"""Begins the names of what a proxy counts by a limit of its own: ``limit.<id>.http_local_rate_limit.ok``.
The id is a label, ``limit``, for whoever reads statistics."""

TOGETHER = ","
"""Between the names of rules that are counted by one filter, in the id of its statistics."""

ABSENT = "-"
"""What a key's value is where the request has none: such requests are counted together."""

TOO_LONG = "(too long)"
MAX_VALUE = 256
"""Characters of a key's value that clients choose: longer ones are counted together."""


class PeerPart(Enum):
    """What of the caller's certificate counts: callers without one are counted together."""

    PRINCIPAL = "source.principal"
    NAMESPACE = "source.namespace"
    SERVICE_ACCOUNT = "source.serviceAccount"


class RequestPart(Enum):
    """The value is Envoy's attribute. https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/advanced/attributes"""

    PATH = "request.url_path"
    METHOD = "request.method"
    HOST = "request.host"


@dataclass(frozen=True, slots=True)
class PeerKey:
    part: PeerPart

    @property
    def name(self) -> str:
        return self.part.value


@dataclass(frozen=True, slots=True)
class AddressKey:
    """The client's address as Envoy knows it: of the connection, or as trusted proxies tell it."""

    @property
    def name(self) -> str:
        return "remote_address"  # Envoy has no other for it


@dataclass(frozen=True, slots=True)
class RequestPartKey:
    part: RequestPart

    @property
    def name(self) -> str:
        return self.part.value


@dataclass(frozen=True, slots=True)
class HeaderKey:
    """``header`` is in lower case."""

    header: str

    @property
    def name(self) -> str:
        return f"request.headers[{self.header}]"


@dataclass(frozen=True, slots=True)
class ClaimKey:
    """A claim of the validated token that is a text, by the path to it."""

    path: tuple[str, ...]

    @property
    def name(self) -> str:
        return "request.auth.claims" + "".join(f"[{part}]" for part in self.path)


LimitKey = PeerKey | AddressKey | RequestPartKey | HeaderKey | ClaimKey
"""``name`` is the key's entry in descriptors: AuthorizationPolicy's attribute, where it has one."""


@dataclass(frozen=True, slots=True)
class Rate:
    """``requests`` and ``burst`` are at least 1."""

    requests: int
    period: timedelta
    burst: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer of requests that are refused, besides its code 429."""

    body: str = ""
    content_type: str = "text/plain"


@dataclass(frozen=True, slots=True)
class Limit:
    """One rule of a RateLimit.

    ``clauses`` must all hold, and the request's route has one of the names ``routes``, if there are any: it
    is counted by the proxy that chooses it, so a sidecar counts what its workload sends. ``shared``: all proxies that it holds for count together. ``fail_closed``: what
    cannot be counted is refused. ``dry_run``: it counts and refuses nothing.
    """

    object: ObjectKey
    rule: str
    field: str
    rate: Rate
    clauses: tuple[Clause[Host | Path | Method | Header], ...] = ()
    routes: tuple[Text, ...] = ()
    keys: tuple[LimitKey, ...] = ()
    shared: bool = False
    fail_closed: bool = False
    dry_run: bool = False
    quota_headers: bool = False
    refusal: Refusal = Refusal()

    @property
    def id(self) -> str:
        """Unique in the mesh: ``default/products/per-client``."""
        return f"{self.object.namespace}/{self.object.name}/{self.rule}"

    @property
    def counts_all(self) -> bool:
        """Whether it counts every request that meets it."""
        return not (self.clauses or self.routes)


@dataclass(frozen=True, slots=True)
class Targets:
    """Services, and Gateways of Istio's API, by name; all in the RateLimit's namespace."""

    services: tuple[str, ...]
    gateways: tuple[str, ...]
    named_proxies: PolicyScope
    """The Gateways of the Kubernetes Gateway API."""


@dataclass(frozen=True, slots=True)
class LimitPolicy:
    """One RateLimit object."""

    object: ObjectKey
    scope: PolicyScope | Targets
    limits: tuple[Limit, ...]


@dataclass(frozen=True, slots=True)
class Redis:
    """Where Mixer counts; ``url`` empty: in itself. ``name`` is what a Redis with TLS must prove, of which
    the URL has the address."""

    url: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Counting:
    """Whose proxies may count by a limit."""

    namespace: Namespace
    service_account: str


@dataclass(frozen=True, slots=True)
class CountedBy:
    """A limit with those who count by it."""

    limit: Limit
    proxies: tuple[Counting, ...]
