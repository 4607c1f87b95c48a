"""Signers that take CertificateSigningRequests: made, approved and waited for in the store.

Any client of the API can be such a signer, as cert-manager is in Kubernetes: it watches for approved
requests in its name and writes ``status.certificate``. Whoever asks here has been authenticated, so
a request is approved as it is made; it goes away with its answer.
https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/
"""

import asyncio
import base64
import binascii
import secrets
from collections.abc import Sequence
from datetime import timedelta

import structlog
from msgspec import structs

from argosy.api.certificates import (
    SHORTEST_SECONDS,
    CertificateSigningRequest,
    CertificateSigningRequestCondition,
    CertificateSigningRequestSpec,
    CertificateSigningRequestStatus,
)
from argosy.api.meta import Metadata
from argosy.base.clock import Clock
from argosy.base.names import ObjectKey
from argosy.citadel.forwarding import LARGEST_ANSWER
from argosy.citadel.refusal import RefusedError
from argosy.store.store import Store
from argosy.store.transaction import Create, Delete, Event, NotFoundError, SetStatus

WAIT = timedelta(seconds=20)
"""How long a signer may take."""

LABEL = "argosy.dev/requested-by"
_OURS = "control-plane"
_USAGES = ("digital signature", "key encipherment", "server auth", "client auth")
_log = structlog.get_logger()


class SigningRequests:
    """Belongs to the event loop."""

    def __init__(self, store: Store, clock: Clock, wait: timedelta = WAIT) -> None:
        self._store = store
        self._clock = clock
        self._wait = wait
        self._waiting: dict[ObjectKey, asyncio.Future[str]] = {}

    def begin(self) -> None:
        """Once: requests that an earlier process waited for go away."""
        left = [
            Delete(value.key)
            for value in self._store.list("CertificateSigningRequest")
            if value.metadata.labels.get(LABEL) == _OURS
        ]
        if left:
            self._store.apply(left)

    def receive(self, events: Sequence[Event], _revision: int) -> None:
        """A subscriber of the store."""
        for event in events:
            future = self._waiting.get(event.key)
            if future is None or future.done():
                continue
            if event.current is None:
                future.set_exception(RefusedError(502, "the request was deleted"))
            elif isinstance(event.current, CertificateSigningRequest):
                _settle(future, event.current)

    async def sign(self, signer: str, csr: str, lifetime: timedelta) -> str:
        """The certificates that the signer writes, PEM. Raises ``RefusedError``."""
        value = _request(signer, csr, lifetime)
        approved = structs.replace(value, status=self._approval())
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting[value.key] = future
        try:
            self._store.apply([Create(value), SetStatus(approved)])
            async with asyncio.timeout(self._wait.total_seconds()):
                return await future
        except TimeoutError:
            seconds = self._wait.total_seconds()
            raise RefusedError(
                504,
                f"{signer} did not sign {value.key.name} in {seconds:g} s: see that it runs, watches "
                "CertificateSigningRequests and signs for this name",
            ) from None
        finally:
            del self._waiting[value.key]
            self._forget(value.key)

    def _approval(self) -> CertificateSigningRequestStatus:
        now = self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        condition = CertificateSigningRequestCondition(
            type="Approved",
            reason="ApprovedByMesh",
            message="the control plane has authenticated the workload",
            last_update_time=now,
            last_transition_time=now,
        )
        return CertificateSigningRequestStatus(conditions=(condition,))

    def _forget(self, key: ObjectKey) -> None:
        try:
            self._store.apply([Delete(key)])
        except NotFoundError:
            _log.info("signing-request.gone", name=key.name)


def _request(signer: str, csr: str, lifetime: timedelta) -> CertificateSigningRequest:
    return CertificateSigningRequest(
        api_version="certificates.k8s.io/v1",
        kind="CertificateSigningRequest",
        metadata=Metadata(name=f"csr-workload-{secrets.token_hex(8)}", labels={LABEL: _OURS}),
        spec=CertificateSigningRequestSpec(
            request=base64.b64encode(csr.encode()).decode(),
            signer_name=signer,
            usages=_USAGES,
            expiration_seconds=max(SHORTEST_SECONDS, int(lifetime.total_seconds())),
            username="system:serviceaccount:istio-system:istiod",
        ),
    )


def _settle(future: asyncio.Future[str], value: CertificateSigningRequest) -> None:
    status = value.status or CertificateSigningRequestStatus()
    refused = [one for one in status.conditions if one.type in ("Denied", "Failed")]
    if refused:
        why = refused[0].message or refused[0].reason or "it does not say why"
        words = "denied" if refused[0].type == "Denied" else "failed to sign"
        future.set_exception(
            RefusedError(502, f"{value.spec.signer_name} {words} the request: {why[:300]}")
        )
    elif status.certificate:
        try:
            if len(status.certificate) > 2 * LARGEST_ANSWER:
                raise ValueError("it is too large")
            future.set_result(base64.b64decode(status.certificate, validate=True).decode())
        except (ValueError, binascii.Error) as error:
            future.set_exception(
                RefusedError(
                    502,
                    f"what {value.spec.signer_name} wrote into status.certificate is no PEM text "
                    f"in base64: {error}",
                )
            )
