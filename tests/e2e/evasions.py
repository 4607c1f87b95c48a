"""Ways to ask for what a policy refuses by other words, and what must come of each.

From Istio's security bulletins and Envoy's: paths (2021-005, 2021-008), hosts (2021-008), headers
(2026-001). HTTP/1.1 requests are sent byte by byte.
"""

from dataclasses import dataclass

Headers = tuple[tuple[str, str], ...]

REFUSED, BAD, PASSED, NOT_ANSWERED = 403, 400, 200, 0

DENY = {
    "action": "DENY",
    "rules": [
        {"to": [{"operation": {"paths": ["/admin", "/all/*", "/t/{**}"]}}]},
        {"to": [{"operation": {"hosts": ["secret.com", "*.secret.com"]}}]},
        {"to": [{"operation": {"methods": ["DELETE"]}}]},
        {"when": [{"key": "request.headers[x-role]", "values": ["admin"]}]},
    ],
}
"""The policy that they try to get round."""


@dataclass(frozen=True)
class Try:
    """``http1`` and ``http2`` are the statuses that may come; empty: it cannot be sent so.

    PASSED is whatever the workload says: it is not what the policy refuses.
    """

    target: str
    http1: frozenset[int]
    http2: frozenset[int]
    method: str = "GET"
    host: str = "open.com"
    headers: Headers = ()


def _try(
    target: str,
    http1: int | tuple[int, ...],
    http2: int | tuple[int, ...] | None = None,
    **more: object,
) -> Try:
    def statuses(one: int | tuple[int, ...]) -> frozenset[int]:
        return frozenset(one if isinstance(one, tuple) else (one,))

    second = statuses(http1 if http2 is None else http2)
    return Try(target, statuses(http1), second, **more)  # type: ignore[arg-type]


NOT_SENT_ON = 503
"""A proxy on the way would not send it, or the next would not have it."""

_BAD = (BAD, NOT_ANSWERED, NOT_SENT_ON)

PATHS = [
    _try("/ip", PASSED),
    _try("/admin", REFUSED),
    _try("/admin?x=1", REFUSED),
    _try("/admin#x", BAD),
    _try("/admin?#x", BAD),
    _try("/./admin", REFUSED),
    _try("/x/../admin", REFUSED),
    _try("/x/%2e%2e/admin", REFUSED),
    _try("/%2E/admin", REFUSED),
    _try("/%61dmin", REFUSED),
    _try("/%61%64%6d%69%6e", REFUSED),
    _try("/x\\..\\admin", REFUSED),
    _try("\\admin", _BAD),
    _try("/admin%00", BAD),
    _try("/all/a%2fb", REFUSED),
    _try("/all/%5c..%5cip", (REFUSED, PASSED)),
    _try("/x/../all/y", REFUSED),
    _try("/t/a*b|c^d", REFUSED),
    _try("/t/a/b/c", REFUSED),
    _try("/t/%ff", REFUSED),
    _try("http://open.com/admin", REFUSED, _BAD),
    _try("HTTP://open.com/admin", REFUSED, _BAD),
    _try("admin", _BAD),
    _try("/ad min", _BAD, (*_BAD, PASSED)),
    # These are other paths, as Istio documents it.
    _try("/Admin", PASSED),
    _try("/admin/", PASSED),
    _try("/admin;x", PASSED),
    _try("/admin%2f", PASSED),
    _try("//admin", PASSED),
]

HOSTS = [
    _try("/ip", REFUSED, host="secret.com"),
    _try("/ip", REFUSED, host="Secret.COM"),
    _try("/ip", REFUSED, host="secret.com:80"),
    _try("/ip", REFUSED, host="secret.com:8000"),
    _try("/ip", REFUSED, host="secret.com."),
    _try("/ip", REFUSED, host="secret.com.:80"),
    _try("/ip", REFUSED, host="secret.com:"),
    _try("/ip", REFUSED, host="a.Secret.com:80"),
    _try("/ip", (REFUSED, *_BAD), host="me@secret.com"),
    _try("/ip", (REFUSED, *_BAD), host="open.com,secret.com"),
    _try("/ip", (REFUSED, *_BAD), host="open.com, secret.com"),
    _try("/ip", PASSED, host="opensecret.com"),
    _try("http://secret.com/ip", REFUSED, _BAD),
    _try("http://open.com/ip", PASSED, _BAD, host="secret.com"),
    _try("/ip", (REFUSED, BAD), PASSED, headers=(("host", "secret.com"),)),
    _try("/ip", (REFUSED, BAD), REFUSED, host="secret.com", headers=(("host", "open.com"),)),
]

METHODS = [
    _try("/delete", REFUSED, method="DELETE"),
    _try("/delete", _BAD, (REFUSED, *_BAD), method="delete"),
    _try("/delete", _BAD, (REFUSED, *_BAD), method="Delete"),
    _try("/delete", (REFUSED, BAD), _BAD, method="DELETE "),
    _try("/get", _BAD, (*_BAD, PASSED), method="get"),
]

HEADERS = [
    _try("/ip", REFUSED, headers=(("x-role", "admin"),)),
    _try("/ip", REFUSED, headers=(("X-ROLE", "admin"),), http2=_BAD),
    _try("/ip", REFUSED, headers=(("x-role", "user"), ("x-role", "admin"))),
    _try("/ip", REFUSED, headers=(("x-role", "admin"), ("x-role", "user"))),
    _try("/ip", REFUSED, (REFUSED, *_BAD), headers=(("x-role", " admin "),)),
    _try("/ip", BAD, _BAD, headers=(("x-role ", "admin"),)),
    _try("/ip", PASSED, headers=(("x-role", "Admin"),)),
    _try("/ip", PASSED, headers=(("x-roles", "admin"),)),
]
