"""What Mixer counts is what happened: both sides of every edge, to the last request."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from manifests import deployment, service
from mesh import ARGOSY, Mesh, eventually, mixer_pid, mixer_runs

pytestmark = pytest.mark.e2e

LOAD = Path(__file__).with_name("counting_load.py")
SERVER = Path(__file__).with_name("counting_server.py")
REQUESTS = 16_000
REPLACED = 6_000
SEEN = 1_200
RETRIES = 2

RULES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: server}
spec:
  hosts: [server]
  http:
    - match: [{uri: {exact: /abort}}]
      fault: {abort: {httpStatus: 503, percentage: {value: 100}}}
      route: [{destination: {host: server}}]
    - match: [{uri: {exact: /reset}}]
      retries: {attempts: 2, retryOn: "connect-failure,refused-stream,503"}
      route: [{destination: {host: server}}]
    - match: [{uri: {exact: /flaky}}]
      retries: {attempts: 4, retryOn: "503"}
      route: [{destination: {host: server}}]
    - route: [{destination: {host: server}}]
"""

Json = dict[str, Any]


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where servers count, each process in a file."""
    return tmp_path_factory.mktemp("counts")


@pytest.fixture(scope="module")
def meshed(mesh: Mesh, counts: Path, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    server = deployment(
        "server", sys.executable, str(SERVER), "8080", str(counts), port=8080, replicas=2
    ).replace('"terminationGracePeriodSeconds": 0', '"terminationGracePeriodSeconds": 20')
    manifest = tmp_path_factory.mktemp("manifests") / "all.yaml"
    manifest.write_text(
        "\n---\n".join(
            (
                deployment("client", "/bin/sleep", "infinity"),
                server,
                service("server", "server", {"name": "http", "port": 80, "targetPort": 8080}),
                RULES,
            )
        )
    )
    mesh.up(manifest, options=("--no-gateway",))
    eventually(lambda: mixer_runs(mesh), "Mixer runs", 30)
    return mesh


def load(mesh: Mesh, count: int, *paths: str) -> "subprocess.Popen[str]":
    argv = ("exec", "deploy/client", "--", sys.executable, str(LOAD), "server", "80", str(count))
    return subprocess.Popen(
        [str(ARGOSY), *argv, *paths], env=mesh.environment, stdout=subprocess.PIPE, text=True
    )


def answers(process: "subprocess.Popen[str]") -> dict[str, Counter[str]]:
    out, _ = process.communicate(timeout=120)
    return {path: Counter(found) for path, found in json.loads(out).items()}


def edges(mesh: Mesh, *options: str) -> list[Json]:
    answer = json.loads(mesh.argosy("graph", "-o", "json", "--since", "20m", *options).stdout)
    found: list[Json] = answer["edges"]
    return found


def by_code(edge_list: list[Json], reporter: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for edge in edge_list:
        for response in edge["reporters"].get(reporter, {}).get("responses", ()):
            found[response["code"]] += response["count"]
    return found


def handled(counts: Path) -> int:
    return sum(int(path.read_text()) for path in counts.iterdir())


def wait_for(mesh: Mesh, wanted: dict[str, int]) -> list[Json]:
    """The edges once each side has told so many requests; proxies tell every two seconds."""
    found: list[Json] = []

    def told() -> bool:
        nonlocal found
        found = edges(mesh)
        return all(by_code(found, side).total() >= count for side, count in wanted.items())

    try:
        eventually(told, f"{wanted} are told", 20)
    except AssertionError as error:
        here = {side: by_code(found, side) for side in wanted}
        raise AssertionError(f"{error}, but {here}{mesh.logs()}") from error
    return found


@pytest.mark.timeout(240)
def test_every_request_is_counted_once_at_each_side(meshed: Mesh, counts: Path) -> None:
    """Errors of the application and of the proxy, retries and resets: all three counts are the same."""
    paths = ("/ok", "/ok", "/ok", "/ok", "/fail", "/abort", "/reset", "/flaky")
    found = answers(load(meshed, REQUESTS, *paths))
    each = REQUESTS // len(paths)
    total: Counter[str] = sum(found.values(), Counter())
    assert found["/abort"] == found["/reset"] == {"503": each}
    assert found["/fail"]["500"] > each - 50  # some meet a connection that /reset has ended
    assert found["/ok"]["200"] > 4 * each - 50
    came = handled(counts)
    known = wait_for(meshed, {"source": REQUESTS, "destination": came})
    # The source counts what its application got, the same by status.
    assert by_code(known, "source") == total
    # The destination counts what reached it: each try of a request that was tried again. What has
    # no answer there (0) ended with its connection, before or after the application got it.
    at_server = by_code(known, "destination")
    assert at_server.total() - at_server["0"] <= came <= at_server.total()
    assert at_server["0"] < 50
    (edge,) = [e for e in known if e["destination"]["workload"] == "server"]
    assert edge["source"]["principal"] == "spiffe://cluster.local/ns/default/sa/default"
    assert edge["security"] == {"mutualTls": at_server.total(), "plaintext": 0}
    for side, count in (("source", REQUESTS - each), ("destination", at_server.total())):
        assert sum(edge["reporters"][side]["buckets"]) == count
    resets = [r for r in edge["reporters"]["destination"]["responses"] if r["flags"] == "UC"]
    assert sum(r["count"] for r in resets) > (1 + RETRIES) * each - 50


@pytest.mark.timeout(240)
def test_a_proxy_that_is_replaced_under_load_loses_no_count(meshed: Mesh, counts: Path) -> None:
    """What it counted last it tells before it ends."""
    before = {side: by_code(edges(meshed), side) for side in ("source", "destination")}
    came = handled(counts)
    (first, _) = (pod["metadata"]["name"] for pod in meshed.get("pods", "-l", "app=server"))
    process = load(meshed, REPLACED, "/ok")
    meshed.argosy("delete", "pod", first)
    (found,) = answers(process).values()
    came = handled(counts) - came
    least = {side: count.total() + found["200"] for side, count in before.items()}
    known = wait_for(meshed, least | {"source": before["source"].total() + REPLACED})
    assert by_code(known, "source") - before["source"] == found
    destination = by_code(known, "destination") - before["destination"]
    # The last requests at a pod that ends may reach its proxy and its application no more.
    assert destination["200"] <= came <= destination.total()
    assert destination["200"] == found["200"]


def test_people_see_the_same_numbers(meshed: Mesh) -> None:
    before = {side: by_code(edges(meshed), side).total() for side in ("source", "destination")}
    assert answers(load(meshed, SEEN, "/ok")) == {"/ok": {"200": SEEN}}
    known = wait_for(meshed, {side: count + SEEN for side, count in before.items()})
    text = meshed.argosy("graph", "--since", "20m").stdout
    assert f"{sum(edge['requests'] for edge in known):,} requests on" in text
    (line,) = [line for line in text.splitlines() if "▶ server " in line]
    edge = next(e for e in known if e["destination"]["workload"] == "server")
    assert f"{edge['requests']:,}" in line
    assert "mTLS" in line
    top = meshed.argosy("top", "--once", "--since", "60s").stdout
    assert "requests/s" in top
    assert "client" in top
    assert meshed.argosy("graph", "-o", "svg").stdout.startswith("<svg")
    assert '"client" -> "server"' in meshed.argosy("graph", "-o", "dot").stdout
    assert "flowchart LR" in meshed.argosy("graph", "-o", "mermaid").stdout
    assert edges(meshed, "-n", "elsewhere") == []
    assert json.loads(meshed.argosy("graph", "-o", "json").stdout)["rejected"] == 0


def test_mixer_is_killed_under_load_and_counts_on(meshed: Mesh) -> None:
    """No request notices. What was told before is still there; what comes after is counted."""
    before = by_code(edges(meshed), "source").total()
    process = load(meshed, 4000, "/ok")
    os.kill(mixer_pid(meshed), signal.SIGKILL)
    assert answers(process) == {"/ok": {"200": 4000}}
    eventually(lambda: mixer_runs(meshed), "Mixer is back", 20)
    kept = by_code(edges(meshed), "source").total()
    assert kept >= before

    def counts_again() -> bool:
        assert answers(load(meshed, 10, "/ok")) == {"/ok": {"200": 10}}
        return by_code(edges(meshed), "source").total() > kept

    eventually(counts_again, "it counts on", 20)
