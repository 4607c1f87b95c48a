"""What an HTTP rule does → model: forward, redirect or answer; faults and CORS.

https://istio.io/latest/docs/reference/config/networking/virtual-service/#HTTPRoute
"""

from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus

from argosy.api.meta import Duration
from argosy.api.networking_virtual_service import (
    CorsPolicy,
    HTTPDirectResponse,
    HTTPFaultInjection,
    HTTPRedirect,
    HTTPRetry,
    HTTPRewrite,
    HTTPRoute,
    Percent,
)
from argosy.api.networking_virtual_service import Destination as ApiDestination
from argosy.base.names import Namespace
from argosy.model.route import (
    ALL_REQUESTS,
    DEFAULT_RETRIES,
    Cors,
    Delay,
    Destination,
    DirectResponse,
    Exact,
    Fault,
    Forward,
    GrpcAbort,
    HttpAbort,
    Millionths,
    Mirror,
    PathRewrite,
    Redirect,
    Regex,
    RegexRewrite,
    RetryPolicy,
    RuleRedirect,
    WeightedDestination,
)
from argosy.pilot.compile.header_operations import header_operations
from argosy.pilot.compile.hostnames import resolve
from argosy.pilot.compile.matches import string_match
from argosy.pilot.compile.report import Report

_REDIRECT_CODES = (301, 302, 303, 307, 308)
_HTTP_STATUSES = frozenset(str(int(status)) for status in HTTPStatus)
_RETRIABLE = "retriable-status-codes"

GRPC_STATUS = {
    name: number
    for number, name in enumerate(
        [
            "OK",
            "CANCELLED",
            "UNKNOWN",
            "INVALID_ARGUMENT",
            "DEADLINE_EXCEEDED",
            "NOT_FOUND",
            "ALREADY_EXISTS",
            "PERMISSION_DENIED",
            "RESOURCE_EXHAUSTED",
            "FAILED_PRECONDITION",
            "ABORTED",
            "OUT_OF_RANGE",
            "UNIMPLEMENTED",
            "INTERNAL",
            "UNAVAILABLE",
            "DATA_LOSS",
            "UNAUTHENTICATED",
        ]
    )
}
"""https://grpc.github.io/grpc/core/md_doc_statuscodes.html"""


def action(
    route: HTTPRoute, namespace: Namespace, report: Report
) -> Forward | RuleRedirect | DirectResponse | None:
    """None: the rule does nothing that could be done, so it is left out.

    Short host names mean services in ``namespace``.
    """
    if route.redirect is not None:
        return redirect(route.redirect, report.at("redirect"))
    if route.direct_response is not None:
        return direct_response(route.direct_response, report.at("directResponse"))
    if not route.route:
        report.error(
            "NoAction",
            "the rule says nothing of what to do, so it is left out",
            "give it one of route, redirect, directResponse and delegate",
        )
        return None
    return _forward(route, namespace, report)


def with_authority(
    does: Forward | RuleRedirect | DirectResponse, authority: str
) -> Forward | RuleRedirect | DirectResponse:
    """With the authority that the rule's headers set; a rewrite's own authority wins."""
    if isinstance(does, Forward) and authority and not does.authority:
        return replace(does, authority=authority)
    return does


def _forward(route: HTTPRoute, namespace: Namespace, report: Report) -> Forward | None:
    destinations = _destinations(route, namespace, report)
    if not destinations:
        report.at("route").error(
            "NoWeight",
            "all weights are 0, so the rule is left out",
            "give at least one destination a weight",
        )
        return None
    rewrite = route.rewrite
    return Forward(
        destinations=destinations,
        rewrite=_rewrite(rewrite),
        authority=rewrite.authority if rewrite is not None else "",
        timeout=_span(route.timeout) or None,
        retries=retries(route.retries),
        mirrors=_mirrors(route, namespace),
    )


def _destinations(
    route: HTTPRoute, namespace: Namespace, report: Report
) -> tuple[WeightedDestination, ...]:
    """A single destination needs no weight; among several, those of weight 0 get nothing."""
    alone = len(route.route) == 1
    found = []
    for index, weighted in enumerate(route.route):
        place = f"route[{index}]"
        if weighted.weight <= 0 and not alone:
            continue
        operations, authority = header_operations(weighted.headers, report.at(f"{place}.headers"))
        target = destination(weighted.destination, namespace, f"{place}.destination")
        weight = 1 if alone else weighted.weight
        found.append(WeightedDestination(target, weight, operations, authority))
    return tuple(found)


def destination(written: ApiDestination, namespace: Namespace, field: str) -> Destination:
    """``field`` is where it stands, relative to the rule."""
    port = written.port.number if written.port is not None else 0
    return Destination(resolve(written.host, namespace), written.subset, port or None, field)


def _rewrite(rewrite: HTTPRewrite | None) -> PathRewrite | RegexRewrite | None:
    if rewrite is None:
        return None
    if (regex := rewrite.uri_regex_rewrite) is not None:
        return RegexRewrite(regex.match, regex.rewrite)
    return PathRewrite(rewrite.uri) if rewrite.uri else None


def _mirrors(route: HTTPRoute, namespace: Namespace) -> tuple[Mirror, ...]:
    """Shares of 0 are left out."""
    wanted = []
    if route.mirror is not None:
        share = percentage(route.mirror_percentage)
        if share is None and route.mirror_percent is not None:
            share = _clamped(route.mirror_percent * 10_000)
        wanted.append((route.mirror, share, "mirror"))
    for index, policy in enumerate(route.mirrors):
        field = f"mirrors[{index}].destination"
        wanted.append((policy.destination, percentage(policy.percentage), field))
    return tuple(
        Mirror(destination(written, namespace, field), ALL_REQUESTS if share is None else share)
        for written, share, field in wanted
        if share != 0
    )


