"""EnvoyFilters that a proxy refuses are taken out of force, so that they stop nobody else.

A refused listener would be missing in every proxy that starts after it, and everything that
changes in it later would be refused with it. So the last good version of the EnvoyFilter comes
back, for all proxies, until somebody changes the object; its problem keeps Envoy's words.

Of several in a refused resource the proxies' answers tell which: the fewest are out of force that
explain every refusal, those changed last first. One more refusal may acquit one of them, and its
version is in force again. Each such trial is a refusal that was not known, so they end.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations

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
_MAX_COMBINED = 10
"""Of more suspects than this, those in the most refusals are taken instead of trying all sets."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    """The last of a set of suspects: ``patches`` are theirs in what was refused."""

    rejection: xds.Rejection
    patches: tuple[PatchRef, ...]


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
        self._seen: dict[frozenset[ObjectKey], _Refusal] = {}
        self._blamed: dict[_Resource, frozenset[ObjectKey]] = {}

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
            self._seen = {s: one for s, one in self._seen.items() if event.key not in s}
            self._judge()

    def rejected(self, rejection: xds.Rejection) -> None:
        """A proxy refused resources: at least one version that is in force in them is at fault."""
        found = self._blame(rejection)
        suspects = frozenset(key for key, _ in found if self._is_suspect(key))
        if not suspects:
            return
        patches = tuple(ref for ref in found if ref[0] in suspects)
        self._seen[suspects] = _Refusal(rejection, patches)
        for one in rejection.resources:
            self._blamed[rejection.type_url, one.name, one.version] = suspects
        while len(self._blamed) > MAX_BLAMED:
            del self._blamed[next(iter(self._blamed))]
        self._judge()

    def _is_suspect(self, key: ObjectKey) -> bool:
        written = self._find(key)
        return isinstance(written, EnvoyFilter) and self._reason(written) is None

    def _judge(self) -> None:
        """Take out of force what explains the refusals, and nothing else."""
        suspects = sorted(set(chain.from_iterable(self._seen)), key=self._age, reverse=True)
        guilty = _fewest(suspects, self._seen)
        cells: dict[Hashable, object] = {}
        for key in self._refused.keys() - guilty:
            del self._refused[key]
            cells[RefusedCell(key)] = ABSENT
        for key in sorted(guilty):
            refused = self._version(key)
            if refused is not None and refused != self._refused.get(key):
                self._refused[key] = refused
                cells[RefusedCell(key)] = refused
                log.warning("envoyfilter.refused", object=str(key), error=refused.problem.message)
        if cells:
            self._publish(cells)

    def _version(self, key: ObjectKey) -> RefusedVersion | None:
        """What is out of force, by the refusal that says most of it."""
        written = self._find(key)
        if not isinstance(written, EnvoyFilter):
            return None
        suspects = min((s for s in self._seen if key in s), key=lambda s: (len(s), sorted(s)))
        good = self._good.get(key)
        problem = _problem(key, suspects, self._seen[suspects], in_force=good is not None)
        return RefusedVersion(written.spec, good, problem)

    def causes_of(self, rejection: xds.Rejection) -> tuple[ObjectKey, ...]:
        """The EnvoyFilters that a refused resource was made with: those at fault, when it is known.

        Empty when there were none.
        """
        for one in rejection.resources:
            suspects = self._blamed.get((rejection.type_url, one.name, one.version))
            if suspects is not None:
                certain = [key for key in suspects if frozenset((key,)) in self._seen]
                return tuple(sorted(certain or suspects, key=self._age, reverse=True))
        return ()

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


def _fewest(
    suspects: Sequence[ObjectKey], refusals: Collection[frozenset[ObjectKey]]
) -> frozenset[ObjectKey]:
    """The smallest set with a member in every refusal; of several the one of earlier suspects."""
    if len(suspects) <= _MAX_COMBINED:
        for size in range(len(suspects) + 1):
            for tried in combinations(suspects, size):
                if all(not refusal.isdisjoint(tried) for refusal in refusals):
                    return frozenset(tried)
    found: set[ObjectKey] = set()
    while left := [refusal for refusal in refusals if refusal.isdisjoint(found)]:
        found.add(max(suspects, key=lambda key: sum(key in refusal for refusal in left)))
    return frozenset(found)


def _problem(
    key: ObjectKey, suspects: Iterable[ObjectKey], refusal: _Refusal, *, in_force: bool
) -> Problem:
    rejection = refusal.rejection
    indices = sorted({index for of, index in refusal.patches if of == key})
    field = f"spec.configPatches[{indices[0]}]" if len(indices) == 1 else "spec.configPatches"
    kind = type_urls.short_name(rejection.type_url)
    names = ", ".join(one.name for one in rejection.resources[:3])
    stays = "the version before it stays in force" if in_force else "it is out of force"
    others = ", ".join(str(other) for other in sorted(suspects) if other != key)
    hint = "Change what Envoy complains about"
    return Problem(
        key,
        field,
        REJECTED_BY_PROXY,
        f"{rejection.client_id} refused the {kind} resource {names} made with it, so {stays}: "
        f"{rejection.error}",
        f"{hint}; if it is not in this one, see {others}" if others else hint,
    )
