"""What telemetry costs a request: a pair of sidecars as it comes, and one that tells nobody anything.

Two meshes run side by side, one as ``argosy up`` makes it (standard metrics, Mixer, the log of failures),
the other without Mixer and with its metrics switched off. Short bursts take turns; the silent pair is
measured twice a round, and ratios are of the same round.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from argosy.proxy.envoy import envoy_path
from bench import floor, machine
from bench.data_plane import (
    NAMESPACE,
    Load,
    Path,
    burst,
    deployment,
    pid_of,
    service,
    sidecar_of,
)
from bench.figures import paired_ratio
from bench.running_mesh import BenchMesh, Generator, mesh

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
    rounds = [_round(paths, load, number) for number in range(load.rounds)]
    return {
        "rounds": load.rounds,
        "rate": load.rate,
        "to_silent": {name: _ratios(rounds, name) for name in (_TOLD, _AGAIN)},
    }


def _round(paths: Mapping[str, Path], load: Load, number: int) -> dict[str, Json]:
    """One burst by each pair; who is first changes from round to round."""
    names = tuple(paths)
    turn = number % len(names)
    return {name: burst(paths[name], load) for name in (*names[turn:], *names[:turn])}


def _ratios(rounds: Sequence[Mapping[str, Json]], name: str) -> Json:
    def cpu(of: str) -> list[float]:
        return [float(one[of]["pair_cpu"]) for one in rounds]

    def p50(of: str) -> list[float]:
        return [float(one[of]["microseconds"]["p50"]) for one in rounds]

    return {
        "cpu": paired_ratio(cpu(name), cpu(_SILENT)).json,
        "p50": paired_ratio(p50(name), p50(_SILENT)).json,
    }


def _pair(stack: ExitStack, *options: str, more: Sequence[Json] = ()) -> Path:
    inside = stack.enter_context(mesh())
    _start(inside, options, more)
    client = stack.enter_context(Generator(inside, NAMESPACE, "deploy/client"))
    port = floor.APPLICATION_PORT
    return Path(
        client,
        {"host": _SERVER, "port": port, "authority": f"{_SERVER}:{port}"},
        {
            "client": sidecar_of(client, inside, "client"),
            "server": sidecar_of(client, inside, _SERVER),
        },
        pid_of(client, f"{_SERVER}.application.json"),
    )


def _start(inside: BenchMesh, options: Sequence[str], more: Sequence[Json]) -> None:
    file = inside.scratch / f"{_SERVER}.application.json"
    file.write_text(json.dumps(floor.application()))
    command = [str(envoy_path()), "--config-path", str(file)]
    command += ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
    sleep = {"name": "client", "image": "sleep", "command": ["sleep", "infinity"]}
    written = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        deployment("client", [sleep], {}),
        deployment(_SERVER, [{"name": _SERVER, "image": "envoy", "command": command}], {}),
        service(_SERVER, {"http": floor.APPLICATION_PORT}),
        *more,
    ]
    path = inside.scratch / "mesh.yaml"
    path.write_text("\n---\n".join(json.dumps(one) for one in written))
    inside.argosy("up", "--detach", "--no-gateway", *options, "-f", str(path))
