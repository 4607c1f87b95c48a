"""What telemetry costs a request: a pair of sidecars as it comes, and one that tells nobody anything.

Two meshes run side by side, one as ``argosy up`` makes it (standard metrics, Mixer, the log of failures),
the other without Mixer and with its metrics switched off. Short bursts take turns; the silent pair is
measured twice a round, and ratios are of the same round.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from bench import alternating, machine
from bench.data_plane import NAMESPACE, Load, Path
from bench.running_mesh import Generator, mesh

FULL = (
    Load("steady", rate=1000, connections=16, seconds=1.5, rounds=20),
    Load("saturation", rate=0, connections=16, seconds=1.5, rounds=20),
)
QUICK = (Load("steady", rate=300, connections=16, seconds=0.5, rounds=3),)

_SILENT, _AGAIN, _TOLD = "silent", "silent_again", "telemetry"
_SERVER = "server"
_NOTHING = {
    "apiVersion": "telemetry.istio.io/v1",
    "kind": "Telemetry",
    "metadata": {"name": "nothing", "namespace": "istio-system"},
    "spec": {
        "metrics": [{"providers": [{"name": "prometheus"}], "overrides": [{"disabled": True}]}]
    },
}

Json = dict[str, Any]


def measure(loads: Sequence[Load]) -> Json:
    """The processor time of both proxies for a request, and the median latency, to the silent pair."""
    with ExitStack() as stack:
        paths = {
            _SILENT: _pair(stack, "--no-mixer", more=[_NOTHING]),
            _TOLD: _pair(stack),
        }
        paths[_AGAIN] = paths[_SILENT]
        return {
            "machine": machine.facts(),
            "loads": {load.name: _ratios_of(paths, load) for load in loads},
        }


def _ratios_of(paths: Mapping[str, Path], load: Load) -> Json:
    rounds = alternating.rounds_of(paths, load)
    return {
        "rounds": load.rounds,
        "rate": load.rate,
        "to_silent": {
            name: alternating.ratios(rounds, name, _SILENT, _pair_cpu) for name in (_TOLD, _AGAIN)
        },
    }


def _pair_cpu(found: Mapping[str, Any]) -> float:
    return float(found["pair_cpu"])


def _pair(stack: ExitStack, *options: str, more: Sequence[Json] = ()) -> Path:
    inside = stack.enter_context(mesh())
    alternating.start(inside, (_SERVER,), *options, more=more)
    client = stack.enter_context(Generator(inside, NAMESPACE, "deploy/client"))
    return alternating.path(inside, client, _SERVER)
