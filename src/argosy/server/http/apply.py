"""Apply and delete whole files: all valid objects in one transaction, every mistake with its line.

An object that is invalid is reported, and what it was before stays in force.
"""

import asyncio
from collections.abc import Callable, Iterable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from argosy.api.decode import Decoded, decode_files
from argosy.api.located import LocatedProblem, locate
from argosy.api.meta import Object
from argosy.api.registry import BY_KIND
from argosy.base.names import ObjectKey
from argosy.base.problems import Problem, Severity
from argosy.server.http.auth import require_edit, require_write
from argosy.server.http.encoding import Json, json_response
from argosy.server.http.findings import Findings, problem_body
from argosy.server.http.gate import actor_of
from argosy.server.http.mesh import decode_body
from argosy.server.http.objects import validated
from argosy.server.http.resources import NAMESPACED
from argosy.server.http.services import REJECTED_BY_PROXY
from argosy.store.admission import deletions, explicit_first
from argosy.store.store import Store
from argosy.store.transaction import (
    Action,
    Commit,
    InvalidError,
    NotFoundError,
    Operation,
    Put,
    StoreError,
)

THREAD_BYTES = 32 * 1024
"""Input larger than this is decoded in a worker thread (32 KiB takes some 10 ms)."""


class File(msgspec.Struct, frozen=True):
    path: str
    text: str


class ApplyBody(msgspec.Struct, frozen=True, rename="camel"):
    """``namespace`` is that of objects that name none."""

    files: tuple[File, ...]
    dry_run: bool = False
    delete: bool = False
    namespace: str = "default"


Problems = dict[ObjectKey, list[LocatedProblem]]


def routes(store: Store, findings: Findings, accept: Callable[[Commit], None]) -> list[BaseRoute]:
    apply = Apply(store, findings, accept)
    return [Route("/apis/argosy.dev/v1alpha1/apply", apply.handle, methods=["POST"])]


