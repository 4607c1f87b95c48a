"""A sidecar pair of Argosy beside no proxy at all and beside the leanest pair of Envoys.

Three paths to one kind of application, in pods of one mesh: ``argosy`` (client and server with a
sidecar, transparent capture), ``floor`` (two Envoys written by hand, in pods without injection)
and ``direct`` (those pods without the Envoys). Short bursts alternate between the paths and the
floor is measured twice a round, so that the ratio of the floor to itself tells how much of a
difference this machine can show.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from argosy.proxy.envoy import envoy_path
from argosy.testing.certificates import ScratchAuthority
from bench import floor
from bench.figures import paired_ratio, spread
from bench.running_mesh import BenchMesh, CommandError, Generator, mesh

NAMESPACE = "bench"
PATHS = ("direct", "floor", "argosy", "floor_again")
_CLIENT = "spiffe://cluster.local/ns/bench/sa/client"
_SERVER = "spiffe://cluster.local/ns/bench/sa/server"
_RETRIES = 3

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Load:
    """``rate`` 0 is saturation."""

    name: str
    rate: float
    connections: int
    seconds: float
    rounds: int


FULL = (
    Load("steady", rate=1000, connections=16, seconds=2.0, rounds=15),
    Load("saturation", rate=0, connections=64, seconds=1.5, rounds=15),
)
QUICK = (
    Load("steady", rate=1000, connections=16, seconds=0.5, rounds=3),
    Load("saturation", rate=0, connections=64, seconds=0.5, rounds=3),
)


@dataclass(frozen=True, slots=True)
class Path:
    """Where a path starts, and the proxies on it by the name of their part."""

    generator: Generator
    target: Mapping[str, object]
    proxies: Mapping[str, int]
    application: int


def measure(loads: Sequence[Load]) -> Json:
    """Start the mesh, measure every load on every path, and read the proxies' memory."""
    with mesh() as inside, ExitStack() as stack:
        _start(inside)
        plain = stack.enter_context(Generator(inside, NAMESPACE, "deploy/plain-client"))
        meshed = stack.enter_context(Generator(inside, NAMESPACE, "deploy/meshed-client"))
        paths = _paths(inside, plain, meshed)
        result: Json = {"idle_memory": _memory(paths)}
        for load in loads:
            result[load.name] = summary(load, [_round(paths, load, n) for n in range(load.rounds)])
        result["memory"] = _memory(paths)
        return result


def _round(paths: Mapping[str, Path], load: Load, number: int) -> dict[str, Json]:
    """One burst on each path; who is first changes from round to round."""
    turn = number % len(PATHS)
    return {name: burst(paths[name], load) for name in (*PATHS[turn:], *PATHS[:turn])}


def burst(path: Path, load: Load) -> Json:
    """What the generator saw, with the seconds of processor for each request. Raises CommandError."""
    pids = [*path.proxies.values(), path.application]
    for _ in range(_RETRIES):
        found: Json = path.generator.ask(
            do="burst",
            target=path.target,
            pids=pids,
            connections=load.connections,
            rate=load.rate,
            seconds=load.seconds,
        )
        if "error" not in found:
            break
    else:
        raise CommandError(f"{path.target}: {found['error']}")
    requests = found["requests"]
    if found["failures"] or found["late"] or not requests:
        raise CommandError(f"{path.target}: requests failed or were not sent: {found}")
    cpu = found["cpu"]
    found["proxy_cpu"] = {name: cpu[str(pid)] / requests for name, pid in path.proxies.items()}
    found["pair_cpu"] = sum(found["proxy_cpu"].values())
    found["application_cpu"] = cpu[str(path.application)] / requests
    return found


def summary(load: Load, rounds: Sequence[Mapping[str, Json]]) -> Json:
    """What the rounds say: each path's figures, and ratios of the same round."""

    def of(path: str, *keys: str) -> list[float]:
        found = []
        for one in rounds:
            value: Any = one[path]
            for key in keys:
                value = value[key]
            found.append(float(value))
        return found

    def each(path: str) -> Json:
        rates = [n / s for n, s in zip(of(path, "requests"), of(path, "seconds"), strict=True)]
        found: Json = {
            "requests_per_second": spread(rates).json,
            "microseconds": {
                name: spread(of(path, "microseconds", name)).json for name in ("p50", "p90", "p99")
            },
        }
        if path != "direct":
            found["pair_cpu_microseconds"] = spread(
                [1e6 * value for value in of(path, "pair_cpu")]
            ).json
            found["cpu_microseconds"] = {
                part: spread([1e6 * v for v in of(path, "proxy_cpu", part)]).json
                for part in ("client", "server")
            }
            found["processors_used"] = {
                part: spread(
                    [
                        cpu * requests / seconds
                        for cpu, requests, seconds in zip(
                            of(path, "proxy_cpu", part),
                            of(path, "requests"),
                            of(path, "elapsed"),
                            strict=True,
                        )
                    ]
                ).median
                for part in ("client", "server")
            }
        per_second = of(path, "elapsed")
        found.setdefault("processors_used", {})
        found["processors_used"] |= {
            "application": spread(
                [
                    cpu * requests / seconds
                    for cpu, requests, seconds in zip(
                        of(path, "application_cpu"), of(path, "requests"), per_second, strict=True
                    )
                ]
            ).median,
            "generator": paired_ratio(of(path, "generator_cpu"), per_second).median,
            "machine": paired_ratio(of(path, "machine_busy"), per_second).median,
        }
        return found

    def ratios(path: str) -> Json:
        base = "floor"
        speed = [
            (mine["requests"] / mine["seconds"]) / (its["requests"] / its["seconds"])
            for mine, its in ((one[path], one[base]) for one in rounds)
        ]
        return {
            "pair_cpu": paired_ratio(of(path, "pair_cpu"), of(base, "pair_cpu")).json,
            "p50": paired_ratio(
                of(path, "microseconds", "p50"), of(base, "microseconds", "p50")
            ).json,
            "p99": paired_ratio(
                of(path, "microseconds", "p99"), of(base, "microseconds", "p99")
            ).json,
            "requests_per_second": spread(speed).json,
        }

    added = [
        mine - none
        for mine, none in zip(
            of("argosy", "microseconds", "p50"), of("direct", "microseconds", "p50"), strict=True
        )
    ]
    return {
        "load": {
            "rate": load.rate,
            "connections": load.connections,
            "seconds": load.seconds,
            "rounds": load.rounds,
        },
        "paths": {path: each(path) for path in PATHS if path != "floor_again"},
        "argosy_to_floor": ratios("argosy"),
        "floor_to_itself": ratios("floor_again"),
        "argosy_to_direct": {
            "p50": paired_ratio(
                of("argosy", "microseconds", "p50"), of("direct", "microseconds", "p50")
            ).json,
            "added_p50_microseconds": spread(added).json,
            "requests_per_second": spread(
                [
                    (mine["requests"] / mine["seconds"]) / (none["requests"] / none["seconds"])
                    for mine, none in ((one["argosy"], one["direct"]) for one in rounds)
                ]
            ).json,
        },
    }


