"""The issuing service: who calls, may it, sign, remember. What both its interfaces stand on."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

import structlog
from cryptography import x509

from argosy.base.clock import Clock
from argosy.citadel.forwarding import require_own_names, verified
from argosy.citadel.identity import Caller, Proof, SpiffeId, caller_by_certificate
from argosy.citadel.issuer import AuthorityError, fingerprint, require_chain
from argosy.citadel.limit import RateLimit
from argosy.citadel.refusal import RefusedError
from argosy.citadel.revocation import revoked
from argosy.citadel.signer import (
    MAXIMUM_LIFETIME,
    WORKLOAD_LIFETIME,
    Authority,
    Credential,
    Issued,
    server_credential,
    sign_workload,
)
from argosy.citadel.statistics import Statistics
from argosy.citadel.tokens import TokenAuthority, WorkloadToken
from argosy.citadel.trust import EXTERNAL, Trust

BURST = 10
"""Certificates that one workload may have at once ..."""

INTERVAL = 10.0
"""... and then one each so many seconds. A healthy workload asks twice a day."""

LOG_SIZE = 10_000
"""Workloads whose last certificate is remembered."""

_UNREADABLE = 400
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CertificateRecord:
    """The certificate that a workload got last. ``serial`` is lower-case hexadecimal.

    ``issuer`` is the fingerprint of the certificate that signed it, if the mesh did; else ``signer``
    is the name of who did.
    """

    identity: SpiffeId
    pod: str
    serial: str
    issued: datetime
    expires: datetime
    issuer: str = ""
    signer: str = ""


@dataclass(frozen=True, slots=True)
class Rules:
    """How long certificates live, and who may ask for others.

    ``default`` is for requests that name no lifetime; a request for more than ``maximum`` is
    refused. ``nodes`` are service accounts (namespace, name) of node agents, which may ask for the
    identities of pods on their own node: Istio's ``CA_TRUSTED_NODE_ACCOUNTS``.
    """

    default: timedelta = WORKLOAD_LIFETIME
    maximum: timedelta = MAXIMUM_LIFETIME
    nodes: frozenset[tuple[str, str]] = frozenset()


DEFAULT_RULES = Rules()


class OtherSigners(Protocol):
    """Who signs besides the mesh. ``signer`` is a name of MeshConfig's ``certSigners``; empty: its ``ca``."""

    def choices(self, identity: SpiffeId, pod: str) -> frozenset[str] | None:
        """The names that the configuration of a workload's proxies has, or of one pod's.

        None: there is no such pod, so any may be asked for.
        """
        ...

    async def sign(self, signer: str, csr: str, lifetime: timedelta) -> Sequence[str]:
        """What the signer answers, PEM, not judged yet. Raises ``RefusedError``."""
        ...


class NoOtherSigners:
    """The mesh alone signs."""

    def choices(self, identity: SpiffeId, pod: str) -> frozenset[str] | None:
        return None

    async def sign(self, signer: str, csr: str, lifetime: timedelta) -> Sequence[str]:
        raise RefusedError(502, "there is no other signer")


