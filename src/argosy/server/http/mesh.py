"""Argosy's own endpoints: how far a revision got, the proxies, the control plane, identities."""

from datetime import UTC, datetime
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from argosy.api import registry
from argosy.base.names import Namespace
from argosy.server.http.auth import (
    CERTIFICATES_PATH,
    bearer_token,
    require_look,
    require_node,
    require_read,
)
from argosy.server.http.encoding import json_response
from argosy.server.http.errors import ApiError
from argosy.server.http.gate import actor_of
from argosy.server.http.services import (
    ApiServices,
    Distribution,
    IssuedToken,
    RefusedError,
    TokenRequest,
)

_T = TypeVar("_T")

MAX_WAIT_SECONDS = 600.0
MIN_TOKEN_SECONDS = 600
"""Kubernetes' shortest lifetime of a requested token."""


class CertificateBody(msgspec.Struct, frozen=True):
    """``csr`` is PEM. The workload's token may stand here or in the Authorization header.

    ``signer`` is the name of who shall sign; empty: whoever signs for all.
    """

    csr: str
    token: str = ""
    signer: str = ""


class BoundObject(msgspec.Struct, frozen=True):
    kind: str = ""
    name: str = ""


class TokenSpec(msgspec.Struct, frozen=True, rename="camel"):
    audiences: tuple[str, ...] = ()
    expiration_seconds: int = 3600
    bound_object_ref: BoundObject | None = None


class TokenBody(msgspec.Struct, frozen=True):
    """A TokenRequest of authentication.k8s.io/v1, as far as Argosy reads it."""

    spec: TokenSpec = TokenSpec()


def routes(services: ApiServices) -> list[BaseRoute]:
    endpoints = _Endpoints(services)
    ours = "/apis/argosy.dev/v1alpha1"
    return [
        Route("/healthz", endpoints.healthy),
        Route("/livez", endpoints.healthy),
        Route("/readyz", endpoints.ready),
        Route(f"{ours}/distribution", endpoints.distribution),
        Route(f"{ours}/proxies", endpoints.proxies),
        Route(f"{ours}/status", endpoints.status),
        Route(f"{ours}/places/{{kind}}", endpoints.places),
        Route(CERTIFICATES_PATH, endpoints.certificate, methods=["POST"]),
        Route(
            "/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token",
            endpoints.token,
            methods=["POST"],
        ),
    ]


class _Endpoints:
    def __init__(self, services: ApiServices) -> None:
        self._services = services

    async def healthy(self, _request: Request) -> Response:
        return PlainTextResponse("ok")

    async def ready(self, _request: Request) -> Response:
        waiting = self._services.proxies.ready()
        return PlainTextResponse(waiting or "ok", 503 if waiting else 200)

    async def distribution(self, request: Request) -> Response:
        actor = actor_of(request)
        require_look(actor)
        revision = number(request, "revision", default=self._services.store.revision)
        seconds = number(request, "timeoutSeconds", default=30)
        answer = await self._services.proxies.distribution(
            int(revision), min(float(seconds), MAX_WAIT_SECONDS)
        )
        return json_response(_visible(answer, actor.namespace))

    async def proxies(self, request: Request) -> Response:
        actor = actor_of(request)
        require_look(actor)
        known = self._services.proxies.proxies()
        seen = [one for one in known if actor.namespace in ("", one.namespace)]
        return json_response({"items": seen})

    async def status(self, request: Request) -> Response:
        require_look(actor_of(request))
        facts = self._services.proxies.status()
        mixer = self._services.mixer
        runs = None if mixer is None else await mixer.runs()
        return json_response({"version": self._services.version, "mixer": runs} | facts)

    async def places(self, request: Request) -> Response:
        """Where the objects of a kind were written: files, and lines by fields.

        Of the caller's namespace, if its role holds in one alone.
        """
        actor = actor_of(request)
        kind = request.path_params["kind"]
        if kind not in registry.BY_KIND:
            raise ApiError(404, f"there is no kind {kind}")
        namespace = Namespace(actor.namespace) if actor.namespace else None
        require_read(actor, (kind,), namespace)
        found = []
        for obj in self._services.store.list(kind, namespace):
            if obj.origin is not None:
                place = {"file": obj.origin.file, "line": obj.origin.line}
                fields = dict(obj.origin.fields)
                key = {"namespace": obj.key.namespace, "name": obj.key.name}
                found.append({**key, **place, "fields": fields})
        return json_response({"items": found})

    async def certificate(self, request: Request) -> Response:
        body = decode_body(await request.body(), CertificateBody)
        token = body.token or bearer_token(request)
        if not token:
            raise ApiError(401, "a workload token is required (in the body or as bearer token)")
        try:
            chain = await self._services.certificates.issue(body.csr, token, body.signer)
        except RefusedError as error:
            raise ApiError(error.code, error.message) from error
        return json_response({"chain": chain})

    async def token(self, request: Request) -> Response:
        require_node(actor_of(request), "request workload tokens")
        spec = decode_body(await request.body() or b"{}", TokenBody).spec
        if spec.expiration_seconds < MIN_TOKEN_SECONDS:
            raise ApiError(422, f"spec.expirationSeconds: may not be less than {MIN_TOKEN_SECONDS}")
        bound = spec.bound_object_ref
        if bound is not None and bound.kind != "Pod":
            raise ApiError(422, "spec.boundObjectRef.kind: only Pod is supported")
        wanted = TokenRequest(
            namespace=request.path_params["namespace"],
            service_account=request.path_params["name"],
            pod=bound.name if bound else "",
            audiences=spec.audiences,
            expiration_seconds=spec.expiration_seconds,
        )
        try:
            issued = self._services.tokens.issue(wanted)
        except RefusedError as error:
            raise ApiError(error.code, error.message) from error
        return json_response(_token_answer(wanted, issued), 201)


def _visible(found: Distribution, namespace: str) -> Distribution:
    """The counts, and of the proxies those of one namespace; "": of all."""
    if not namespace:
        return found
    end = f".{namespace}"
    return msgspec.structs.replace(
        found,
        rejected=tuple(one for one in found.rejected if one.proxy.endswith(end)),
        pending=tuple(name for name in found.pending if name.endswith(end)),
    )


def number(request: Request, name: str, *, default: int) -> float:
    """A query parameter that is a number and not negative; 400 if it is something else."""
    text = request.query_params.get(name, "")
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value < 2**63:
        raise ApiError(400, f"the query parameter {name} is not a number: {text!r}")
    return value


def decode_body(body: bytes, kind: type[_T]) -> _T:
    """JSON as ``kind``; 400 with the reason and the path."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise ApiError(400, f"the request body is not right: {error}") from error


def rfc3339(moment: datetime) -> str:
    """UTC, whole seconds, as Kubernetes writes times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _token_answer(wanted: TokenRequest, issued: IssuedToken) -> object:
    return {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "metadata": {"name": wanted.service_account, "namespace": wanted.namespace},
        "spec": {
            "audiences": list(wanted.audiences),
            "expirationSeconds": wanted.expiration_seconds,
        },
        "status": {"token": issued.token, "expirationTimestamp": rfc3339(issued.expires)},
    }
