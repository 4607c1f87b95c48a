"""What a request costs when policies of more and more rules look at it.

One client, and servers that differ in the number of rules that their AuthorizationPolicy has; the last
rule is the one that allows. Short bursts go round all servers, one without a policy is measured twice, and
ratios are of the same round.
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

RULES = (1, 10, 100, 1000)
_NONE, _AGAIN = "none", "none_again"
_SERVERS = (_NONE, *(f"rules-{count}" for count in RULES))

FULL = Load("steady", rate=300, connections=16, seconds=1.5, rounds=15)
QUICK = Load("steady", rate=300, connections=16, seconds=0.5, rounds=3)

Json = dict[str, Any]


def measure(load: Load) -> Json:
    """The server proxy's processor time for a request, and the median latency, as ratios to none."""
    with mesh() as inside, ExitStack() as stack:
        _start(inside)
        client = stack.enter_context(Generator(inside, NAMESPACE, "deploy/client"))
        paths = {name: _path(inside, client, name) for name in _SERVERS}
        paths[_AGAIN] = paths[_NONE]
        rounds = [_round(paths, load, number) for number in range(load.rounds)]
    names = [name for name in paths if name != _NONE]
    return {
        "machine": machine.facts(),
        "rounds": load.rounds,
        "rate": load.rate,
        "to_none": {name: _ratios(rounds, name) for name in names},
    }


def _round(paths: Mapping[str, Path], load: Load, number: int) -> dict[str, Json]:
    """One burst at each server; who is first changes from round to round."""
    names = tuple(paths)
    turn = number % len(names)
    return {name: burst(paths[name], load) for name in (*names[turn:], *names[:turn])}


def _ratios(rounds: Sequence[Mapping[str, Json]], name: str) -> Json:
    def cpu(of: str) -> list[float]:
        return [float(one[of]["proxy_cpu"]["server"]) for one in rounds]

    def p50(of: str) -> list[float]:
        return [float(one[of]["microseconds"]["p50"]) for one in rounds]

    return {
        "server_cpu": paired_ratio(cpu(name), cpu(_NONE)).json,
        "p50": paired_ratio(p50(name), p50(_NONE)).json,
    }


def _path(inside: BenchMesh, client: Generator, name: str) -> Path:
    port = floor.APPLICATION_PORT
    return Path(
        client,
        {"host": name, "port": port, "authority": f"{name}:{port}"},
        {
            "client": sidecar_of(client, inside, "client"),
            "server": sidecar_of(client, inside, name),
        },
        pid_of(client, f"{name}.application.json"),
    )


def _start(inside: BenchMesh) -> None:
    sleep = {"name": "client", "image": "sleep", "command": ["sleep", "infinity"]}
    written = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        deployment("client", [sleep], {}),
    ]
    for name in _SERVERS:
        file = inside.scratch / f"{name}.application.json"
        file.write_text(json.dumps(floor.application()))
        command = [str(envoy_path()), "--config-path", str(file)]
        command += ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
        written += [
            deployment(name, [{"name": name, "image": "envoy", "command": command}], {}),
            service(name, {"http": floor.APPLICATION_PORT}),
        ]
    written += [_policy(f"rules-{count}", count) for count in RULES]
    path = inside.scratch / "mesh.yaml"
    path.write_text("\n---\n".join(json.dumps(one) for one in written))
    inside.argosy("up", "--detach", "--no-gateway", "-f", str(path))


def _policy(name: str, count: int) -> Json:
    """Rules of the usual kind, who and what; all but the last are for others."""
    rules = [
        {
            "from": [{"source": {"principals": [f"cluster.local/ns/{NAMESPACE}/sa/{who}"]}}],
            "to": [{"operation": {"methods": ["GET"], "paths": ["/", f"/{who}/*"]}}],
        }
        for who in (*(f"other-{number}" for number in range(count - 1)), "default")
    ]
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"selector": {"matchLabels": {"app": name}}, "rules": rules},
    }
