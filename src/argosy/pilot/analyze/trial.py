"""A mesh in memory: objects in, what is to be said of them out. No clock, no disk, no process."""

from collections.abc import Hashable, Iterable, Mapping
from types import MappingProxyType

import msgspec

from argosy import derive
from argosy.api import core_pod, registry
from argosy.api.meta import Metadata, Object, OwnerReference
from argosy.api.validate import validate
from argosy.base.names import ObjectKey
from argosy.base.problems import Severity
from argosy.pilot.analyze.findings import Finding, analysis_of_all, finding
from argosy.pilot.analyze.workloads import template_of
from argosy.store.admission import KubernetesAdmission
from argosy.store.cells import CellFeed
from argosy.store.transaction import Event, InvalidError


class TrialMesh:
    """What is there (``base``), and what somebody would add to it or change in it (``added``).

    The pods that an added Deployment will have are thought of as if they were there; those of the
    base too when it does not ``run``. ``facts`` are cells of what no object says.
    """

    def __init__(
        self,
        base: Iterable[Object],
        added: Iterable[Object] = (),
        *,
        runs: bool = True,
        facts: Mapping[Hashable, object] = MappingProxyType({}),
    ) -> None:
        self._admission = KubernetesAdmission(registry.NAMESPACED)
        self._objects: dict[ObjectKey, Object] = {}
        self._claims: dict[str, ObjectKey] = {}
        added = tuple(added)
        self._written = {value.key: value for value in added}
        self._refused: list[Finding] = []
        old = [placed for value in base if (placed := self._put(value)) is not None]
        new = [placed for value in added if (placed := self._change(value)) is not None]
        starting = new if runs else (*old, *new)
        expected = [pod for value in starting if (pod := _expected_pod(value)) is not None]
        self._engine = derive.Engine()
        present = (*self._objects.values(), *expected)
        events = [Event(value.key, None, value, 1, value) for value in present]
        self._engine.set({**CellFeed(derive.ABSENT).cells(events), **facts})

    @property
    def objects(self) -> tuple[Object, ...]:
        return tuple(self._objects.values())

    def get(self, key: ObjectKey) -> Object | None:
        return self._objects.get(key)

    def written(self, key: ObjectKey) -> Object | None:
        """What was added, refused or not; else what is there."""
        return self._written.get(key) or self._objects.get(key)

    def analyze(self, keys: Iterable[ObjectKey], *, alpha: bool = False) -> tuple[Finding, ...]:
        """What is to be said of these objects. Raises AssertionError when a formula fails."""
        found = self._engine.value(analysis_of_all, tuple(keys), alpha)
        if isinstance(found, derive.Failed):
            raise AssertionError(f"{found}\n{found.trace}")
        return (*self._refused, *found)

    # What admission reads (``store.View``).

    def list(self, kind: str, namespace: str | None = None) -> tuple[Object, ...]:
        return tuple(
            value
            for key, value in self._objects.items()
            if key.kind == kind and namespace in (None, key.namespace)
        )

    def holder(self, claim: str) -> ObjectKey | None:
        return self._claims.get(claim)

    def _change(self, value: Object) -> Object | None:
        """An object that is not right by itself changes nothing."""
        wrong = [p for p in validate(value) if p.severity is Severity.ERROR]
        if wrong:
            self._refused += [finding(problem, by_itself=True) for problem in validate(value)]
            return None
        return self._put(value)

    def _put(self, value: Object) -> Object | None:
        """The object as it would be stored, with the age of the one it replaces."""
        value = self._admission.place(value)
        before = self._objects.get(value.key)
        try:
            value = self._admission.admit(value, before, self)
        except InvalidError as error:
            self._refused += [finding(problem, by_itself=True) for problem in error.problems]
            return None
        if before is not None and not value.metadata.creation_timestamp:
            created = before.metadata.creation_timestamp
            metadata = msgspec.structs.replace(value.metadata, creation_timestamp=created)
            value = msgspec.structs.replace(value, metadata=metadata)
        self._objects[value.key] = value
        for claim in self._admission.claims(value.key, value):
            self._claims[claim] = value.key
        return value


def _expected_pod(value: Object) -> core_pod.Pod | None:
    """One of the pods that will be made from it. No pod that is there can have its name."""
    template = template_of(value)
    if (
        template is None
        or not template.path
        or not getattr(getattr(value, "spec", None), "replicas", 1)
    ):
        return None
    own = value.metadata
    return core_pod.Pod(
        metadata=Metadata(
            name=f"{own.name}-",
            namespace=own.namespace,
            labels=template.metadata.labels,
            annotations=template.metadata.annotations,
            owner_references=(OwnerReference(kind=value.kind, name=own.name),),
        ),
        spec=template.spec,
    )
