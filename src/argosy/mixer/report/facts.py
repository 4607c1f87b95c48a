"""What a report looks at: the mesh at one moment, as plain values.

``None`` in the place of measured facts means that nobody has measured.
"""

from dataclasses import dataclass

from argosy.base.names import ObjectKey
from argosy.mixer.report.findings import NOWHERE, Place
from argosy.model.authn import MtlsMode
from argosy.model.authz import Policy


@dataclass(frozen=True, slots=True)
class Port:
    """A port of a workload and what it demands of its callers."""

    number: int
    mode: MtlsMode


@dataclass(frozen=True, slots=True)
class Workload:
    """One Deployment, StatefulSet or pod of its own.

    ``ports`` are those that services lead to. ``proxy``: a sidecar, gateway, or gRPC library has
    an identity for it. ``mode`` holds for ports that no service names. ``reported_as`` is its name
    in what proxies tell, where that is another.
    """

    kind: str
    namespace: str
    name: str
    account: str
    labels: tuple[tuple[str, str], ...] = ()
    proxy: bool = True
    gateway: bool = False
    mode: MtlsMode = MtlsMode.PERMISSIVE
    ports: tuple[Port, ...] = ()
    policies: tuple[Policy, ...] = ()
    place: Place = NOWHERE
    reported_as: str = ""

    @property
    def title(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"

    @property
    def called(self) -> tuple[str, str]:
        """Namespace and name in a ``Call`` to it."""
        return self.namespace, self.reported_as or self.name


@dataclass(frozen=True, slots=True)
class GatewayServer:
    """One server of a Gateway. ``encrypted``: TLS, or plain requests are sent on to https."""

    namespace: str
    gateway: str
    index: int
    port: int
    protocol: str
    encrypted: bool
    place: Place = NOWHERE


@dataclass(frozen=True, slots=True)
class Certificate:
    """``level`` empty: nothing to say. Else notice, warning or error."""

    namespace: str
    about: str
    level: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """Of an object, as ``argosy analyze`` has it. ``level`` is error, warning or info."""

    level: str
    code: str
    field: str
    message: str
    hint: str
    place: Place = NOWHERE


@dataclass(frozen=True, slots=True)
class Checked:
    """An object that was analyzed."""

    kind: str
    namespace: str
    name: str
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Proxy:
    """``refuses`` are short names of xDS types with Envoy's words."""

    namespace: str
    name: str
    refuses: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Edge:
    """Traffic that was measured. ``destination`` empty: outside the mesh; ``host`` says where.

    ``registered``: a service of the mesh's registry names the host. Counts are of requests, or of
    connections where there are none.
    """

    source_namespace: str
    source: str
    namespace: str
    destination: str
    host: str
    mutual_tls: int
    plaintext: int
    total: int
    registered: bool = True


@dataclass(frozen=True, slots=True)
class Call:
    """Equal calls to one workload that were observed. ``principal`` is a SPIFFE id; empty: plaintext.

    ``method`` and ``path`` are empty for connections; a path may be a template of Istio's. Times
    are seconds since the epoch. ``denied`` of the ``count`` were refused by a policy.
    """

    principal: str
    namespace: str
    workload: str
    port: int
    http: bool
    method: str
    path: str
    count: int
    denied: int
    first: float
    last: float


@dataclass(frozen=True, slots=True)
class Facts:
    """``since`` is how many seconds of traffic ``edges`` tell of. ``places`` are those of policies
    and of their rules, by object and field."""

    mesh: str
    version: str
    moment: str
    trust_domain: str = "cluster.local"
    workloads: tuple[Workload, ...] = ()
    gateways: tuple[GatewayServer, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    objects: tuple[Checked, ...] = ()
    proxies: tuple[Proxy, ...] = ()
    places: tuple[tuple[tuple[ObjectKey, str], Place], ...] = ()
    edges: tuple[Edge, ...] | None = None
    calls: tuple[Call, ...] | None = None
    since: float = 0.0
    unmeasured: tuple[str, ...] = ()