def percentage(percent: Percent | None) -> Millionths | None:
    return None if percent is None else _clamped(round(percent.value * 10_000))


def _clamped(share: int) -> Millionths:
    return max(0, min(share, ALL_REQUESTS))


def retries(retry: HTTPRetry | None) -> RetryPolicy | None:
    """No retries when ``attempts`` is 0; Istio's defaults where nothing is said.

    https://istio.io/latest/docs/reference/config/networking/virtual-service/#HTTPRetry
    """
    if retry is None:
        return DEFAULT_RETRIES
    if retry.attempts <= 0:
        return None
    retry_on, codes = _retry_on(retry.retry_on)
    return RetryPolicy(
        attempts=retry.attempts,
        retry_on=retry_on,
        status_codes=codes,
        per_try_timeout=_span(retry.per_try_timeout) or None,
        backoff=_span(retry.backoff) or None,
        previous_hosts=retry.retry_ignore_previous_hosts,
        remote_localities=bool(retry.retry_remote_localities),
    )


def _retry_on(written: str) -> tuple[str, tuple[int, ...]]:
    """Conditions and, among them, HTTP statuses, which Envoy wants apart."""
    parts = [part.strip() for part in written.split(",") if part.strip()]
    if not parts:
        return DEFAULT_RETRIES.retry_on, DEFAULT_RETRIES.status_codes
    codes = tuple(int(part) for part in parts if part in _HTTP_STATUSES)
    conditions = [part for part in parts if part not in _HTTP_STATUSES]
    if codes and _RETRIABLE not in conditions:
        conditions.append(_RETRIABLE)
    return ",".join(conditions), codes


def redirect(written: HTTPRedirect, report: Report) -> RuleRedirect | None:
    """An unknown code leaves the rule out: a wrong redirect is cached by clients."""
    code = written.redirect_code or _REDIRECT_CODES[0]
    if code not in _REDIRECT_CODES:
        known = ", ".join(str(known) for known in _REDIRECT_CODES)
        report.at("redirectCode").error(
            "InvalidRedirectCode", f"{code} is no redirect, so the rule is left out", known
        )
        return None
    model = Redirect(
        code=code,
        path=written.uri,
        path_prefix="" if written.uri else written.prefix_rewrite,
        authority=written.authority,
        scheme=written.scheme.lower(),
        port=written.port or None,
    )
    return RuleRedirect(model, port_of_request=written.derive_port == "FROM_REQUEST_PORT")


def direct_response(written: HTTPDirectResponse, report: Report) -> DirectResponse | None:
    if not 200 <= written.status <= 599:
        report.at("status").error(
            "InvalidStatus",
            f"Envoy cannot answer with the status {written.status}, so the rule is left out",
            "use 200 to 599",
        )
        return None
    body = written.body
    if body is None:
        return DirectResponse(written.status)
    return DirectResponse(written.status, body.string if body.string is not None else body.data)


def fault(written: HTTPFaultInjection | None, report: Report) -> Fault | None:
    """A delay without a percentage delays nothing; an abort without one aborts everything.

    https://istio.io/latest/docs/reference/config/networking/virtual-service/#HTTPFaultInjection
    """
    if written is None:
        return None
    delay = _delay(written, report.at("delay"))
    abort = _abort(written, report.at("abort"))
    return Fault(delay, abort) if delay is not None or abort is not None else None


def _delay(written: HTTPFaultInjection, report: Report) -> Delay | None:
    if (delay := written.delay) is None:
        return None
    fixed = _span(delay.fixed_delay)
    if not fixed:
        report.error("NoFixedDelay", "only a fixedDelay above 0 can delay requests")
        return None
    share = percentage(delay.percentage)
    return Delay(fixed, _clamped(delay.percent * 10_000) if share is None else share)


def _abort(written: HTTPFaultInjection, report: Report) -> HttpAbort | GrpcAbort | None:
    if (abort := written.abort) is None:
        return None
    share = percentage(abort.percentage)
    if share is None:
        share = ALL_REQUESTS
    if abort.grpc_status is not None:
        status = GRPC_STATUS.get(abort.grpc_status.upper())
        if status is not None:
            return GrpcAbort(status, share)
        report.at("grpcStatus").error(
            "InvalidGrpcStatus",
            f"there is no gRPC status {abort.grpc_status}, so nothing is aborted",
            "such as UNAVAILABLE",
        )
    elif abort.http_status is not None and 200 <= abort.http_status <= 599:
        return HttpAbort(abort.http_status, share)
    else:
        report.error("NoAbortStatus", "an abort needs an httpStatus (200 to 599) or grpcStatus")
    return None


def cors(written: CorsPolicy | None) -> Cors | None:
    if written is None:
        return None
    origins = tuple(string_match(origin) or Regex(".*") for origin in written.allow_origins)
    return Cors(
        allow_origins=origins or tuple(Exact(origin) for origin in written.allow_origin),
        allow_methods=written.allow_methods,
        allow_headers=written.allow_headers,
        expose_headers=written.expose_headers,
        max_age=None if written.max_age is None else written.max_age // 1000,
        allow_credentials=written.allow_credentials,
        forward_unmatched_preflights=written.unmatched_preflights != "IGNORE",
    )


def _span(duration: Duration | None) -> timedelta | None:
    return None if duration is None else timedelta(milliseconds=duration)
