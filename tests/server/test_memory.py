"""What keeps the control plane small: counts of what is kept, and modules it does without.

Nothing here is timed or weighed. The figures are in docs/benchmarks.md, the reasons in ADR 020.
"""

import subprocess
import sys

from argosy.api.core_pod import Pod
from argosy.base.names import Namespace
from argosy.derive.graph import Cell, Node
from argosy.model.proxy import Scope
from argosy.model.workload import Workload
from argosy.pilot.graph import outbound, world
from argosy.pilot.graph.scopes import scope_of
from argosy.testing.graph import Graph
from bench.simulated_mesh import Shape, objects, pods, proxies

UNWANTED = {
    "rich",
    "pygments",
    "typer",
    "httpx",
    "httpcore",
    "pytest",
    "hypothesis",
    "pyroute2",
    "dns",
}
"""For terminals, for clients, for tests, for the node, for keys that are fetched."""


def loaded(shape: Shape) -> Graph:
    graph = Graph()
    graph.put(list(objects(shape)))
    return graph


def nodes(services: int) -> int:
    """How many nodes the whole configuration of one proxy takes."""
    shape = Shape(services, endpoints=4, namespaces=1, ports=1, workloads=1, replicas=1)
    graph = loaded(shape)
    graph.observe(proxies(shape)[0].role)
    return len(graph.engine)


def test_the_server_does_without_what_only_people_and_tests_need() -> None:
    code = "import argosy.server.__main__, sys; print(*(m for m in sys.modules if sys.modules[m]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = {name.partition(".")[0] for name in done.stdout.split()}
    assert "grpc" in imported
    assert imported.isdisjoint(UNWANTED), imported & UNWANTED
    assert "argosy.cli" not in done.stdout


def test_a_service_costs_few_nodes() -> None:
    few, many = nodes(20), nodes(40)
    # Four are its pods'. Who adds a formula per service: is a function enough?
    assert (many - few) / 20 <= 40


def test_what_has_one_reader_keeps_it_bare() -> None:
    graph = loaded(Shape(4, endpoints=2, namespaces=1, ports=1, workloads=1, replicas=1))
    graph.observe(proxies(Shape(4, 2, 1, 1, 1, 1))[0].role)
    pods_nodes = list(graph.engine._nodes[world.workload].values())
    cells = [read for node in pods_nodes for read in node.reads if isinstance(read, Cell)]
    assert len(pods_nodes) == len(cells) == 8
    for source in (*pods_nodes, *cells):
        assert isinstance(source._readers, Node)


def test_replicas_share_what_is_equal() -> None:
    shape = Shape(1, endpoints=2, namespaces=1, ports=1, workloads=1, replicas=1)
    graph = loaded(shape)
    one, two = (graph.store.require(pod.key) for pod in pods(shape, 0))
    assert isinstance(one, Pod)
    assert isinstance(two, Pod)
    assert one.spec is two.spec
    assert one.status is not None
    assert two.status is not None
    assert one.status.conditions is two.status.conditions
    assert one.status.container_statuses is two.status.container_statuses
    assert one.metadata.namespace is two.metadata.namespace
    first, second = (
        graph.engine.value(world.workload, Namespace(pod.metadata.namespace), pod.metadata.name)
        for pod in (one, two)
    )
    assert isinstance(first, Workload)
    assert isinstance(second, Workload)
    assert first.labels is second.labels
    assert first.locality is second.locality


def test_namespaces_share_the_names_of_clusters_and_the_bytes_of_virtual_hosts() -> None:
    shape = Shape(12, endpoints=1, namespaces=4, ports=1, workloads=4, replicas=1)
    graph = loaded(shape)
    roles = [proxy.role for proxy in proxies(shape)]
    for role in roles:
        graph.observe(role)
    resources = [graph.resources(role) for role in roles]
    tables = [found["RDS", "8000"].parts for found in resources]
    parts = [part for table in tables for part in table]
    assert len(parts) == 4 * (1 + 12 + 1), "a name, the hosts, the rest"
    # Of three hosts in its own namespace each table has bytes of its own, of nine it shares them.
    assert len({id(part) for table in tables for part in table[1:-1]}) == 4 * 3 + 12
    scopes = [graph.engine.observe(scope_of, role) for role in roles]
    names = [
        graph.engine.observe(outbound.cluster_names, scope)
        for scope in scopes
        if isinstance(scope, Scope)
    ]
    assert len(names) == 4
    assert len({id(found) for found in names}) == 1
