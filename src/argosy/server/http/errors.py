"""Failures as Kubernetes says them: JSON of kind Status, with a reason and a code.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/
"""

from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus

from starlette.responses import Response

from argosy.api.located import LocatedProblem
from argosy.base.names import ObjectKey
from argosy.base.problems import Problem
from argosy.server.http.encoding import Json, json_response
from argosy.store.transaction import (
    AlreadyExistsError,
    ConflictError,
    InvalidError,
    NotFoundError,
    StoreError,
    TooOldError,
)

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


@dataclass(frozen=True, slots=True)
class Cause:
    """One of several things that are wrong; ``field`` is a path such as ``spec.hosts``."""

    reason: str
    message: str
    field: str = ""


class ApiError(Exception):
    """A request that fails; becomes one Status. ``reason`` defaults to the code's."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        reason: str = "",
        key: ObjectKey | None = None,
        causes: Iterable[Cause] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason or _REASONS.get(code, HTTPStatus(code).phrase.replace(" ", ""))
        self.key = key
        self.causes = tuple(causes)


def from_store(error: StoreError) -> ApiError:
    """The store's refusal in HTTP."""
    match error:
        case NotFoundError(key=key):
            return ApiError(404, str(error), key=key)
        case AlreadyExistsError(key=key):
            return ApiError(409, str(error), reason="AlreadyExists", key=key)
        case ConflictError(key=key):
            return ApiError(409, str(error), key=key)
        case InvalidError(key=key, problems=problems):
            return invalid(key, problems)
        case TooOldError():
            return ApiError(410, str(error))
    raise AssertionError(f"no status for {error!r}")


def invalid(key: ObjectKey | None, problems: Iterable[Problem]) -> ApiError:
    """422 with a cause for each problem."""
    found = tuple(problems)
    causes = [Cause(problem.code, _sentence(problem), problem.field) for problem in found]
    words = "; ".join(
        f"{problem.field}: {problem.message}" if problem.field else problem.message
        for problem in found
    )
    return ApiError(422, f"{key or 'the object'} is invalid: {words}", key=key, causes=causes)


def invalid_request(problems: Iterable[LocatedProblem]) -> ApiError:
    """As :func:`invalid`, for problems of an object that was just decoded."""
    found = tuple(problems)
    assert found
    key = found[0].object
    if key is None:  # It is no object at all: there is nothing that could be invalid.
        return ApiError(400, found[0].message)
    return invalid(
        key, [Problem(key, p.field, p.code, p.message, p.hint, p.severity) for p in found]
    )


def status_body(error: ApiError) -> Json:
    """The Status object."""
    details: dict[str, Json] = {}
    if error.key is not None:
        details["name"] = error.key.name
        details["kind"] = error.key.kind
    if error.causes:
        details["causes"] = [_cause_body(cause) for cause in error.causes]
    body: dict[str, Json] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": error.message,
        "reason": error.reason,
        "code": error.code,
    }
    if details:
        body["details"] = details
    return body


def error_response(error: ApiError) -> Response:
    """The Status as a response."""
    headers = {"WWW-Authenticate": "Bearer"} if error.code == 401 else {}
    return json_response(status_body(error), error.code, headers)


def success_body(key: ObjectKey, uid: str, revision: int) -> Json:
    """The answer to a DELETE that is done, with the revision of the deletion."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": str(revision)},
        "status": "Success",
        "details": {"name": key.name, "kind": key.kind, "uid": uid},
    }


def _cause_body(cause: Cause) -> Json:
    body: dict[str, Json] = {"reason": cause.reason, "message": cause.message}
    if cause.field:
        body["field"] = cause.field
    return body


def _sentence(problem: Problem) -> str:
    return f"{problem.message}: {problem.hint}" if problem.hint else problem.message
