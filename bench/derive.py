"""The incremental engine on a graph shaped like a mesh's: 1,000 services, one scope.

Thirteen nodes a service: the service, its two rules, ten endpoints' worth of small formulas
that lead to a cluster, its endpoints and a virtual host; one route table reads them all.
Measures the first derivation, single changes (median of several), and memory by tracemalloc.
"""

import gc
import statistics
import time
import tracemalloc
from collections.abc import Callable
from typing import cast

from argosy.derive import Engine, Reader, formula

ENDPOINTS = 8


@formula
def service(get: Reader, host: int) -> str:
    return f"service-{host}:{get.cell(('Service', host))}"


@formula
def rules(get: Reader, host: int) -> str:
    return f"{get(service, host)} {get.cell(('VirtualService', host))}"


@formula
def endpoint(get: Reader, host: int, number: int) -> str:
    return f"10.0.{host}.{number}:{get.cell(('Pod', host, number))}"


@formula
def endpoints(get: Reader, host: int) -> tuple[str, ...]:
    return tuple(get(endpoint, host, number) for number in range(ENDPOINTS))


@formula
def cluster(get: Reader, host: int) -> str:
    return f"{get(service, host)} {get.cell(('DestinationRule', host))}"


@formula
def virtual_host(get: Reader, host: int) -> str:
    return f"{get(rules, host)} -> {get(cluster, host)}"


@formula
def route_table(get: Reader) -> tuple[str, ...]:
    return tuple(get(virtual_host, host) for host in cast("tuple[int, ...]", get.cell("hosts")))


def _milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


def _cells(services: int) -> dict[object, object]:
    cells: dict[object, object] = {"hosts": tuple(range(services))}
    for host in range(services):
        cells["Service", host] = "9080"
        cells.update({("Pod", host, number): "ready" for number in range(ENDPOINTS)})
    return cells


def _observe(engine: Engine, services: int) -> None:
    engine.observe(route_table)
    for host in range(services):
        engine.observe(endpoints, host)
        engine.observe(cluster, host)


def _change(engine: Engine, key: object, repeats: int = 15) -> dict[str, float]:
    """Median milliseconds, and runs, of writing new values to one cell."""
    engine.runs.clear()
    times = [_milliseconds(lambda i=i: engine.set({key: f"v{i}"})) for i in range(repeats)]  # type: ignore[misc]  # a lambda's default has no type
    return {
        "milliseconds": statistics.median(times),
        "spread": max(times) - min(times),
        "runs": engine.runs.total() / repeats,
    }


def run(services: int = 1_000) -> dict[str, object]:
    """Measure; the times are in milliseconds, the memory in bytes."""
    engine = Engine()
    engine.set(_cells(services))
    gc.collect()
    first = _milliseconds(lambda: _observe(engine, services))
    nodes = len(engine)
    changes = {
        "endpoint": _change(engine, ("Pod", 7, 3)),
        "destination_rule_appears": _change(engine, ("DestinationRule", 8)),
        "rule_appears": _change(engine, ("VirtualService", 9)),
        "service": _change(engine, ("Service", 10)),
    }
    engine.set({("Pod", 1, 1): "same"})
    engine.runs.clear()
    equal = _milliseconds(lambda: engine.set({("Pod", 1, 1): "same"}))
    equal_runs = engine.runs.total()
    trial = _milliseconds(lambda: engine.trial({("VirtualService", 9): "tried"}))

    memory = Engine()
    memory.set(_cells(services))
    tracemalloc.start()
    _observe(memory, services)
    traced, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {
        "services": services,
        "nodes": nodes,
        "first_derivation_milliseconds": first,
        "microseconds_per_node": first * 1e3 / nodes,
        "bytes_per_node": traced / nodes,
        "changes": changes,
        "equal_value_milliseconds": equal,
        "equal_value_runs": equal_runs,
        "trial_milliseconds": trial,
    }
