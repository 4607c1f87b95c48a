"""EnvoyFilters that a proxy refuses are taken out of force, so that they stop nobody else.

A refused listener would be missing in every proxy that starts after it, and everything that
changes in it later would be refused with it. So the last good version of the EnvoyFilter comes
back, for all proxies, until somebody changes the object; its problem keeps Envoy's words.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence

import structlog

from argosy import xds
from argosy.api.meta import Object
from argosy.api.networking_envoy_filter import EnvoyFilter
from argosy.base.names import ObjectKey
from argosy.base.problems import Problem
from argosy.derive import ABSENT
from argosy.pilot.graph.envoy_filters import KIND, RefusedCell, RefusedVersion
from argosy.pilot.translate.patching import PatchRef
from argosy.server.http.services import REJECTED_BY_PROXY
from argosy.store.transaction import Event
from argosy.xds import type_urls

log = structlog.get_logger()

Blame = Callable[[xds.Rejection], tuple[PatchRef, ...]]
"""The patches in what a proxy refused, if it is what proxies have now."""

Publish = Callable[[Mapping[Hashable, object]], None]
"""Sets cells of the engine, and sends what follows from them to the proxies."""

_Resource = tuple[str, str, str]
"""Type, name and version."""

MAX_BLAMED = 1000


class Refusals:
    """Which versions of EnvoyFilters are out of force."""

    def __init__(
        self, find: Callable[[ObjectKey], Object | None], publish: Publish, blame: Blame
    ) -> None:
        self._find = find
        self._publish = publish
        self._blame = blame
        self._good: dict[ObjectKey, EnvoyFilter] = {}
        self._refused: dict[ObjectKey, RefusedVersion] = {}
        self._blamed: dict[_Resource, ObjectKey] = {}

    def receive(self, events: Sequence[Event], _revision: int) -> None:
        """A subscriber of the store, after the engine: what was in force before each change."""
        for event in events:
            if event.key.kind != KIND:
                continue
            before, after = event.previous, event.current
            if not isinstance(before, EnvoyFilter) or not isinstance(after, EnvoyFilter):
                self._good.pop(event.key, None)
            elif before.spec == after.spec:
                continue
            elif self._reason(before) is None:
                self._good[event.key] = before
            if self._refused.pop(event.key, None) is not None:
                self._publish({RefusedCell(event.key): ABSENT})

    def rejected(self, rejection: xds.Rejection) -> None:
        """A proxy refused resources: the EnvoyFilter in them that was changed last is blamed."""
        found = self._blame(rejection)
        if not found:
            return
        key = max((ref[0] for ref in found), key=self._age)
        written = self._find(key)
        if not isinstance(written, EnvoyFilter):
            return
        for one in rejection.resources:
            self._blamed[rejection.type_url, one.name, one.version] = key
        while len(self._blamed) > MAX_BLAMED:
            del self._blamed[next(iter(self._blamed))]
        indices = sorted({index for of, index in found if of == key})
        good = self._good.get(key)
        problem = _problem(key, indices, rejection, in_force=good is not None)
        refused = self._refused[key] = RefusedVersion(written.spec, good, problem)
        log.warning("envoyfilter.refused", object=str(key), error=rejection.error)
        self._publish({RefusedCell(key): refused})

    def cause_of(self, rejection: xds.Rejection) -> ObjectKey | None:
        """The EnvoyFilter that a refused resource was made with, when it was refused."""
        for one in rejection.resources:
            found = self._blamed.get((rejection.type_url, one.name, one.version))
            if found is not None:
                return found
        return None

    def field_of(self, key: ObjectKey) -> str:
        """Where in the object the refused patch stands; empty when it is in force."""
        written = self._find(key)
        reason = self._reason(written) if isinstance(written, EnvoyFilter) else None
        return "" if reason is None else reason.problem.field

    def _reason(self, written: EnvoyFilter) -> RefusedVersion | None:
        refused = self._refused.get(written.key)
        return refused if refused is not None and refused.spec == written.spec else None

    def _age(self, key: ObjectKey) -> tuple[int, ObjectKey]:
        written = self._find(key)
        text = written.metadata.resource_version if written else ""
        return (int(text) if text.isdigit() else 0, key)


def _problem(
    key: ObjectKey, indices: Sequence[int], rejection: xds.Rejection, *, in_force: bool
) -> Problem:
    field = f"spec.configPatches[{indices[0]}]" if len(indices) == 1 else "spec.configPatches"
    kind = type_urls.short_name(rejection.type_url)
    names = ", ".join(one.name for one in rejection.resources[:3])
    stays = "the version before it stays in force" if in_force else "it is out of force"
    return Problem(
        key,
        field,
        REJECTED_BY_PROXY,
        f"{rejection.client_id} refused the {kind} resource {names} made with it, so {stays}: "
        f"{rejection.error}",
        "Change what Envoy complains about",
    )
