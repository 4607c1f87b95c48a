"""What must hold for one HTTP route of a VirtualService.

Rules as in Istio's ``pkg/config/validation/virtualservice.go``.
"""

from collections.abc import Iterator
from http import HTTPStatus

from argosy.api.located import child
from argosy.api.networking_virtual_service import (
    CorsPolicy,
    Headers,
    HTTPDirectResponse,
    HTTPFaultInjection,
    HTTPMatchRequest,
    HTTPRedirect,
    HTTPRetry,
    HTTPRewrite,
    HTTPRoute,
    StringMatch,
)
from argosy.api.typed import Mistake, did_you_mean, short
from argosy.api.validate_metadata import is_dns_label, is_dns_subdomain
from argosy.api.validate_values import (
    check_duration,
    check_header_name,
    check_header_value,
    check_one_of,
    check_percent,
    check_percentage,
    check_port,
    check_regex,
    check_string_match,
    warning,
)

RETRY_ON = frozenset(
    [
        "5xx",
        "gateway-error",
        "reset",
        "reset-before-request",
        "connect-failure",
        "envoy-ratelimited",
        "retriable-4xx",
        "refused-stream",
        "retriable-status-codes",
        "retriable-headers",
        "http3-post-connect-failure",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
    ]
)
"""https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter"""

