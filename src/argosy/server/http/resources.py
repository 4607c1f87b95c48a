"""Kubernetes' verbs on every kind: list, watch, get, create, replace, patch, delete, status.

https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from argosy.api.meta import Object
from argosy.api.registry import BY_KIND
from argosy.server.http.auth import require_read, require_write
from argosy.server.http.encoding import Json, encode, json_response
from argosy.server.http.errors import ApiError, success_body
from argosy.server.http.gate import actor_of
from argosy.server.http.merge_patch import merge_patch
from argosy.server.http.mesh import decode_body
from argosy.server.http.objects import Presenter, from_data, media_type, read_object
from argosy.server.http.selectors import Selector, SelectorError, selector
from argosy.server.http.target import Target, target_of
from argosy.server.http.watching import Watching, is_true, seconds_of, since_of, watch_response
from argosy.store.admission import deletions
from argosy.store.store import Store
from argosy.store.transaction import Commit, Create, Delete, Operation, Put, Replace, SetStatus

MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
_CHUNK = 200
"""Objects of a list that are encoded before others get a turn."""

NAMESPACED = {kind: entry.namespaced for kind, entry in BY_KIND.items()}


class Preconditions(msgspec.Struct, frozen=True, rename="camel"):
    uid: str = ""
    resource_version: str = ""


class DeleteOptions(msgspec.Struct, frozen=True, rename="camel"):
    """The body of a DELETE, as far as Argosy reads it."""

    preconditions: Preconditions = Preconditions()
    dry_run: tuple[str, ...] = ()


def routes(store: Store, presenter: Presenter, accept: Callable[[Commit], None]) -> list[BaseRoute]:
    """``accept`` hears of every commit that was done."""
    resources = Resources(store, presenter, accept)
    found: list[BaseRoute] = []
    for prefix in ("/api/{version}", "/apis/{group}/{version}"):
        inside = prefix + "/namespaces/{namespace}/{plural}"
        cluster = prefix + "/{plural}"
        many, one = ["GET", "POST", "DELETE"], ["GET", "PUT", "PATCH", "DELETE"]
        status = ["GET", "PUT", "PATCH"]
        found += [
            Route(cluster + "/{name}/status", resources.status, methods=status),
            Route(inside + "/{name}/status", resources.status, methods=status),
            Route(inside + "/{name}", resources.one, methods=one),
            Route(inside, resources.many, methods=many),
            Route(cluster + "/{name}", resources.one, methods=one),
            Route(cluster, resources.many, methods=many),
        ]
    return found


class Resources:
    def __init__(
        self, store: Store, presenter: Presenter, accept: Callable[[Commit], None]
    ) -> None:
        self._store = store
        self._presenter = presenter
        self._accept = accept

    async def many(self, request: Request) -> Response:
        target = target_of(request)
        actor = actor_of(request)
        match request.method:
            case "POST":
                require_write(actor, target.new_key)
                return await self._create(request, target)
            case "DELETE":
                require_write(actor, target.any_key)
                return self._delete_many(request, target)
        require_read(actor, (target.kind.kind,), target.place)
        if is_true(request, "watch"):
            return self._watch(request, target)
        return self._list(request, target)

    async def one(self, request: Request) -> Response:
        target = target_of(request)
        actor = actor_of(request)
        if request.method in ("GET", "HEAD"):
            require_read(actor, (target.kind.kind,), target.place)
            return self._answer(self._store.require(target.key), target)
        require_write(actor, target.key)
        match request.method:
            case "PUT":
                value = read_object(await request.body(), _content_type(request), target)
                return self._write(request, Replace(value), target)
            case "PATCH":
                return await self._patch(request, target)
        return await self._delete(request, target)

    async def status(self, request: Request) -> Response:
        target = target_of(request)
        actor = actor_of(request)
        if request.method in ("GET", "HEAD"):
            require_read(actor, (target.kind.kind,), target.place)
            return self._answer(self._store.require(target.key), target)
        require_write(actor, target.key, "status")
        if not hasattr(target.kind.struct(), "status"):
            raise ApiError(404, f"{target.kind.kind} has no status")
        if request.method == "PUT":
            value = read_object(await request.body(), _content_type(request), target)
        else:
            value = await self._patched(request, target)
        return self._write(request, SetStatus(value), target)

    async def _create(self, request: Request, target: Target) -> Response:
        if target.kind.namespaced and target.namespace is None:
            raise ApiError(405, f"{target.kind.kind} is created in a namespace")
        value = read_object(await request.body(), _content_type(request), target)
        require_write(actor_of(request), value.key)
        return self._write(request, Create(value), target)

    async def _patch(self, request: Request, target: Target) -> Response:
        if media_type(_content_type(request)) == APPLY_PATCH:
            value = read_object(await request.body(), APPLY_PATCH, target)
            return self._write(request, Put(value), target)
        return self._write(request, Replace(await self._patched(request, target)), target)

    async def _patched(self, request: Request, target: Target) -> Object:
        """The stored object with the merge patch of the request; no await after reading it."""
        if media_type(_content_type(request)) not in (MERGE_PATCH, "application/json"):
            raise ApiError(
                415,
                f"the patch type {_content_type(request) or '(none)'} is not supported:"
                f" use {MERGE_PATCH} or {APPLY_PATCH}",
            )
        body = await request.body()
        try:
            patch: Json = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ApiError(400, f"the patch is not JSON: {error}") from error
        if not isinstance(patch, dict):
            raise ApiError(400, "the patch is not an object")
        current = self._presenter.stored(self._store.require(target.key))
        return from_data(merge_patch(current, patch), target)

    async def _delete(self, request: Request, target: Target) -> Response:
        body = await request.body()
        options = decode_body(body, DeleteOptions) if body.strip() else DeleteOptions()
        *inside, last = deletions(target.key, NAMESPACED, self._store.list)
        wanted = options.preconditions
        last = Delete(last.key, wanted.resource_version, wanted.uid)
        dry_run = _dry_run(request) or "All" in options.dry_run
        commit = self._store.apply([*inside, last], dry_run=dry_run)
        if not dry_run:
            self._accept(commit)
        gone = commit.outcomes[-1].object
        assert gone is not None
        return json_response(success_body(target.key, gone.metadata.uid, commit.revision))

    def _delete_many(self, request: Request, target: Target) -> Response:
        wanted = _selector(request)
        deleted = self._selected(target, wanted)
        operations: list[Operation] = []
        for value in deleted:
            operations += deletions(value.key, NAMESPACED, self._store.list)
        commit = self._store.apply(operations, dry_run=_dry_run(request))
        if not _dry_run(request):
            self._accept(commit)
        return self._list_response(target, deleted, commit.revision)

    def _list(self, request: Request, target: Target) -> Response:
        values = self._selected(target, _selector(request))
        return self._list_response(target, values, self._store.revision)

    def _list_response(
        self, target: Target, values: list[Object], revision: int
    ) -> StreamingResponse:
        head = {
            "kind": f"{target.kind.kind}List",
            "apiVersion": target.api_version,
            "metadata": {"resourceVersion": str(revision)},
        }

        async def chunks() -> AsyncIterator[bytes]:
            yield encode(head)[:-1] + b',"items":['
            for start in range(0, len(values), _CHUNK):
                bodies = [
                    encode(self._presenter.body(value, target.api_version))
                    for value in values[start : start + _CHUNK]
                ]
                yield (b"," if start else b"") + b",".join(bodies)
                await asyncio.sleep(0)
            yield b"]}"

        return StreamingResponse(chunks(), media_type="application/json")

    def _selected(self, target: Target, wanted: Selector) -> list[Object]:
        values = self._store.list(target.kind.kind, target.namespace)
        return [value for value in values if wanted.matches(value.key, value.metadata.labels)]

    def _watch(self, request: Request, target: Target) -> Response:
        def bookmark(revision: int) -> dict[str, Json]:
            return {
                "kind": target.kind.kind,
                "apiVersion": target.api_version,
                "metadata": {"resourceVersion": str(revision)},
            }

        watching = Watching(
            kinds=frozenset({target.kind.kind}),
            namespace=target.namespace,
            selector=_selector(request),
            present=lambda value: self._presenter.body(value, target.api_version),
            bookmarks=is_true(request, "allowWatchBookmarks"),
            bookmark=bookmark,
        )
        return watch_response(self._store, watching, since_of(request), seconds_of(request))

    def _write(self, request: Request, operation: Operation, target: Target) -> Response:
        dry_run = _dry_run(request)
        commit = self._store.apply([operation], dry_run=dry_run)
        if not dry_run:
            self._accept(commit)
        outcome = commit.outcomes[0]
        assert outcome.object is not None
        created = outcome.action.value == "created"
        return self._answer(outcome.object, target, 201 if created else 200)

    def _answer(self, value: Object, target: Target, code: int = 200) -> Response:
        return json_response(self._presenter.body(value, target.api_version), code)


def _selector(request: Request) -> Selector:
    query = request.query_params
    try:
        return selector(query.get("labelSelector", ""), query.get("fieldSelector", ""))
    except SelectorError as error:
        raise ApiError(400, str(error)) from error


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "")


def _dry_run(request: Request) -> bool:
    return request.query_params.get("dryRun", "") == "All"
