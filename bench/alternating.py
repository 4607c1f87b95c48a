"""Servers beside each other behind one kind of client: bursts take turns, ratios are of the same round."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from argosy.proxy.envoy import envoy_path
from bench import floor
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
from bench.running_mesh import BenchMesh, Generator

CLIENT = "client"

Json = dict[str, Any]
Figure = Callable[[Json], float]
"""A number of one burst."""


def rounds_of(paths: Mapping[str, Path], load: Load) -> list[dict[str, Json]]:
    """Bursts by the names of their paths; who is first changes from round to round."""
    names = tuple(paths)
    turns = [number % len(names) for number in range(load.rounds)]
    return [
        {name: burst(paths[name], load) for name in (*names[turn:], *names[:turn])}
        for turn in turns
    ]


def ratios(rounds: Sequence[Mapping[str, Json]], name: str, to: str, cpu: Figure) -> Json:
    """``cpu`` and ``p50`` of a path, as ratios to those of another."""

    def ratio(figure: Figure) -> Json:
        measured = ([figure(one[path]) for one in rounds] for path in (name, to))
        return paired_ratio(*measured).json

    return {"cpu": ratio(cpu), "p50": ratio(lambda found: float(found["microseconds"]["p50"]))}


def path(inside: BenchMesh, client: Generator, server: str) -> Path:
    port = floor.APPLICATION_PORT
    return Path(
        client,
        {"host": server, "port": port, "authority": f"{server}:{port}"},
        {
            "client": sidecar_of(client, inside, CLIENT),
            "server": sidecar_of(client, inside, server),
        },
        pid_of(client, f"{server}.application.json"),
    )


def start(
    inside: BenchMesh, servers: Sequence[str], *options: str, more: Sequence[Json] = ()
) -> None:
    """A mesh of a client, these servers, and ``more`` objects."""
    sleep = {"name": CLIENT, "image": "sleep", "command": ["sleep", "infinity"]}
    written = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        deployment(CLIENT, [sleep], {}),
    ]
    for name in servers:
        file = inside.scratch / f"{name}.application.json"
        file.write_text(json.dumps(floor.application()))
        command = [str(envoy_path()), "--config-path", str(file)]
        command += ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
        written += [
            deployment(name, [{"name": name, "image": "envoy", "command": command}], {}),
            service(name, {"http": floor.APPLICATION_PORT}),
        ]
    file = inside.scratch / "mesh.yaml"
    file.write_text("\n---\n".join(json.dumps(one) for one in (*written, *more)))
    inside.argosy("up", "--detach", "--no-gateway", *options, "-f", str(file))
