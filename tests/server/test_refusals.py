"""Which EnvoyFilters go out of force, by what proxies refuse."""

from collections.abc import Hashable, Mapping
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from argosy import xds
from argosy.api.decode import decode_json
from argosy.api.networking_envoy_filter import EnvoyFilter
from argosy.base.names import Namespace, ObjectKey
from argosy.derive import ABSENT
from argosy.pilot.graph.envoy_filters import KIND, RefusedCell, RefusedVersion
from argosy.pilot.translate.patching import PatchRef
from argosy.server.refusals import Refusals
from argosy.store.transaction import Event
from argosy.xds import type_urls

MAX_TRIALS = 200


def key_of(name: str) -> ObjectKey:
    return ObjectKey(KIND, Namespace("default"), name)


def version_of(name: str, age: int, value: str) -> EnvoyFilter:
    patch = {"applyTo": "CLUSTER", "patch": {"operation": "MERGE", "value": {"name": value}}}
    decoded = decode_json(
        {
            "apiVersion": "networking.istio.io/v1alpha3",
            "kind": KIND,
            "metadata": {"name": name, "namespace": "default", "resourceVersion": str(age)},
            "spec": {"configPatches": [patch]},
        }
    )
    (found,) = decoded.objects
    assert isinstance(found, EnvoyFilter)
    return found


class World:
    """Proxies that refuse what bad versions are in force in; each resource has some filters."""

    def __init__(self, resources: Mapping[str, frozenset[str]]) -> None:
        self.resources = resources
        self.objects: dict[ObjectKey, EnvoyFilter] = {}
        self.out: dict[ObjectKey, RefusedVersion] = {}
        self.refusals = Refusals(self.objects.get, self._publish, self._blame)
        self._ages = count(1)

    def write(self, name: str, value: str) -> None:
        """``value`` is what its patch says; proxies refuse "bad"."""
        before = self.objects.get(key_of(name))
        after = self.objects[key_of(name)] = version_of(name, next(self._ages), value)
        self.refusals.receive([Event(key_of(name), before, after, 1, after)], 1)

    def settle(self) -> set[str]:
        """Let proxies answer until they refuse nothing more: what is out of force then."""
        for _ in range(MAX_TRIALS):
            refused = next((r for r in sorted(self.resources) if self._is_refused(r)), None)
            if refused is None:
                return {key.name for key in self.out}
            self.refusals.rejected(rejection(refused))
        raise AssertionError("the trials do not end")

    def value(self, name: str) -> str:
        """What its version in force says; empty when none is."""
        key = key_of(name)
        refused = self.out.get(key)
        written = self.objects[key] if refused is None else refused.last_good
        return "" if written is None else str(written.spec.config_patches[0].patch.value["name"])

    def _is_refused(self, resource: str) -> bool:
        return any(self.value(name) == "bad" for name in self.resources[resource])

    def _publish(self, cells: Mapping[Hashable, object]) -> None:
        for cell, value in cells.items():
            assert isinstance(cell, RefusedCell)
            if value is ABSENT:
                del self.out[cell.object]
            else:
                assert isinstance(value, RefusedVersion)
                self.out[cell.object] = value

    def _blame(self, found: xds.Rejection) -> tuple[PatchRef, ...]:
        names = self.resources[found.resources[0].name]
        return tuple((key_of(name), 0) for name in sorted(names) if self.value(name))


def rejection(resource: str) -> xds.Rejection:
    refused = (xds.RejectedResource(resource, "1"),)
    return xds.Rejection("proxy", type_urls.LISTENER, "words of Envoy", refused, 1, 0.0)


def a_world(**resources: str) -> World:
    return World({name: frozenset(filters.split()) for name, filters in resources.items()})


def test_the_only_one_is_out_of_force_until_it_changes() -> None:
    world = a_world(listener="a")
    world.write("a", "bad")
    assert world.settle() == {"a"}
    problem = world.out[key_of("a")].problem
    assert "words of Envoy" in problem.message
    assert problem.field == "spec.configPatches[0]"
    assert problem.hint == "Change what Envoy complains about"
    world.write("a", "good")
    assert world.settle() == set()
    world.write("a", "bad")
    assert world.settle() == {"a"}
    assert world.value("a") == "good", "its last good version is in force"


def test_of_several_the_one_changed_last_is_suspected_first() -> None:
    world = a_world(listener="a b c")
    for name, value in (("c", "good"), ("a", "good"), ("b", "bad")):
        world.write(name, value)
    world.refusals.rejected(rejection("listener"))
    assert {key.name for key in world.out} == {"b"}
    assert "a" in world.out[key_of("b")].problem.hint, "nobody knows yet that it is not another"
    causes = world.refusals.causes_of(rejection("listener"))
    assert [key.name for key in causes] == ["b", "a", "c"]


def test_the_innocent_are_acquitted() -> None:
    world = a_world(listener="guilty innocent")
    world.write("innocent", "good before")
    world.write("guilty", "bad")
    world.write("innocent", "good")
    world.refusals.rejected(rejection("listener"))
    assert world.value("innocent") == "good before", "the one that was changed last"
    assert world.settle() == {"guilty"}
    assert world.value("innocent") == "good"
    assert "innocent" not in world.out[key_of("guilty")].problem.hint
    assert world.refusals.causes_of(rejection("listener")) == (key_of("guilty"),)


def test_a_change_of_one_does_not_free_another() -> None:
    world = a_world(listener="a b", other="a")
    world.write("a", "bad")
    world.write("b", "good")
    assert world.settle() == {"a"}
    world.write("b", "better")
    assert world.settle() == {"a"}


NAMES = st.sampled_from("abcde")


@given(
    order=st.permutations("abcde"),
    bad=st.frozensets(NAMES),
    filters=st.lists(st.frozensets(NAMES, min_size=1), min_size=1, max_size=4),
)
def test_the_guilty_are_found_and_no_others(
    order: list[str], bad: frozenset[str], filters: list[frozenset[str]]
) -> None:
    world = World({f"r{i}": names for i, names in enumerate(filters)})
    for name in order:
        world.write(name, "bad" if name in bad else "good")
    assert world.settle() == bad & frozenset().union(*filters)


def test_of_very_many_the_guilty_one_is_found_too() -> None:
    names = [f"f{i:02}" for i in range(14)]
    world = World({"listener": frozenset(names)})
    for name in names:
        world.write(name, "bad" if name == "f03" else "good")
    assert world.settle() == {"f03"}
