"""Formulas of what is wrong with a Telemetry, as only the whole mesh can tell."""

from argosy.base.names import Namespace
from argosy.base.problems import Problem
from argosy.derive import Reader, formula
from argosy.pilot.compile import telemetry as compiling
from argosy.pilot.graph.telemetry import telemetries


@formula
def telemetry_problems(get: Reader, namespace: Namespace, _name: str) -> tuple[Problem, ...]:
    return compiling.conflicts(get(telemetries, namespace))