class CertificateService:
    """Signs for callers that prove an identity of this mesh.

    ``trust`` says who signs now. ``is_current`` says whether the pod of a token still exists; a
    token outlives its pod. ``shares_node``: whether a pod with that identity runs where the caller
    runs. ``facts`` says what is known of the caller's own pod. ``around`` is entered for each signing,
    with the identity and the signer (empty: the mesh). All methods belong to the event loop; only the
    signing itself leaves it.
    """

    def __init__(
        self,
        trust: Callable[[], Trust],
        tokens: TokenAuthority,
        clock: Clock,
        *,
        rules: Rules = DEFAULT_RULES,
        others: OtherSigners | None = None,
        is_current: Callable[[WorkloadToken], bool] = lambda _: True,
        shares_node: Callable[[Caller, SpiffeId], bool] = lambda _caller, _wanted: False,
        facts: Callable[[Caller], str] = lambda _: "",
        around: Callable[[SpiffeId, str], AbstractContextManager[None]] = lambda *_: nullcontext(),
    ) -> None:
        self._trust = trust
        self._tokens = tokens
        self._clock = clock
        self._rules = rules
        self._others = others or NoOtherSigners()
        self._is_current = is_current
        self._shares_node = shares_node
        self._facts = facts
        self._around = around
        self._limit = RateLimit(BURST, INTERVAL)
        self.statistics = Statistics()
        self._records: OrderedDict[tuple[SpiffeId, str], CertificateRecord] = OrderedDict()

    async def issue(
        self,
        csr: str,
        proof: str | Sequence[x509.Certificate],
        *,
        lifetime: timedelta | None = None,
        impersonated: str = "",
        signer: str = "",
    ) -> tuple[str, ...]:
        """The chain in PEM, leaf first and root last.

        ``proof`` is a workload token, or the client's certificates that TLS has verified, its own
        first. ``impersonated`` is the SPIFFE id that a node asks for in the place of its own,
        ``signer`` the name of who shall sign; empty: whoever signs for all. Raises ``RefusedError``.
        """
        self.statistics.requests += 1
        caller = self._caller(proof)
        for_whom, wanted = self._allowed(caller, impersonated, lifetime)
        signed_by = self._signer(for_whom, "" if impersonated else caller.pod, signer)
        self._require_patience(caller, for_whom)
        if signed_by or self._trust().external is not None:
            return await self._sign_elsewhere(signed_by, csr, caller, for_whom, wanted)
        return await self._sign(csr, caller, for_whom, wanted)

    async def issue_to_server(
        self, csr: str, namespace: str, service_account: str, dns_names: Sequence[str]
    ) -> tuple[str, ...]:
        """The chain for a server of the mesh itself, which the caller of this has authenticated.

        The mesh's own authority signs, whoever else does for workloads. Raises ``RefusedError``.
        """
        self.statistics.requests += 1
        identity = SpiffeId.of(self._trust().trust_domain, namespace, service_account)
        caller = Caller(identity, Proof.TOKEN)
        self._require_patience(caller, identity)
        return await self._sign(csr, caller, identity, self._rules.default, dns_names)

    def _require_patience(self, caller: Caller, for_whom: SpiffeId) -> None:
        wait = self._limit.admit((caller.identity, caller.pod, for_whom), self._clock.monotonic())
        if wait:
            self.statistics.limited += 1
            _log.warning("certificate.limited", identity=str(caller.identity), pod=caller.pod)
            raise RefusedError(
                429, f"{caller.identity} asks for certificates too often: wait {wait:.0f} s"
            )

    async def _sign(
        self,
        csr: str,
        caller: Caller,
        for_whom: SpiffeId,
        lifetime: timedelta,
        dns_names: Sequence[str] = (),
    ) -> tuple[str, ...]:
        now = self._clock.now()
        authority = self._trust().authority
        facts = self._facts(caller) if for_whom == caller.identity else ""
        with self._counted(), self._around(for_whom, ""):
            issued = await asyncio.to_thread(
                sign_workload,
                authority,
                csr,
                for_whom,
                now,
                lifetime,
                dns_names=dns_names,
                facts=facts,
            )
        self._remember(caller, for_whom, issued, fingerprint(authority.certificate), now)
        return issued.chain

    async def _sign_elsewhere(
        self, signer: str, csr: str, caller: Caller, identity: SpiffeId, lifetime: timedelta
    ) -> tuple[str, ...]:
        """By somebody else, whose answer is believed only as far as it can be verified."""
        with self._counted(), self._around(identity, signer or EXTERNAL):
            require_own_names(csr, identity)
            answer = await self._others.sign(signer, csr, lifetime)
            trust, now = self._trust(), self._clock.now()
            issued = await asyncio.to_thread(
                verified, answer, csr, identity, trust.roots_of(signer), now, self._rules.maximum
            )
        self._remember(caller, identity, issued, "", now, signer or EXTERNAL)
        return issued.chain

    @contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            yield
        except RefusedError as error:
            if error.code == _UNREADABLE:
                self.statistics.unreadable += 1
            else:
                self.statistics.unsigned += 1
            raise
        self.statistics.issued += 1

    def _caller(self, proof: str | Sequence[x509.Certificate]) -> Caller:
        try:
            return self.authenticate(proof)
        except RefusedError:
            self.statistics.unauthenticated += 1
            raise

    def _allowed(
        self, caller: Caller, impersonated: str, lifetime: timedelta | None
    ) -> tuple[SpiffeId, timedelta]:
        try:
            return self._identity(caller, impersonated), self._lifetime(lifetime)
        except RefusedError:
            self.statistics.forbidden += 1
            raise

    def _signer(self, identity: SpiffeId, pod: str, asked: str) -> str:
        """The full name of who shall sign; empty: whoever signs for all.

        The proxy's configuration decides: the roots of different signers keep workloads apart,
        so none may choose another's.
        """
        choices = self._others.choices(identity, pod)
        if choices is not None and asked not in choices:
            wanted = ", ".join(name or "whoever signs for all" for name in sorted(choices))
            self.statistics.forbidden += 1
            raise RefusedError(
                403,
                f"the certificate of {identity} is to be signed by {wanted}, not by "
                f"{asked or 'whoever signs for all'}",
            )
        if not asked:
            return ""
        found = self._trust().document.get_signer(asked)
        if found is None:
            self.statistics.forbidden += 1
            raise RefusedError(
                400,
                f"there is no signer {asked!r} here: name it, with its roots, in certSigners of "
                "MeshConfig's caCertificates, once; or choose none for the mesh's own",
            )
        return found.name

    def authenticate(self, proof: str | Sequence[x509.Certificate]) -> Caller:
        """Who holds this token or certificate; ``RefusedError`` (401) for nobody of ours."""
        trust, now = self._trust(), self._clock.now()
        if not isinstance(proof, str):
            if not proof:
                raise RefusedError(401, "a workload token or a client certificate is required")
            if proof[0].not_valid_after_utc <= now:
                raise RefusedError(401, "the client's certificate has expired")
            if why := revoked(proof, trust):
                raise RefusedError(401, f"the client's certificate is revoked: {why}")
            found = caller_by_certificate(proof[0], trust.domains)
            self.require_signer(proof, found.identity)
            return replace(found, identity=replace(found.identity, trust_domain=trust.trust_domain))
        token = self._tokens.verify(proof, now)
        if token.pod and not self._is_current(token):
            raise RefusedError(401, f"the token's pod {token.namespace}/{token.pod} is gone")
        return token.caller(trust.trust_domain)

    def require_signer(self, chain: Sequence[x509.Certificate], identity: SpiffeId) -> None:
        """Who is known by a certificate of another signer than its own is nobody.

        TLS has verified the ``chain``, leaf first, by the roots of all signers; one of them must
        not speak for the workloads of another. Raises ``RefusedError`` (401).
        """
        trust = self._trust()
        if not trust.signs_elsewhere:
            return
        own = {each for issuer in trust.trusted for each in issuer.authority.certificates}
        allowed = set(trust.roots)
        choices = self._others.choices(identity, "")
        document = trust.document
        names = {signer.name for signer in document.signers} | {""}
        if choices is not None:
            chosen = (document.get_signer(name) for name in choices if name)
            names = {one.name for one in chosen if one is not None} | (choices & {""})
        for name in names - ({""} if trust.external is None else set()):
            allowed.update(trust.roots_of(name))
        try:
            require_chain(chain[0], (*chain[1:], *own), tuple(allowed), self._clock.now())
        except AuthorityError as error:
            raise RefusedError(
                401, f"the certificate of {identity} is not of its signer: {error}"
            ) from error

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
            identity = SpiffeId.of(self._trust().trust_domain, namespace, service_account)
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

    def _identity(self, caller: Caller, impersonated: str) -> SpiffeId:
        """Whose certificate it shall be: the caller's own, but for a node that asks for its pods'."""
        if not impersonated:
            return caller.identity
        try:
            wanted = SpiffeId.parse(impersonated)
        except ValueError as error:
            raise RefusedError(400, f"the impersonated identity: {error}") from error
        account = (str(caller.identity.namespace), caller.identity.service_account)
        if account not in self._rules.nodes:
            raise RefusedError(
                403, f"{caller.identity} is no node and may not ask for the identity of {wanted}"
            )
        if wanted.trust_domain not in self._trust().accepted_domains:
            raise RefusedError(403, f"{wanted} is of another trust domain")
        if caller.proof is not Proof.TOKEN or not caller.pod:
            raise RefusedError(403, "a node proves where it runs by the token of its pod")
        if not self._shares_node(caller, wanted):
            raise RefusedError(
                403,
                f"no pod of {wanted} runs on the node of {caller.identity.namespace}/{caller.pod}",
            )
        return SpiffeId(self._trust().trust_domain, wanted.namespace, wanted.service_account)

    def _lifetime(self, wanted: timedelta | None) -> timedelta:
        """Istio's rules: nothing or less than nothing is the default, too much is refused."""
        if wanted is None or wanted <= timedelta():
            return self._rules.default
        if wanted > self._rules.maximum:
            raise RefusedError(
                400,
                f"a certificate lives {_hours(self._rules.maximum)} at most here, "
                f"{_hours(wanted)} were asked for",
            )
        return wanted

    def _remember(
        self,
        caller: Caller,
        identity: SpiffeId,
        issued: Issued,
        issuer: str,
        now: datetime,
        signer: str = "",
    ) -> None:
        pod = caller.pod if identity == caller.identity else ""
        record = CertificateRecord(
            identity,
            pod,
            f"{issued.serial:x}",
            now,
            issued.not_after,
            issuer,
            signer,
        )
        key = (identity, pod)
        self._records[key] = record
        self._records.move_to_end(key)
        if len(self._records) > LOG_SIZE:
            self._records.popitem(last=False)
        _log.info(
            "certificate.issued",
            identity=str(identity),
            pod=pod,
            serial=record.serial,
            expires=record.expires.isoformat(),
            proof=caller.proof.value,
            **({"signer": signer} if signer else {}),
            **({} if identity == caller.identity else {"asked_by": str(caller.identity)}),
        )


class ServerCertificate:
    """The control plane's own certificate; ask at each handshake.

    Renewed in its half life, and when another authority signs.
    """

    def __init__(
        self, authority: Callable[[], Authority], names: Sequence[str], clock: Clock
    ) -> None:
        self._authority = authority
        self._names = tuple(names)
        self._clock = clock
        self._held: tuple[Authority, Credential] | None = None

    def current(self) -> Credential:
        """The same object until it is renewed. Safe to call on any thread."""
        now, authority = self._clock.now(), self._authority()
        held = self._held
        if held is not None and held[0] is authority and now < _half_life(held[1].issued):
            return held[1]
        made = server_credential(authority, self._names, now)
        self._held = (authority, made)
        _log.info("server-certificate.made", serial=f"{made.issued.serial:x}")
        return made


def _half_life(issued: Issued) -> datetime:
    return issued.not_before + (issued.not_after - issued.not_before) / 2


def _hours(length: timedelta) -> str:
    return f"{length.total_seconds() / 3600:g} h"
