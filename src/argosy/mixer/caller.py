"""Which proxy calls: by the certificate of its TLS connection, and by nothing that it says itself.

A guard stands before every handler of the server, so that no part can forget to ask.
"""

import inspect
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import grpc
import structlog
from cryptography import x509

from argosy.citadel.identity import SpiffeId, TrustDomains, caller_by_certificate
from argosy.citadel.issuer import revocation_lists
from argosy.citadel.refusal import RefusedError
from argosy.citadel.revocation import revoked_by
from argosy.citadel.signer import WORKLOAD_FACTS
from argosy.model.standard_metrics import WORKLOAD_FACTS as WORKLOAD_FACTS_NAMES

KNOWN = 4096
"""Certificates whose verdict is remembered."""

MAX_CALLS_OF_ADDRESS = 2_000
"""At once. A proxy has a stream for each logger and worker, and a call for each request that waits
for a limit."""

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Stated:
    """What the control plane knew of a workload when it signed, ``standard_metrics.WORKLOAD_FACTS``.

    Falsy and empty in certificates that say nothing: those of other signers, and of callers
    without a pod. Values that a workload lacks (``app``, ``version``) are empty.
    """

    workload: str = ""
    workload_namespace: str = ""
    canonical_service: str = ""
    canonical_revision: str = ""
    cluster: str = ""
    app: str = ""
    version: str = ""

    def __bool__(self) -> bool:
        return bool(self.workload)


NOTHING = Stated()


@dataclass(frozen=True, slots=True)
class Caller:
    """A proxy that has proven its identity. ``address`` is its IP address.

    ``certificate`` is its leaf, and ``stated`` what that says of the workload besides.
    """

    identity: SpiffeId
    address: str
    certificate: x509.Certificate
    stated: Stated = NOTHING


_caller: ContextVar[Caller] = ContextVar("caller")


def caller() -> Caller:
    """Who sent what is being handled. For handlers, before or after they wait."""
    return _caller.get()


@dataclass(frozen=True, slots=True)
class Rules:
    """Whom to let in: trust domains of this mesh, and revocation lists (PEM), which may be empty."""

    domains: TrustDomains
    crl: str = ""


class Judge:
    """Whether a certificate that TLS has verified is a workload's of this mesh, and in force.

    ``rules`` gives those of the moment.
    """

    def __init__(self, rules: Callable[[], Rules]) -> None:
        self._rules = rules
        self._held: Rules | None = None
        self._known: OrderedDict[bytes, Caller] = OrderedDict()

    def judge(self, chain_pem: bytes) -> Caller:
        """Whom a PEM chain, leaf first, stands for; without an address. Raises ``RefusedError``."""
        rules = self._rules()
        if rules is not self._held:
            self._held = rules
            self._known.clear()
        found = self._known.get(chain_pem)
        if found is None:
            found = _judged(chain_pem, rules)
            self._known[chain_pem] = found
            if len(self._known) > KNOWN:
                self._known.popitem(last=False)
        return found


def _judged(chain_pem: bytes, rules: Rules) -> Caller:
    try:
        chain = x509.load_pem_x509_certificates(chain_pem)
    except ValueError as error:
        raise RefusedError(401, "a client certificate is required") from error
    if rules.crl and (why := revoked_by(chain, revocation_lists(rules.crl))):
        raise RefusedError(401, f"the client's certificate is revoked: {why}")
    identity = caller_by_certificate(chain[0], rules.domains).identity
    found = stated(chain[0])
    if found and found.workload_namespace != identity.namespace:
        raise RefusedError(401, "the client's certificate contradicts itself")
    return Caller(identity, "", chain[0], found)


def stated(certificate: x509.Certificate) -> Stated:
    """What a certificate says besides the identity."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return NOTHING
    for name in names.get_values_for_type(x509.OtherName):
        if name.type_id == WORKLOAD_FACTS:
            facts = _utf8_string(name.value).split(";")
            return Stated(**dict(zip(WORKLOAD_FACTS_NAMES, facts, strict=False)))
    return NOTHING


def _utf8_string(der: bytes) -> str:
    """X.690, 8.1.3: a length below 128 is one byte, else the first says how many follow."""
    start = 2 if der[1] < 128 else 2 + der[1] - 128
    return der[start:].decode(errors="replace")


class Guard(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # not generic at run time
    """Refuses with UNAUTHENTICATED whoever ``judge`` refuses; for others ``caller()`` answers.

    One address has at most ``share`` calls at a time, so that nobody takes those of all.
    """

    def __init__(self, judge: Judge, share: int = MAX_CALLS_OF_ADDRESS) -> None:
        self._judge = judge
        self._share = share
        self._calls: Counter[str] = Counter()
        self._turned_away = 0

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = await continuation(details)
        if handler is None:
            return None
        kind = _kind(handler)
        behaviour = getattr(handler, kind)
        guarded = _iterating if inspect.isasyncgenfunction(behaviour) else _awaiting
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        return make(
            guarded(behaviour, self._admitted),
            handler.request_deserializer,
            handler.response_serializer,
        )

    @asynccontextmanager
    async def _admitted(self, context: Context) -> AsyncIterator[None]:
        """As long as a call lasts."""
        judged = await self._judged(context)
        address = judged.address
        if self._calls[address] >= self._share:
            self._turned_away += 1
            if self._turned_away.bit_count() == 1:  # with each doubling
                log.warning("caller.too_many_calls", peer=address, refused=self._turned_away)
            why = f"{address} has {self._share} calls already"
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, why)
        self._calls[address] += 1
        _caller.set(judged)
        try:
            yield
        finally:
            self._calls[address] -= 1
            if not self._calls[address]:
                del self._calls[address]

    async def _judged(self, context: Context) -> Caller:
        found = context.auth_context()
        leaf = found.get("x509_pem_cert", ())
        try:
            if not leaf:
                raise RefusedError(401, "a client certificate is required")
            # At a server, what gRPC calls the chain lacks the peer's own certificate.
            chain = b"".join((*leaf, *found.get("x509_pem_cert_chain", ())))
            judged = self._judge.judge(chain)
        except RefusedError as error:
            log.warning("caller.refused", peer=context.peer(), why=error.message)
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, error.message)
        return replace(judged, address=address_of(context.peer()))


def address_of(peer: str) -> str:
    """The IP address in gRPC's name of a peer: ``ipv4:10.244.0.5:40312``, ``ipv6:%5B::1%5D:1``."""
    _, _, rest = peer.partition(":")
    address = rest.rpartition(":")[0]
    return address.removeprefix("%5B").removesuffix("%5D").strip("[]")


def _kind(handler: Any) -> str:
    asks = "stream" if handler.request_streaming else "unary"
    answers = "stream" if handler.response_streaming else "unary"
    return f"{asks}_{answers}"


_Admitted = Callable[[Context], AbstractAsyncContextManager[None]]


def _awaiting(behaviour: Any, admitted: _Admitted) -> Any:
    async def guarded(request: Any, context: Context) -> Any:
        async with admitted(context):
            return await behaviour(request, context)

    return guarded


def _iterating(behaviour: Any, admitted: _Admitted) -> Any:
    async def guarded(request: Any, context: Context) -> AsyncIterator[Any]:
        async with admitted(context):
            async for answer in behaviour(request, context):
                yield answer

    return guarded