GRPC_STATUSES = [
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
"""In the order of their numbers, from 0."""

_CORS_METHODS = frozenset(
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*"]
)
_STATUSES = frozenset(status.value for status in HTTPStatus)
_MAX_BODY = 2**20
_LARGE_BODY = 100 * 1024


def check_http_route(route: HTTPRoute, path: str, *, delegate: bool) -> Iterator[Mistake]:
    """All mistakes but those of its destinations. ``delegate``: it is in a delegate."""
    yield from _action(route, path, delegate)
    for i, match in enumerate(route.match):
        joined = delegate or route.delegate is not None
        yield from _match(match, f"{path}.match[{i}]", joined)
    yield from _headers(route.headers, f"{path}.headers")
    for i, target in enumerate(route.route):
        yield from _headers(target.headers, f"{path}.route[{i}].headers")
    yield from check_duration(route.timeout, f"{path}.timeout", zero=True)
    yield from _retries(route.retries, f"{path}.retries")
    yield from _fault(route.fault, f"{path}.fault")
    yield from _redirect(route.redirect, f"{path}.redirect")
    yield from _rewrite(route, f"{path}.rewrite")
    yield from _direct_response(route.direct_response, f"{path}.directResponse")
    yield from _mirrors(route, path)
    yield from _cors(route.cors_policy, f"{path}.corsPolicy")


def _action(route: HTTPRoute, path: str, delegate: bool) -> Iterator[Mistake]:
    """Exactly one of route, redirect, directResponse and delegate."""
    actions = {
        "route": route.route or None,
        "redirect": route.redirect,
        "directResponse": route.direct_response,
        "delegate": route.delegate,
    }
    yield from check_one_of(actions, path, required=True)
    if route.delegate is not None:
        yield from _delegate(route, path, delegate)
    for name, action in (("redirect", route.redirect), ("directResponse", route.direct_response)):
        if action is None:
            continue
        for other, value in (("fault", route.fault), ("rewrite", route.rewrite)):
            if value is not None:
                message = f"{other} and {name} exclude each other"
                yield Mistake(f"{path}.{other}", "ConflictingFields", message, f"Remove {other}")


def _delegate(route: HTTPRoute, path: str, delegate: bool) -> Iterator[Mistake]:
    where = f"{path}.delegate"
    assert route.delegate is not None
    if delegate:
        message = "a delegate cannot delegate further: one level only"
        yield Mistake(where, "NotAllowed", message)
    if not route.delegate.name:
        yield Mistake(f"{where}.name", "MissingField", "the delegate has no name")
    elif not is_dns_subdomain(route.delegate.name):
        message = f"{short(route.delegate.name)} is not the name of a virtual service"
        yield Mistake(f"{where}.name", "InvalidName", message)
    if route.delegate.namespace and not is_dns_label(route.delegate.namespace):
        message = f"{short(route.delegate.namespace)} is not a namespace"
        yield Mistake(f"{where}.namespace", "InvalidName", message)


def _match(match: HTTPMatchRequest, path: str, joined: bool) -> Iterator[Mistake]:
    single = {
        "uri": match.uri,
        "scheme": match.scheme,
        "method": match.method,
        "authority": match.authority,
    }
    for field, value in single.items():
        yield from check_string_match(value, f"{path}.{field}")
        yield from _no_regex(value, f"{path}.{field}", joined)
    maps = (
        ("headers", match.headers),
        ("withoutHeaders", match.without_headers),
        ("queryParams", match.query_params),
    )
    for field, values in maps:
        for name, value in values.items():
            where = child(f"{path}.{field}", name)
            yield from check_string_match(value, where, presence=True)
            yield from _no_regex(value, where, joined)
            if field != "queryParams" and not name.startswith("@request.auth.claims"):
                yield from check_header_name(name, where, pseudo=True)


def _no_regex(match: StringMatch | None, path: str, joined: bool) -> Iterator[Mistake]:
    """The matches of a rule and of its delegate are merged, which regular expressions forbid."""
    if joined and match is not None and match.regex is not None:
        message = "regular expressions are not supported where routes are delegated"
        yield Mistake(f"{path}.regex", "NotAllowed", message, "Write exact or prefix")


def _headers(headers: Headers | None, path: str) -> Iterator[Mistake]:
    if headers is None:
        return
    for side, operations in (("request", headers.request), ("response", headers.response)):
        if operations is None:
            continue
        for verb, values in (("set", operations.set), ("add", operations.add)):
            for name, value in values.items():
                where = child(f"{path}.{side}.{verb}", name)
                yield from _header_operation(name, where, authority=side == "request")
                yield from check_header_value(value, where)
        for i, name in enumerate(operations.remove):
            yield from _header_operation(name, f"{path}.{side}.remove[{i}]", authority=False)


def _header_operation(name: str, path: str, *, authority: bool) -> Iterator[Mistake]:
    """Envoy allows to change neither pseudo headers nor Host, but for the request's authority."""
    is_authority = name.lower() in (":authority", "host")
    if is_authority and authority:
        return
    if is_authority or name.startswith(":"):
        yield Mistake(path, "InvalidHeader", f"the header {short(name)} cannot be changed here")
        return
    yield from check_header_name(name, path)


def _retries(retries: HTTPRetry | None, path: str) -> Iterator[Mistake]:
    if retries is None:
        return
    if retries.attempts < 0:
        message = f"{retries.attempts} is not a number of attempts"
        yield Mistake(f"{path}.attempts", "OutOfRange", message, "Write 0 (no retries) or more")
    settings = (retries.per_try_timeout, retries.retry_on or None, retries.retry_remote_localities)
    if retries.attempts == 0 and any(setting is not None for setting in settings):
        message = "attempts is 0, which turns retries off, but there are settings for them"
        hint = "Write attempts, or remove the other fields"
        yield Mistake(f"{path}.attempts", "ConflictingFields", message, hint)
    yield from check_duration(retries.per_try_timeout, f"{path}.perTryTimeout", zero=True)
    yield from check_duration(retries.backoff, f"{path}.backoff")
    for word in retries.retry_on.split(",") if retries.retry_on else ():
        known = word in RETRY_ON or (word.isdigit() and int(word[:9]) in _STATUSES)
        if not known:
            hint = did_you_mean(word.strip(), sorted(RETRY_ON)) if word.strip() else ""
            hint = "Write no spaces" if word.strip() in RETRY_ON else hint
            message = f"{short(word)} is not a condition for retries"
            yield Mistake(f"{path}.retryOn", "InvalidValue", message, hint)


def _fault(fault: HTTPFaultInjection | None, path: str) -> Iterator[Mistake]:
    if fault is None:
        return
    if fault.delay is None and fault.abort is None:
        yield Mistake(path, "MissingField", "a fault needs a delay or an abort")
    if (delay := fault.delay) is not None:
        where = f"{path}.delay"
        yield from check_percentage(delay.percentage, f"{where}.percentage")
        yield from check_percent(delay.percent, f"{where}.percent")
        yield from check_duration(delay.fixed_delay, f"{where}.fixedDelay")
        if delay.percent:
            yield _deprecated(f"{where}.percent", "percentage")
        if delay.exponential_delay is not None:
            message = "exponentialDelay is not supported, as in Istio"
            yield Mistake(f"{where}.exponentialDelay", "NotAllowed", message, "Write fixedDelay")
        elif delay.fixed_delay is None:
            message = "the delay has no fixedDelay, so it does nothing"
            yield warning(where, "NoEffect", message)
    if (abort := fault.abort) is not None:
        where = f"{path}.abort"
        yield from check_percentage(abort.percentage, f"{where}.percentage")
        errors = {
            "httpStatus": abort.http_status,
            "grpcStatus": abort.grpc_status,
            "http2Error": abort.http2_error,
        }
        yield from check_one_of(errors, where, required=False)
        if all(error is None for error in errors.values()):
            message = "the abort has no httpStatus or grpcStatus, so it does nothing"
            yield warning(where, "NoEffect", message)
        if abort.http_status is not None:
            yield from _status(abort.http_status, f"{where}.httpStatus")
        if abort.http2_error is not None:
            message = "http2Error is not supported, as in Istio"
            hint = "Write httpStatus or grpcStatus"
            yield Mistake(f"{where}.http2Error", "NotAllowed", message, hint)
        if abort.grpc_status is not None:
            yield from _grpc_status(abort.grpc_status, f"{where}.grpcStatus")


def _status(status: int, path: str) -> Iterator[Mistake]:
    if not 200 <= status <= 599:
        message = f"{status} is not an HTTP status that can be sent"
        yield Mistake(path, "OutOfRange", message, "Statuses are 200 to 599")


def _grpc_status(status: str, path: str) -> Iterator[Mistake]:
    if status not in GRPC_STATUSES and not (status.isdigit() and int(status[:9]) <= 16):
        hint = did_you_mean(status, GRPC_STATUSES) or "Write a name such as UNAVAILABLE"
        yield Mistake(path, "InvalidValue", f"{short(status)} is not a gRPC status", hint)


def _redirect(redirect: HTTPRedirect | None, path: str) -> Iterator[Mistake]:
    if redirect is None:
        return
    anything = redirect.uri or redirect.prefix_rewrite or redirect.authority or redirect.scheme
    if not anything and redirect.port is None and redirect.derive_port is None:
        message = "the redirect changes nothing"
        yield Mistake(path, "MissingField", message, "Write uri, authority, scheme or port")
    if redirect.uri and redirect.prefix_rewrite:
        message = "uri and prefixRewrite exclude each other"
        yield Mistake(path, "ConflictingFields", message, "Keep one of them")
    ports = {"port": redirect.port, "derivePort": redirect.derive_port}
    yield from check_one_of(ports, path, required=False)
    if redirect.port is not None:
        yield from check_port(redirect.port, f"{path}.port")
    if redirect.redirect_code and redirect.redirect_code not in (301, 302, 303, 307, 308):
        message = f"{redirect.redirect_code} is not a status of a redirect"
        yield Mistake(
            f"{path}.redirectCode", "InvalidValue", message, "Use 301, 302, 303, 307 or 308"
        )
    if redirect.scheme not in ("", "http", "https"):
        message = f"{short(redirect.scheme)} is not a scheme"
        yield Mistake(f"{path}.scheme", "InvalidValue", message, "Use http or https")


def _rewrite(route: HTTPRoute, path: str) -> Iterator[Mistake]:
    rewrite: HTTPRewrite | None = route.rewrite
    request = route.headers.request if route.headers is not None else None
    sources = [rewrite.authority] if rewrite is not None and rewrite.authority else []
    if request is not None:
        both = (*request.set.items(), *request.add.items())
        sources += [value for name, value in both if name.lower() in (":authority", "host")]
    if len(sources) > 1:
        message = f"the authority is set {len(sources)} times: {', '.join(map(short, sources))}"
        yield Mistake(path, "ConflictingFields", message, "Set it in one place")
    if rewrite is None:
        return
    regex = rewrite.uri_regex_rewrite
    if rewrite.uri and regex is not None:
        message = "uri and uriRegexRewrite exclude each other"
        yield Mistake(path, "ConflictingFields", message, "Keep one of them")
    if not rewrite.uri and regex is None and not rewrite.authority:
        message = "the rewrite changes nothing"
        yield Mistake(path, "MissingField", message, "Write uri, uriRegexRewrite or authority")
    if regex is not None:
        yield from check_regex(regex.match, f"{path}.uriRegexRewrite.match")
        if not regex.rewrite:
            message = "there is nothing to put in place of the match"
            yield Mistake(f"{path}.uriRegexRewrite.rewrite", "MissingField", message)


def _direct_response(response: HTTPDirectResponse | None, path: str) -> Iterator[Mistake]:
    if response is None:
        return
    yield from _status(response.status, f"{path}.status")
    if (body := response.body) is None:
        return
    yield from check_one_of(
        {"string": body.string, "bytes": body.data}, f"{path}.body", required=True
    )
    size = len(body.data or (body.string or "").encode())
    if size > _MAX_BODY:
        message = f"the body has {size} bytes; the limit is 1 MB"
        yield Mistake(f"{path}.body", "TooLong", message)
    elif size > _LARGE_BODY:
        message = f"a body of {size} bytes is kept by every proxy"
        yield warning(f"{path}.body", "TooLong", message, "Serve it from a service")


def _mirrors(route: HTTPRoute, path: str) -> Iterator[Mistake]:
    if route.mirror is not None and route.mirrors:
        message = "mirror and mirrors exclude each other"
        yield Mistake(f"{path}.mirror", "ConflictingFields", message, "Keep mirrors")
    yield from check_percent(route.mirror_percent, f"{path}.mirrorPercent")
    yield from check_percentage(route.mirror_percentage, f"{path}.mirrorPercentage")
    if route.mirror_percent is not None:
        yield _deprecated(f"{path}.mirrorPercent", "mirrorPercentage")
    for i, mirror in enumerate(route.mirrors):
        yield from check_percentage(mirror.percentage, f"{path}.mirrors[{i}].percentage")


def _cors(policy: CorsPolicy | None, path: str) -> Iterator[Mistake]:
    if policy is None:
        return
    if policy.allow_origin:
        yield _deprecated(f"{path}.allowOrigin", "allowOrigins")
    for i, origin in enumerate(policy.allow_origins):
        yield from check_string_match(origin, f"{path}.allowOrigins[{i}]")
    for i, method in enumerate(policy.allow_methods):
        if method not in _CORS_METHODS:
            message = f"{short(method)} is not an HTTP method"
            hint = did_you_mean(method, sorted(_CORS_METHODS))
            yield Mistake(f"{path}.allowMethods[{i}]", "InvalidValue", message, hint)
    for field, names in (
        ("allowHeaders", policy.allow_headers),
        ("exposeHeaders", policy.expose_headers),
    ):
        for i, name in enumerate(names):
            yield from check_header_name(name, f"{path}.{field}[{i}]")
    yield from check_duration(policy.max_age, f"{path}.maxAge", zero=True)
    if policy.max_age is not None and policy.max_age % 1000:
        message = f"{policy.max_age} is not in whole seconds"
        yield Mistake(f"{path}.maxAge", "InvalidDuration", message, "Write whole seconds")


def _deprecated(path: str, instead: str) -> Mistake:
    name = path.rsplit(".", 1)[-1]
    return warning(path, "Deprecated", f"{name} is deprecated", f"Write {instead}")