class Apply:
    def __init__(self, store: Store, findings: Findings, accept: Callable[[Commit], None]) -> None:
        self._store = store
        self._findings = findings
        self._accept = accept

    async def handle(self, request: Request) -> Response:
        actor = actor_of(request)
        require_edit(actor, "apply files")
        body = decode_body(await request.body(), ApplyBody)
        if sum(len(file.text) for file in body.files) > THREAD_BYTES:
            decoded, problems = await asyncio.to_thread(_decode, body)
        else:
            decoded, problems = _decode(body)
        # All or nothing: a file of which half is in force is what nobody has written.
        for key in dict.fromkeys([*(v.key for v in decoded.objects), *_keys(problems)]):
            require_write(actor, key)
        by_object: Problems = {}
        for problem in problems:
            if problem.object is not None:
                by_object.setdefault(problem.object, []).append(problem)
        loose = [problem for problem in problems if problem.object is None]
        if body.delete:
            answer = self._delete(decoded, by_object, dry_run=body.dry_run)
        else:
            answer = self._put(decoded, by_object, dry_run=body.dry_run)
        answer["problems"] = [problem_body(problem) for problem in loose]
        return json_response(answer)

    def _put(self, decoded: Decoded, problems: Problems, *, dry_run: bool) -> dict[str, Json]:
        bad = {key for key, found in problems.items() if _has_error(found)}
        good = {value.key: value for value in decoded.objects if value.key not in bad}
        operations: list[Operation] = [
            Put(_unversioned(value)) for value in sorted(good.values(), key=explicit_first)
        ]
        commit = self._store.apply_valid(operations, dry_run=dry_run)
        actions = {outcome.key: outcome.action for outcome in commit.outcomes}
        for outcome in commit.outcomes:
            if outcome.error is not None:
                found = _store_problems(outcome.key, outcome.error, good[outcome.key])
                problems.setdefault(outcome.key, []).extend(found)
        if not dry_run:
            self._accept(commit)
            for key, found in problems.items():
                if actions.get(key, Action.INVALID) is Action.INVALID and _has_error(found):
                    self._findings.refused.refuse(key, [p for p in found if _is_error(p)])
            stored = [o.object for o in commit.outcomes if o.object is not None]
            findings = self._findings.problems_of_many(stored)
            for outcome in commit.outcomes:
                if outcome.object is not None:
                    found = list(findings[outcome.key])
                    if outcome.action is not Action.UNCHANGED:
                        # What proxies have refused so far is not this version of the object.
                        found = [p for p in found if p.code != REJECTED_BY_PROXY]
                    problems.setdefault(outcome.key, []).extend(found)
        order = dict.fromkeys([*(value.key for value in decoded.objects), *problems])
        return self._answer(commit, order, actions, problems)

    def _delete(self, decoded: Decoded, problems: Problems, *, dry_run: bool) -> dict[str, Json]:
        """To delete an object it is enough to know which: its other mistakes do not matter."""
        known = [key for key in problems if key.kind in BY_KIND]
        wanted = dict.fromkeys([*(value.key for value in decoded.objects), *known])
        for key in known:
            del problems[key]
        operations: dict[ObjectKey, Operation] = {}
        for key in wanted:
            for operation in deletions(key, NAMESPACED, self._store.list):
                operations.setdefault(operation.key, operation)
        commit = self._store.apply_valid(list(operations.values()), dry_run=dry_run)
        actions = {outcome.key: outcome.action for outcome in commit.outcomes}
        places = {value.key: value for value in decoded.objects}
        for outcome in commit.outcomes:
            if outcome.error is not None:
                found = _store_problems(outcome.key, outcome.error, places.get(outcome.key))
                problems.setdefault(outcome.key, []).extend(found)
        if not dry_run:
            self._accept(commit)
        return self._answer(
            commit, dict.fromkeys([*wanted, *actions, *problems]), actions, problems
        )

    def _answer(
        self,
        commit: Commit,
        order: Iterable[ObjectKey],
        actions: dict[ObjectKey, Action],
        problems: Problems,
    ) -> dict[str, Json]:
        results: list[Json] = [
            {
                "kind": key.kind,
                "namespace": key.namespace,
                "name": key.name,
                "action": actions.get(key, Action.INVALID).value,
                "problems": [problem_body(problem) for problem in problems.get(key, ())],
            }
            for key in order
        ]
        return {"revision": commit.revision, "results": results}


def _decode(body: ApplyBody) -> tuple[Decoded, tuple[LocatedProblem, ...]]:
    """The objects and all problems that each has by itself."""
    decoded = decode_files(
        [(file.path, file.text) for file in body.files], namespace=body.namespace
    )
    found = [problem for value in decoded.objects for problem in validated(value)]
    return decoded, (*decoded.problems, *found)


def _store_problems(
    key: ObjectKey, error: StoreError, value: Object | None
) -> list[LocatedProblem]:
    match error:
        case InvalidError(problems=problems):
            return [locate(problem, value) for problem in problems]
        case NotFoundError():
            return [locate(Problem(key, "", "NotFound", str(error)), value)]
    return [locate(Problem(key, "", type(error).__name__.removesuffix("Error"), str(error)), value)]


def _unversioned(value: Object) -> Object:
    """A file describes what is wanted: identity and version in it (from ``get -o yaml``) are old."""
    if not (value.metadata.resource_version or value.metadata.uid):
        return value
    metadata = msgspec.structs.replace(value.metadata, resource_version="", uid="")
    return msgspec.structs.replace(value, metadata=metadata)


def _keys(problems: Iterable[LocatedProblem]) -> list[ObjectKey]:
    return [problem.object for problem in problems if problem.object is not None]


def _has_error(problems: Iterable[LocatedProblem]) -> bool:
    return any(_is_error(problem) for problem in problems)


def _is_error(problem: LocatedProblem) -> bool:
    return problem.severity is Severity.ERROR
