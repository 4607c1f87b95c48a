"""The control plane put together: store → engine → proxies, Citadel, and the HTTP API.

Everything runs on one event loop. A transaction of the store becomes one transaction of the
engine, whose report becomes one publication to the proxies, before the writer gets its answer.
"""

import asyncio
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from opentelemetry.trace import NoOpTracer

from argosy import __version__, derive, xds
from argosy.api import registry
from argosy.api.core import Namespace
from argosy.api.core_pod import Pod
from argosy.api.meta import Metadata
from argosy.base.clock import Clock, SystemClock
from argosy.base.names import ObjectKey, TrustDomain
from argosy.citadel import authority, grpc_service
from argosy.citadel.authority import AuthorityDirectory, load_or_create_token_key
from argosy.citadel.identity import Caller, SpiffeId
from argosy.citadel.refusal import RefusedError
from argosy.citadel.revocation import revoked
from argosy.citadel.service import DEFAULT_RULES, CertificateService, Rules, ServerCertificate
from argosy.citadel.tokens import TokenAuthority, WorkloadToken
from argosy.model.proxy import Role
from argosy.pilot.compile.endpoints import facts_of
from argosy.pilot.graph.cells import HasMixer
from argosy.pilot.translate.patching import PatchRef
from argosy.platforms.local.state import write_private
from argosy.server.access_tokens import AnyOf, KeptTokens
from argosy.server.admission import admit
from argosy.server.certificates import MeshCertificates
from argosy.server.delivery import Delivery, Publisher
from argosy.server.doors import Door, MemberDoor, OwnerDoor, TlsDoor, tls_context
from argosy.server.http import services
from argosy.server.http.app import create_app
from argosy.server.http.metrics import member_app
from argosy.server.identity import Certificates, FileTokens, WorkloadTokens
from argosy.server.jwks.make import KeySettings, keys
from argosy.server.limits import SharedLimits
from argosy.server.metrics.collect import Metrics
from argosy.server.metrics.objects import ObjectCounts
from argosy.server.mixer_link import MixerFiles, SocketLink
from argosy.server.proxies import Proxies
from argosy.server.records import FollowedWishes
from argosy.server.refusals import Refusals
from argosy.server.registrations import Registrations
from argosy.server.signers.requests import SigningRequests
from argosy.server.signers.service import Signers, dialing
from argosy.server.tracing.changes import ChangeTraces
from argosy.server.tracing.outbox import Outbox
from argosy.server.tracing.requests import signing
from argosy.server.tracing.tracer import tracer
from argosy.server.trust import TrustKeeper
from argosy.store.admission import KubernetesAdmission
from argosy.store.codec import MsgpackCodec
from argosy.store.journal import Journal
from argosy.store.store import Store
from argosy.store.transaction import Put

DEFAULT_TRUST_DOMAIN = TrustDomain("cluster.local")
_TRUST_DOMAIN_FILE = "trust-domain"
_ONLY_NODE = "local"
"""Where pods run that name no node."""

FIRST_NAMESPACES = ("default", "istio-system")
LOCAL_NAMES = ("localhost", "127.0.0.1")
CONTROL_PLANE_NAMES = ("istiod.istio-system.svc", "istiod.istio-system")


@dataclass(frozen=True, slots=True)
class Settings:
    """``ads_address`` is host:port, ``api_listener`` a listening socket for TLS.

    Without ``mixer`` the mesh has none.
    Paths: of the journal, the authority, the socket, the tokens. ``plugged`` is a directory with an
    authority that was made elsewhere. ``certificate_service`` is the file that says where the
    certificate service listens. ``metrics_address`` (host:port) is where workloads of the mesh scrape;
    empty: nowhere.
    """

    mesh: str
    store: Path
    authority: Path
    api_socket: Path
    admin_token: Path
    tokens: Path
    ads_address: str
    keys: KeySettings
    api_listener: socket.socket | None = None
    trust_domain: TrustDomain = DEFAULT_TRUST_DOMAIN
    rules: Rules = DEFAULT_RULES
    plugged: Path | None = None
    certificate_service: Path | None = None
    mixer: MixerFiles | None = None
    metrics_address: str = ""