def _memory(paths: Mapping[str, Path]) -> Json:
    """Resident and anonymous bytes of each proxy."""
    return {
        name: {
            part: paths[name].generator.ask(do="usage", pid=pid)
            for part, pid in paths[name].proxies.items()
        }
        for name in ("floor", "argosy")
    }


def pid_of(generator: Generator, argument: str) -> int:
    """The one Envoy with this in its command line."""
    found = generator.ask(do="find", program=envoy_path().name, argument=argument)
    assert len(found) == 1, f"{len(found)} processes with {argument}"
    return int(found[0])


def sidecar_of(generator: Generator, inside: BenchMesh, workload: str) -> int:
    return pid_of(generator, f"/pods/{NAMESPACE}/{inside.pod(NAMESPACE, workload)}")


def _paths(inside: BenchMesh, plain: Generator, meshed: Generator) -> dict[str, Path]:
    def pid(argument: str) -> int:
        return pid_of(plain, argument)

    def sidecar(workload: str) -> int:
        return sidecar_of(plain, inside, workload)

    port = floor.APPLICATION_PORT
    server = {"host": "plain-server", "port": port, "authority": f"plain-server:{port}"}
    application = pid("plain-application.json")
    by_hand = Path(
        plain,
        {**server, "host": "127.0.0.1", "port": floor.CLIENT_PORT},
        {"client": pid("floor-client.json"), "server": pid("floor-server.json")},
        application,
    )
    return {
        "direct": Path(plain, server, {}, application),
        "floor": by_hand,
        "floor_again": by_hand,
        "argosy": Path(
            meshed,
            {"host": "meshed-server", "port": port, "authority": f"meshed-server:{port}"},
            {"client": sidecar("meshed-client"), "server": sidecar("meshed-server")},
            pid("meshed-application.json"),
        ),
    }


def _start(inside: BenchMesh) -> None:
    authority = ScratchAuthority()
    host = f"plain-server.{NAMESPACE}.svc.cluster.local"
    configurations = {
        "plain-application": floor.application(),
        "meshed-application": floor.application(),
        "floor-client": floor.client(authority.credential(_CLIENT), host, _SERVER),
        "floor-server": floor.server(authority.credential(_SERVER), _CLIENT),
    }
    for name, configuration in configurations.items():
        (inside.scratch / f"{name}.json").write_text(json.dumps(configuration))

    def envoy(name: str) -> Json:
        command = [str(envoy_path()), "--config-path", str(inside.scratch / f"{name}.json")]
        command += ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
        return {"name": name, "image": "envoy", "command": command}

    sleep = {"name": "client", "image": "sleep", "command": ["sleep", "infinity"]}
    labels = {"sidecar.istio.io/inject": "false"}
    written = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        deployment("plain-client", [sleep, envoy("floor-client")], labels),
        deployment("plain-server", [envoy("plain-application"), envoy("floor-server")], labels),
        deployment("meshed-client", [sleep], {}),
        deployment("meshed-server", [envoy("meshed-application")], {}),
        service("plain-server", {"http": floor.APPLICATION_PORT, "tls": floor.TLS_PORT}),
        service("meshed-server", {"http": floor.APPLICATION_PORT}),
    ]
    path = inside.scratch / "mesh.yaml"
    path.write_text("\n---\n".join(json.dumps(one) for one in written))
    inside.argosy("up", "--detach", "--no-gateway", "-f", str(path))


def deployment(name: str, containers: list[Json], labels: dict[str, str]) -> Json:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name, **labels}},
                "spec": {"containers": containers},
            },
        },
    }


def service(name: str, ports: dict[str, int]) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "selector": {"app": name},
            "ports": [{"name": key, "port": number} for key, number in ports.items()],
        },
    }
