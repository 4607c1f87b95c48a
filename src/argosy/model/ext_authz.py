"""External authorizers: who is asked about requests that CUSTOM policies match, and how."""

from dataclasses import dataclass
from datetime import timedelta

from argosy.model.proxy import ClusterKey
from argosy.model.text_match import Text


@dataclass(frozen=True, slots=True)
class CheckedBody:
    """The first ``max_bytes`` of a request's body go with the question.

    ``allow_partial``: a longer body is cut, else refused with 413. ``as_bytes``: to a gRPC
    authorizer, as bytes instead of UTF-8 text.
    """

    max_bytes: int
    allow_partial: bool = False
    as_bytes: bool = False


@dataclass(frozen=True, slots=True)
class HttpAuthorizer:
    """Asked by an HTTP request: 200 allows, everything else is the answer to the client.

    ``fail_open``: an authorizer that does not answer allows. ``status_on_error`` None: 403.
    ``host`` is the service's name. ``added_headers`` are name and value, the others conditions on
    names of headers.
    """

    cluster: ClusterKey
    host: str
    timeout: timedelta
    path_prefix: str = ""
    fail_open: bool = False
    clear_route_cache: bool = False
    status_on_error: int | None = None
    body: CheckedBody | None = None
    sent_headers: tuple[Text, ...] = ()
    added_headers: tuple[tuple[str, str], ...] = ()
    upstream_on_allow: tuple[Text, ...] = ()
    downstream_on_deny: tuple[Text, ...] = ()
    downstream_on_allow: tuple[Text, ...] = ()


@dataclass(frozen=True, slots=True)
class GrpcAuthorizer:
    """Asked by ``envoy.service.auth.v3.Authorization/Check``; fields as of ``HttpAuthorizer``."""

    cluster: ClusterKey
    timeout: timedelta
    fail_open: bool = False
    clear_route_cache: bool = False
    status_on_error: int | None = None
    body: CheckedBody | None = None
