"""What the control plane knows of its proxies, in the HTTP API's words; NACKs with their causes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from cryptography import x509

from argosy import __version__, derive, xds
from argosy.api.meta import line_of
from argosy.base.clock import Clock
from argosy.base.names import ObjectKey
from argosy.base.problems import Problem, Severity
from argosy.citadel.service import CertificateRecord, CertificateService
from argosy.model.proxy import ProxyType, Role
from argosy.pilot.analyze.findings import findings_of, findings_of_all
from argosy.pilot.graph import ingresses
from argosy.pilot.graph.credential_problems import lifetimes
from argosy.pilot.graph.problems import gateway_table_problems
from argosy.pilot.graph.rules import claim_conflicts
from argosy.pilot.graph.world import demands
from argosy.server.delivery import Delivery
from argosy.server.http import services
from argosy.server.jwks.service import Keys
from argosy.server.refusals import Refusals
from argosy.server.trust import TrustKeeper
from argosy.store.store import Store
from argosy.xds import type_urls


class Proxies:
    """``services.ProxyProvider`` and ``services.ProblemProvider``."""

    def __init__(
        self,
        *,
        store: Store,
        engine: derive.Engine,
        delivery: Delivery,
        server: xds.Server,
        refusals: Refusals,
        keys: Keys,
        issuing: CertificateService,
        keeper: TrustKeeper,
        clock: Clock,
    ) -> None:
        self._store = store
        self._engine = engine
        self._delivery = delivery
        self._server = server
        self._refusals = refusals
        self._keys = keys
        self._issuing = issuing
        self._keeper = keeper
        self._clock = clock
        self._started = clock.monotonic()
        # Kept, since every object's problems read them and each looks at all rules of the mesh.
        engine.observe(claim_conflicts)
        engine.observe(gateway_table_problems)
        self.serving = False

    def proxies(self) -> Sequence[services.ProxyStatus]:
        certificates = {
            f"{record.pod}.{record.identity.namespace}": record
            for record in self._issuing.records()
        }
        return [
            self._proxy(client, certificates.get(client.client_id))
            for client in self._server.clients()
        ]

    async def distribution(self, revision: int, timeout_seconds: float) -> services.Distribution:
        began = self._clock.monotonic()
        # Keys that a change names come a moment after it, and are of it to whoever waits.
        await self._keys.settled(timeout_seconds)
        left = max(0.0, timeout_seconds - (self._clock.monotonic() - began))
        found = await self._server.wait_acknowledged(revision, left)
        roles = {client.client_id: client.group for client in self._server.clients()}
        return services.Distribution(
            touched=found.touched,
            acknowledged=found.acknowledged,
            rejected=tuple(
                services.Rejection(
                    proxy=rejection.client_id,
                    type=type_urls.short_name(rejection.type_url),
                    message=rejection.error,
                    causes=tuple(
                        self._cause(key)
                        for key in self._causes(roles.get(rejection.client_id), rejection)
                    ),
                )
                for rejection in found.rejected
            ),
            pending=found.pending,
            milliseconds=round(found.seconds * 1000, 1),
        )

    def status(self) -> dict[str, object]:
        clients = self._server.clients()
        return {
            "version": __version__,
            "uptimeSeconds": round(self._clock.monotonic() - self._started, 1),
            "revision": self._store.revision,
            "objects": len(self._store.snapshot()),
            "proxies": len(clients),
            "keysFailing": [
                {**asdict(source), **asdict(failure)} for source, failure in self._keys.failures
            ],
            "rootExpires": min(
                root.not_valid_after_utc for root in self._keeper.trust.roots
            ).isoformat(),
            "trustDomain": self._keeper.trust.trust_domain,
            "rotation": step.value if (step := self._keeper.trust.step) else "",
        }

    def ready(self) -> str:
        return "" if self.serving else "the discovery service is starting"

    def problems(self, key: ObjectKey) -> tuple[Problem, ...]:
        found = self._engine.value(findings_of, key)
        if isinstance(found, derive.Failed):
            found = (_our_bug(key, found),)
        return (*found, *self._of_certificates(key), *self._rejections_of(key))

    def problems_of_many(
        self, keys: Sequence[ObjectKey]
    ) -> Mapping[ObjectKey, tuple[Problem, ...]]:
        together = self._engine.value(findings_of_all, tuple(keys))
        if isinstance(together, derive.Failed):  # one of them: the others have their answers
            return {key: self.problems(key) for key in keys}
        return {
            key: (*found, *self._of_certificates(key), *self._rejections_of(key))
            for key, found in together
        }

    def addresses(self, key: ObjectKey) -> tuple[str, ...]:
        found = self._engine.value(ingresses.addresses, key.namespace, key.name)
        return () if isinstance(found, derive.Failed) else found

    def spread(self, key: ObjectKey) -> services.Spread | None:
        written = self._store.get(key)
        if written is None or not written.metadata.resource_version:
            return None
        found = self._server.distribution(int(written.metadata.resource_version))
        return services.Spread(
            touched=found.touched,
            acknowledged=found.acknowledged,
            rejected=tuple(problem.message for problem in self._rejections_of(key)),
        )

    def _proxy(
        self, client: xds.ClientStatus, issued: CertificateRecord | None
    ) -> services.ProxyStatus:
        name, _, namespace = client.client_id.rpartition(".")
        return services.ProxyStatus(
            name=name,
            namespace=namespace,
            type=dict(client.labels).get("type", ""),
            identity=client.peer.identities[0] if client.peer.identities else "",
            connected=True,
            types={
                type_urls.short_name(one.type_url): services.TypeState(
                    state=one.state.value,
                    version=one.sent_nonce,
                    acked_version=one.acknowledged_nonce,
                    error="; ".join(rejection.error for rejection in one.rejections),
                )
                for one in client.types
            },
            certificate=_certificate(client, issued),
            version=dict(client.labels).get("version", ""),
            mtls=self._mtls(client.group),
        )

    def _mtls(self, group: object) -> str:
        if not isinstance(group, Role) or group.type is ProxyType.ROUTER:
            return ""
        found = self._engine.value(demands, group.namespace, group.labels)
        return "" if isinstance(found, derive.Failed) else found.other_ports.value

    def _of_certificates(self, key: ObjectKey) -> tuple[Problem, ...]:
        return (*self._expired(key), *self._keeper.problems(key))

    def _expired(self, key: ObjectKey) -> list[Problem]:
        """Certificates that an object names and whose time is over: they are served all the same."""
        found = self._engine.value(lifetimes, key)
        if isinstance(found, derive.Failed):
            return []
        now = self._clock.now()
        return [
            Problem(
                key,
                one.field,
                "CertificateExpired",
                f"the certificate in {one.source} expired on {one.expires:%Y-%m-%d %H:%M} UTC, so "
                "clients refuse it",
                "put a new one into the Secret: it is served at once",
                Severity.WARNING,
            )
            for one in found
            if one.expires <= now
        ]

    def _rejections_of(self, key: ObjectKey) -> list[Problem]:
        """What proxies refuse now because of this object: one problem for each kind of error."""
        proxies: dict[tuple[str, str], list[str]] = {}
        for client in self._server.clients():
            for one in client.types:
                for rejection in one.rejections:
                    if key in self._causes(client.group, rejection):
                        kind = type_urls.short_name(one.type_url)
                        proxies.setdefault((kind, rejection.error), []).append(client.client_id)
        return [
            Problem(
                key,
                "",
                services.REJECTED_BY_PROXY,
                f"{len(names)} of the proxies refused the {kind} made from it "
                f"({', '.join(names[:3])}{' ...' if len(names) > 3 else ''}): {error}",
                "they keep what they had; change what Envoy complains about",
            )
            for (kind, error), names in sorted(proxies.items())
        ]

    def _causes(self, group: object, rejection: xds.Rejection) -> tuple[ObjectKey, ...]:
        """The objects behind the refused resources, those changed last first."""
        if not isinstance(group, Role):
            return ()
        found = {
            key
            for resource in rejection.resources
            for key in self._delivery.suspects(group, rejection.type_url, resource.name)
        }
        blamed = self._refusals.causes_of(rejection)
        if blamed:
            return blamed
        return tuple(sorted(found, key=lambda key: (-self._version(key), key)))

    def _version(self, key: ObjectKey) -> int:
        written = self._store.get(key)
        return int(written.metadata.resource_version or 0) if written else 0

    def _cause(self, key: ObjectKey) -> services.Cause:
        written = self._store.get(key)
        origin = written.origin if written else None
        if origin is None:
            return services.Cause(str(key))
        line = line_of(origin, self._refusals.field_of(key))
        return services.Cause(str(key), origin.file, line or origin.line)


def _our_bug(key: ObjectKey, failed: derive.Failed) -> Problem:
    return Problem(key, "", "InternalError", str(failed), "this is a bug of Argosy: report it")


def _certificate(
    client: xds.ClientStatus, issued: CertificateRecord | None
) -> services.ProxyCertificate | None:
    """The latest that was issued to the pod; the one it connected with may be older."""
    if issued is not None:
        return services.ProxyCertificate(issued.serial, issued.expires.isoformat())
    if not client.peer.certificate_pem:
        return None
    shown = x509.load_pem_x509_certificate(client.peer.certificate_pem)
    return services.ProxyCertificate(
        f"{shown.serial_number:x}", shown.not_valid_after_utc.isoformat()
    )
