"""Decides about requests: by the limits that the control plane told, and whose proxy asks."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

import grpc
from envoy.service.ratelimit.v3 import rls_pb2

from argosy.api.shared_limits import CountedLimit, LimitsDocument
from argosy.mixer.limits.bucket import Taken, rate_of
from argosy.mixer.limits.counters import Ask, Counters, CountersError
from argosy.mixer.limits.ratelimit import (
    OK,
    OVER_LIMIT,
    Context,
    add_header,
    hits_of,
    retry_after,
    status,
)
from argosy.mixer.limits.usage import Usage
from argosy.model.rate_limit import LIMIT_ENTRY, ROUTE_ENTRY, SHARED_DOMAIN

MAX_DESCRIPTORS = 256
MAX_ENTRIES = 16
"""Of one descriptor: a rule has at most 8 keys."""

MAX_KEY = 256
"""Characters of a bucket's name; of a longer one a hash stands for it."""

MAX_SHOWN = 64
"""Characters of a key's value that people are shown."""

Caller = tuple[str, str]
"""Namespace and service account of the proxy that asks, from its certificate."""


@dataclass(frozen=True, slots=True)
class _Counted:
    """A descriptor that is counted: ``index`` is its place in the question."""

    index: int
    limit: CountedLimit
    values: tuple[str, ...]
    ask: Ask


class CannotCountError(Exception):
    """The proxy does what its limits say for that case: ``code`` and the text are for its log."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class LimitJudge:
    """``caller`` says who asks what is being handled. ``now`` is a monotonic clock, in seconds."""

    def __init__(
        self, counters: Counters, caller: Callable[[], Caller], now: Callable[[], float]
    ) -> None:
        self.counters = counters
        self.usage = Usage()
        self._caller = caller
        self._now = now
        self._limits: Mapping[str, CountedLimit] | None = None
        self._proxies: Mapping[str, frozenset[Caller]] = {}

    @property
    def limits(self) -> tuple[CountedLimit, ...]:
        return tuple((self._limits or {}).values())

    def learn(self, document: LimitsDocument) -> None:
        self._limits = {one.id: one for one in document.limits}
        self._proxies = {one.id: frozenset(one.proxies) for one in document.limits}

    async def should_rate_limit(
        self, request: rls_pb2.RateLimitRequest, context: Context
    ) -> rls_pb2.RateLimitResponse:
        try:
            return await self.decide(request)
        except CannotCountError as error:
            await context.abort(error.code, str(error))
            raise AssertionError("abort raises") from error

    async def decide(self, request: rls_pb2.RateLimitRequest) -> rls_pb2.RateLimitResponse:
        """Raises ``CannotCountError``."""
        counted = self._counted(request)
        try:
            taken = await self.counters.take([one.ask for one in counted]) if counted else ()
        except CountersError as error:
            raise CannotCountError(grpc.StatusCode.UNAVAILABLE, str(error)) from error
        return self._answer(len(request.descriptors), counted, taken)

    def _counted(self, request: rls_pb2.RateLimitRequest) -> list[_Counted]:
        if self._limits is None:
            why = "Mixer has not heard from the control plane yet"
            raise CannotCountError(grpc.StatusCode.UNAVAILABLE, why)
        if (
            request.domain != SHARED_DOMAIN
            or len(request.descriptors) > MAX_DESCRIPTORS
            or any(len(one.entries) > MAX_ENTRIES for one in request.descriptors)
        ):
            why = f"this is no question of a proxy of the mesh: the domain is {SHARED_DOMAIN}"
            raise CannotCountError(grpc.StatusCode.INVALID_ARGUMENT, why)
        caller = self._caller()
        found: list[_Counted] = []
        for index, descriptor in enumerate(request.descriptors):
            first, *rest = descriptor.entries or (None,)
            if first is None or first.key != LIMIT_ENTRY:
                continue
            limit = self._limits.get(first.value)
            if limit is None:
                continue  # it was taken back just now, or is so new that nothing counts by it yet
            if caller not in self._proxies[limit.id]:
                why = f"proxies of {'/'.join(caller)} may not count by {limit.id}"
                raise CannotCountError(grpc.StatusCode.PERMISSION_DENIED, why)
            values = tuple(entry.value for entry in rest if entry.key != ROUTE_ENTRY)
            ask = Ask(
                _bucket(limit, values),
                rate_of(limit),
                hits_of(request, index),
                not limit.dry_run,
            )
            found.append(_Counted(index, limit, values, ask))
        return found

    def _answer(
        self, size: int, counted: list[_Counted], taken: tuple[Taken, ...]
    ) -> rls_pb2.RateLimitResponse:
        proto = rls_pb2.RateLimitResponse(overall_code=OK)
        statuses = [rls_pb2.RateLimitResponse.DescriptorStatus(code=OK) for _ in range(size)]
        refused = [
            (one, result)
            for one, result in zip(counted, taken, strict=True)
            if one.ask.enforced and not result.allowed
        ]
        now = self._now()
        for one, result in zip(counted, taken, strict=True):
            over = one.ask.enforced and not result.allowed
            if over or not (refused and one.ask.enforced):  # else nothing was taken
                values = tuple(value[:MAX_SHOWN] for value in one.values)
                self.usage.note(one.limit.id, values, result, now, passed=result.allowed)
            if one.ask.enforced and (over or one.limit.quota_headers):
                statuses[one.index] = status(
                    rate_of(one.limit), result, refused=over, name=_policy(one.limit)
                )
        proto.statuses.extend(statuses)
        _quota_headers(proto, counted, taken)
        if refused:
            proto.overall_code = OVER_LIMIT
            add_header(proto, "retry-after", retry_after(result for _, result in refused))
            limit = refused[0][0].limit
            if limit.body:
                proto.raw_body = limit.body.encode()
                add_header(proto, "content-type", limit.content_type)
        return proto


def _bucket(limit: CountedLimit, values: tuple[str, ...]) -> str:
    """Different for different values, however they are written.

    And for different rates: by a higher one nobody waits for what the lower one has counted.
    """
    rate = f"{limit.requests}/{limit.period}/{limit.burst}"
    name = "|".join((limit.id, rate, *(quote(value, safe="/:") for value in values)))
    if len(name) <= MAX_KEY:
        return name
    return f"{limit.id}|#{hashlib.sha256(name.encode()).hexdigest()}"


def _policy(limit: CountedLimit) -> str:
    """Its name in quota headers."""
    return limit.id.replace("/", ".")


def _quota_headers(
    proto: rls_pb2.RateLimitResponse, counted: list[_Counted], taken: tuple[Taken, ...]
) -> None:
    """https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/"""
    told = [
        (one.limit, result)
        for one, result in zip(counted, taken, strict=True)
        if one.limit.quota_headers and not one.limit.dry_run
    ]
    if not told:
        return
    policies = (f'"{_policy(one)}";q={one.requests};w={one.period}' for one, _ in told)
    left = (
        f'"{_policy(one)}";r={result.remaining if result.allowed else 0};t={int(result.reset + 0.999)}'
        for one, result in told
    )
    add_header(proto, "ratelimit-policy", ", ".join(policies))
    add_header(proto, "ratelimit", ", ".join(left))
