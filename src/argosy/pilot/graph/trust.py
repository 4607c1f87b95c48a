"""Formulas of whom the mesh trusts besides itself, and which signer a workload's certificate is of."""

from argosy.base.names import Namespace
from argosy.base.problems import Problem
from argosy.derive import ABSENT, Reader, formula
from argosy.model.secret import TrustAnchor
from argosy.model.workload import Labels
from argosy.pilot.compile import proxy_configs as proxies
from argosy.pilot.compile import trust as compiling
from argosy.pilot.compile.request_authn import KeysFailure
from argosy.pilot.graph.proxy_configs import config_of
from argosy.pilot.graph.request_authn import FetchedKeys, FetchFailure
from argosy.pilot.graph.world import MESH_CONFIG, mesh_settings


@formula
def anchors(get: Reader) -> tuple[TrustAnchor, ...]:
    """Those of MeshConfig whose roots are known now."""
    return tuple(
        found for anchor in get(mesh_settings).anchors if (found := _known(get, anchor)) is not None
    )


def _known(get: Reader, anchor: TrustAnchor) -> TrustAnchor | None:
    if anchor.bundle is None:
        return anchor
    fetched = get.cell(FetchedKeys(anchor.bundle))
    return None if fetched is ABSENT else compiling.with_roots(anchor, str(fetched))


@formula
def bundle_problems(get: Reader) -> tuple[Problem, ...]:
    """The bundles that could not be fetched the last time."""
    problems: list[Problem] = []
    for anchor in get(mesh_settings).anchors:
        if anchor.bundle is None:
            continue
        failure = get.cell(FetchFailure(anchor.bundle))
        if isinstance(failure, KeysFailure):
            problems.append(compiling.fetch_problem(MESH_CONFIG, anchor, failure))
    return tuple(problems)


@formula
def signer_of(get: Reader, namespace: Namespace, labels: Labels, annotation: str) -> str:
    """The name that the proxy's configuration gives; empty: none."""
    return proxies.signer(get(config_of, namespace, labels, annotation))
