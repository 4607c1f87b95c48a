"""Whatever EnvoyFilters do: nothing breaks, Envoy takes what comes out, and removal restores."""

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from tests.features.random_envoy_filters import envoy_filters
from tests.features.test_random_configuration import ROLES, check, mesh_with

from argosy.api.encode import encode
from argosy.api.meta import Object
from argosy.pilot.graph.problems import problems_of
from argosy.testing.graph import Graph
from argosy.testing.running_envoy import EnvoyError

PLAIN = mesh_with(())
UNPATCHED = [PLAIN.resources(role) for role in ROLES]


def everything(mesh: Graph) -> list[object]:
    return [mesh.resources(role) for role in ROLES]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(envoy_filters(), st.randoms(use_true_random=False))
def test_order_does_not_matter_and_removal_restores(
    found: tuple[Object, ...], random: object
) -> None:
    at_once = mesh_with(found)
    expected = everything(at_once)
    shuffled = list(found)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # a random.Random
    mesh = mesh_with(())
    for role in ROLES:
        mesh.observe(role)
    for one in shuffled:
        mesh.put([one])
    assert everything(mesh) == expected
    for one in found:
        for problem in mesh.engine.value(problems_of, one.key):
            event(problem.code)
            assert problem.message
            assert problem in at_once.engine.value(problems_of, one.key)
    for one in found:
        mesh.delete("EnvoyFilter", one.metadata.namespace, one.metadata.name)
    assert everything(mesh) == UNPATCHED


@pytest.mark.envoy
@settings(
    max_examples=25,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
@given(found=envoy_filters(most=4))
def test_envoy_takes_what_patches_make(
    tmp_path_factory: pytest.TempPathFactory, found: tuple[Object, ...]
) -> None:
    mesh = mesh_with(found)
    for role, unpatched in zip(ROLES, UNPATCHED, strict=True):
        if mesh.resources(role) == unpatched:
            continue
        try:
            check(mesh, role, tmp_path_factory.mktemp("envoy"))
        except EnvoyError as error:
            written = "\n".join(str(encode(one)) for one in found)
            raise AssertionError(f"{error}\n{role}\n{written}") from error