class ControlPlane:
    """Makes everything at construction, without I/O but the files of the authority and tokens."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        now = self._clock.now()
        directory = AuthorityDirectory(settings.authority)
        plugged = authority.load(settings.plugged, now) if settings.plugged else None
        kept = directory.load_or_create(settings.trust_domain, now, plugged)
        host = settings.ads_address.rpartition(":")[0]
        self._certificate = ServerCertificate(
            lambda: self._keeper.trust.authority, (*CONTROL_PLANE_NAMES, host), self._clock
        )
        token_authority = TokenAuthority(
            load_or_create_token_key(settings.authority), settings.mesh
        )
        self.store = Store(
            clock=self._clock,
            uids=lambda: str(uuid.uuid4()),
            codec=MsgpackCodec({entry.kind: entry.struct for entry in registry.KINDS}),
            journal=Journal(settings.store),
            admission=KubernetesAdmission(registry.NAMESPACED),
            # Pods are kept too: a restarted control plane must not forget endpoints that serve.
            ephemeral=frozenset(),
        )
        self._engine = derive.Engine()
        mixer = settings.mixer
        # On connections of its own: people's may all be taken by streams that they look at.
        own_link = None if mixer is None else SocketLink(mixer.socket)
        self._outbox = None if own_link is None else Outbox(own_link)
        traced = (
            NoOpTracer() if self._outbox is None else tracer(self._outbox, self._clock, __version__)
        )
        self._traces = None if self._outbox is None else ChangeTraces(traced, self._clock)
        self._limits = SharedLimits(self._engine)
        self._signing_requests = SigningRequests(self.store, self._clock)
        self._issuing = CertificateService(
            lambda: self._keeper.trust,
            token_authority,
            self._clock,
            rules=settings.rules,
            others=Signers(
                store=self.store,
                engine=self._engine,
                trust=lambda: self._keeper.trust,
                requests=self._signing_requests,
                dial=dialing(self._engine, settings.keys.reach),
            ),
            is_current=self._is_current,
            shares_node=self._shares_node,
            facts=self._workload_facts,
            around=lambda identity, signer: signing(traced, str(identity), signer),
        )
        self._delivery = Delivery(self._engine)
        self._xds = xds.Server(
            self._delivery,
            self._admit,
            clock=self._clock,
            on_rejection=self._rejected,
            on_leave=lambda client: self._registrations.left(client),
            on_complete=None if self._traces is None else self._traces.completed,
        )
        self._keeper = TrustKeeper(
            directory=directory,
            kept=kept,
            trust_domain=self._last_trust_domain(),
            remember_domain=self._remember_trust_domain,
            store=self.store,
            engine=self._engine,
            clients=self._xds.clients,
            clock=self._clock,
            plugged=settings.plugged,
        )
        self._certificates = MeshCertificates(self._keeper, self._issuing, self._clock)
        self._registrations = Registrations(self.store, self._clock, self._xds.is_connected)
        self._publisher = Publisher(self._engine, self._delivery, self._xds, self._traces)
        self._keys = keys(settings.keys, self._engine, self._publisher.set, self._clock)
        self._refusals = Refusals(self.store.get, self._publisher.set, self._blame)
        self._proxies = Proxies(
            store=self.store,
            engine=self._engine,
            delivery=self._delivery,
            server=self._xds,
            refusals=self._refusals,
            keys=self._keys,
            issuing=self._issuing,
            keeper=self._keeper,
            clock=self._clock,
        )
        self._objects = ObjectCounts()
        self._metrics = Metrics(
            server=self._xds,
            issuing=self._issuing.statistics,
            keeper=self._keeper,
            certificates=self._certificates,
            engine=self._engine,
            delivery=self._delivery,
            publisher=self._publisher,
            keys=self._keys,
            store=self.store,
            objects=self._objects,
            clock=self._clock,
            version=__version__,
            began=self._clock.monotonic(),
        )
        self._tokens = FileTokens()
        self._tokens.issue(settings.admin_token, "admin", services.Role.ADMIN)
        if mixer is not None:
            self._engine.set({HasMixer(): True})
            self._tokens.issue(mixer.token, "mixer", services.Role.MIXER)
        link = None if mixer is None else SocketLink(mixer.socket)
        self._records = None if own_link is None else FollowedWishes(own_link, self._publisher.set)
        access = KeptTokens(settings.tokens, self._clock)
        self._app = create_app(
            services.ApiServices(
                store=self.store,
                authenticator=AnyOf(self._tokens.authenticate, access.authenticate),
                proxies=self._proxies,
                problems=self._proxies,
                certificates=Certificates(self._issuing),
                tokens=WorkloadTokens(self._issuing),
                trust=self._certificates,
                access=access,
                metrics=self._metrics,
                clock=self._clock,
                version=__version__,
                mixer=link,
                limits=self._limits,
                tracer=traced,
            )
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set. Raises JournalDamagedError or JournalError at the start."""
        self.store.load()
        for receive in (self._objects.receive, self._publisher.receive):
            receive(self.store.snapshot(), self.store.revision)
            self.store.subscribe(receive)
        self._keys.begin()
        self.store.subscribe(self._keys.receive)
        self._limits.begin()
        self.store.subscribe(self._limits.receive)
        self.store.subscribe(self._refusals.receive)
        self.store.subscribe(self._registrations.receive)
        self._registrations.begin()
        self._signing_requests.begin()
        self.store.subscribe(self._signing_requests.receive)
        self.store.apply([Put(_namespace(name)) for name in FIRST_NAMESPACES])
        certificate_api = grpc_service.CertificateApi(self._issuing, self._clock)
        certificate_server = grpc_service.CertificateServer(certificate_api)
        grpc = xds.GrpcService(self._xds, (certificate_api.handler(),))
        doors = self._doors()
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(self._xds.run()),
                tasks.create_task(self.store.run()),
                tasks.create_task(self._registrations.run()),
                tasks.create_task(self._keys.run()),
                tasks.create_task(self._limits.run()),
                tasks.create_task(self._keeper.run()),
                tasks.create_task(self._certificates.run()),
            ]
            if self._outbox is not None and self._traces is not None:
                background.append(tasks.create_task(self._outbox.run()))
                background.append(tasks.create_task(self._traces.run()))
            if self._records is not None:
                background.append(tasks.create_task(self._records.run()))
            await self._serve_certificates(certificate_server)
            await grpc.start(self._settings.ads_address, xds.server_credentials(self._credentials))
            self._proxies.serving = True
            serving = [tasks.create_task(door.serve()) for door in doors]
            await stop.wait()
            for door in doors:
                door.should_exit = True
            await certificate_server.stop()
            await grpc.stop()
            await asyncio.gather(*serving)
            for task in background:
                task.cancel()
        self.store.close()

    async def _serve_certificates(self, server: grpc_service.CertificateServer) -> None:
        """On a free port of the address where proxies find the control plane."""
        host = self._settings.ads_address.rpartition(":")[0]
        credentials = xds.server_credentials(self._credentials, require_client=False)
        port = await server.start(f"{host}:0", credentials)
        self._certificates.address = f"{host}:{port}"
        if self._settings.certificate_service is not None:
            write_private(self._settings.certificate_service, f"{host}:{port}\n".encode())

    def _doors(self) -> list[Door]:
        doors: list[Door] = [OwnerDoor(self._app, self._settings.api_socket)]
        address = self._settings.metrics_address
        if address:
            context = tls_context(
                self._certificate.current, lambda: self._keeper.trust.client_roots_pem
            )
            served = member_app(self._metrics, self._proxies)
            doors.append(MemberDoor(served, address, context, self._issuing.authenticate))
        listener = self._settings.api_listener
        if listener is None:
            return doors
        host = listener.getsockname()[0]
        names = dict.fromkeys((*LOCAL_NAMES, socket.gethostname(), host, *CONTROL_PLANE_NAMES))
        certificate = ServerCertificate(
            lambda: self._keeper.trust.authority, tuple(names), self._clock
        )
        doors.append(TlsDoor(self._app, listener, tls_context(certificate.current)))
        return doors

    def _admit(self, peer: xds.Peer, node: bytes) -> xds.Admission | xds.Refusal:
        trust = self._keeper.trust
        if trust.crl and peer.certificate_pem:
            shown = x509.load_pem_x509_certificates(peer.certificate_pem)
            if why := revoked(shown, trust):
                return xds.Refusal(
                    f"the client's certificate is revoked: {why}",
                    xds.RefusalKind.UNAUTHENTICATED,
                )
        if trust.signs_elsewhere and peer.certificate_pem and len(peer.identities) == 1:
            shown = x509.load_pem_x509_certificates(peer.certificate_pem)
            try:
                self._issuing.require_signer(shown, SpiffeId.parse(peer.identities[0]))
            except (RefusedError, ValueError) as error:
                return xds.Refusal(str(error), xds.RefusalKind.UNAUTHENTICATED)
        return admit(peer, node, self.store.get, trust.domains, self._registrations.admit)

    def _rejected(self, rejection: xds.Rejection) -> None:
        """The answer to it is a publication: not in the middle of what the stream is doing."""
        asyncio.get_running_loop().call_soon(self._refusals.rejected, rejection)

    def _blame(self, rejection: xds.Rejection) -> tuple[PatchRef, ...]:
        for client in self._xds.clients():
            if client.client_id == rejection.client_id and isinstance(client.group, Role):
                return self._delivery.blamed(client.group, rejection)
        return ()

    def _is_current(self, token: WorkloadToken) -> bool:
        """Whether the pod that a token was made for is still there, and the same."""
        found = self.store.get(ObjectKey("Pod", token.namespace, token.pod))
        return found is not None and token.pod_uid in ("", found.metadata.uid)

    def _shares_node(self, caller: Caller, wanted: SpiffeId) -> bool:
        """Whether a pod of that identity runs on the node of the caller's pod."""
        own = self.store.get(ObjectKey("Pod", caller.identity.namespace, caller.pod))
        return isinstance(own, Pod) and any(
            isinstance(pod, Pod)
            and pod.spec.account == wanted.service_account
            and (pod.spec.node_name or _ONLY_NODE) == (own.spec.node_name or _ONLY_NODE)
            for pod in self.store.list("Pod", wanted.namespace)
        )

    def _workload_facts(self, caller: Caller) -> str:
        """Of the pod whose token the caller has, as the mesh knows it; empty: of no such pod."""
        namespace = caller.identity.namespace
        pod = self.store.get(ObjectKey("Pod", namespace, caller.pod)) if caller.pod else None
        if not isinstance(pod, Pod) or pod.spec.account != caller.identity.service_account:
            return ""
        return facts_of(pod.metadata.name, namespace, pod.metadata.labels)

    def _last_trust_domain(self) -> TrustDomain:
        """The one of the certificates that are out; MeshConfig may want another by now."""
        try:
            return TrustDomain((self._settings.authority / _TRUST_DOMAIN_FILE).read_text().strip())
        except FileNotFoundError:
            return self._settings.trust_domain

    def _remember_trust_domain(self, trust_domain: TrustDomain) -> None:
        write_private(self._settings.authority / _TRUST_DOMAIN_FILE, trust_domain.encode())

    def _credentials(self) -> xds.Credentials:
        """Asked at each handshake, on a thread of gRPC."""
        credential, trust = self._certificate.current(), self._keeper.trust
        return xds.Credentials(
            key=credential.key,
            chain="".join(credential.issued.chain[:-1]).encode(),
            roots=trust.client_roots_pem.encode(),
        )


def _namespace(name: str) -> Namespace:
    return Namespace(api_version="v1", kind="Namespace", metadata=Metadata(name=name))
