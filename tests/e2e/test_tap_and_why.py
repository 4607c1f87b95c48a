"""Single requests live, and why requests fail: real proxies, a failure of each kind, one mesh.

What `argosy why` must name is the marked line of the file that was applied.
"""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from mesh import ARGOSY, Mesh, eventually, mixer_pid
from tap_and_why_world import World, started

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def world(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with started(mesh, tmp_path_factory.mktemp("why")) as world:
        yield world


@dataclass(frozen=True)
class Failure:
    """A request that fails, and what is to be said of it."""

    url: str
    status: int
    cause: str
    kind: str
    flags: str
    headers: dict[str, str]
    hops: int = 1


FAILURES = {
    "refused": Failure(
        "http://refused:8000/", 503, "nothing listens at the destination's port", "Service", "UF",
        {}, 2,
    ),
    "empty": Failure(
        "http://empty:8000/", 503, "no healthy endpoint", "Service", "UH", {}
    ),
    "versions": Failure(
        "http://versions:8000/", 503, "no healthy endpoint", "DestinationRule", "UH", {}
    ),
    "slow": Failure(
        "http://slow:8000/delay/2", 504, "within the timeout", "VirtualService", "UT", {}
    ),
    "flaky": Failure(
        "http://flaky:8000/status/503", 503, "", "VirtualService", "URX", {}, 4,
    ),
    "narrow": Failure(
        "http://narrow:8000/other", 404, "no route matches", "VirtualService", "NR", {}
    ),
    "faulty": Failure(
        "http://faulty:8000/", 418, "was injected", "VirtualService", "FI", {}
    ),
    "denied": Failure(
        "http://httpbin:8000/anything/secret", 403, "AuthorizationPolicy denies it",
        "AuthorizationPolicy", "", {}, 2,
    ),
    "missing": Failure(
        "http://httpbin:8000/anything/private", 403, "AuthorizationPolicy denies it",
        "AuthorizationPolicy", "", {}, 2,
    ),
    "invalid": Failure(
        "http://httpbin:8000/anything/open", 401, "the token is not valid",
        "RequestAuthentication", "", {"authorization": "Bearer x.y.z"}, 2,
    ),
    "untrusted": Failure(
        "http://untrusted:8000/", 503, "of an authority that the proxy does not trust",
        "DestinationRule", "UF", {},
    ),
    "misnamed": Failure(
        "http://misnamed:8000/", 503, "for another name than the proxy expects",
        "DestinationRule", "UF", {},
    ),
    "external": Failure(
        "http://httpbin:8000/anything/external", 403, "the external authorizer refused",
        "AuthorizationPolicy", "UAEX", {}, 2,
    ),
    "unreachable": Failure(
        "http://vault:8000/anything/x", 403, "the external authorizer could not be asked",
        "AuthorizationPolicy", "UAEX", {}, 2,
    ),
    "nowhere": Failure(
        "http://nowhere:8000/", 503, "a host or subset that the proxy does not know",
        "VirtualService", "NC", {},
    ),
    "plain": Failure(
        "http://plain:8000/", 503, "the client spoke plaintext", "PeerAuthentication", "", {}, 2,
    ),
}  # fmt: skip


def test_every_failure_is_explained_with_its_file_and_line(world: World) -> None:
    asked: dict[str, str] = {}
    for name, failure in FAILURES.items():
        asked[name], statuses = world.ask(failure.url, headers=failure.headers)
        assert statuses == [failure.status], (name, statuses)
    # A circuit breaker opens for those who come while others are served.
    asked["small"], statuses = world.ask("http://small:8000/delay/1", count=6, parallel=6)
    assert 503 in statuses
    found = {name: world.why(asked[name], FAILURES[name].hops) for name in FAILURES}
    for name, failure in FAILURES.items():
        answer = found[name]
        cause = answer["hops"][answer["cause"]]
        shown = json.dumps(answer, indent=1)
        if name == "flaky":  # The application is to blame; that it was retried is said as well.
            assert cause["blame"] == "application", shown
            (cause,) = [h for h in answer["hops"] if "URX" in h["record"].get("flags", ())]
        assert failure.cause in cause["cause"], shown
        if failure.flags:
            assert failure.flags in cause["record"]["flags"], shown
        first = cause["objects"][0]
        assert (first["kind"], first["place"]) == (failure.kind, world.line(name)), shown
        assert cause["remedy"]
    notes = {
        name: [one["note"] for one in answer["hops"][answer["cause"]]["objects"]]
        for name, answer in found.items()
    }
    assert notes["missing"] == ["it wants a valid token, and the request has none"]
    web = "spiffe://cluster.local/ns/default/sa/web"
    assert notes["misnamed"] == [f"the certificate that it got is for {web}"]
    assert notes["external"] == ["it asks MeshConfig's provider gatekeeper"]
    assert notes["unreachable"] == [
        "it asks MeshConfig's provider unreachable",
        "unreachable is asked at this port, for at most 600 s; 1 of 1 pods that it selects are ready",
    ]
    host = "nowhere.default.svc.cluster.local"
    assert notes["nowhere"] == [f"no DestinationRule is there for {host}, so it has no subset v7"]
    small = world.why(asked["small"])
    (refused,) = {h["cause"] for h in small["hops"] if "UO" in h["record"].get("flags", ())}
    assert "circuit breaker" in refused
    objects = [o for h in small["hops"] for o in h["objects"]]
    assert ("DestinationRule", world.line("small")) in {(o["kind"], o["place"]) for o in objects}

    text = world.mesh.argosy("why", asked["slow"]).stdout
    assert f"VirtualService default/slow spec.http[1].timeout ({world.line('slow')})" in text
    assert "What to do: " in text
    assert "Cause" in world.here("why", "--last", "--workload", "deploy/curl").stdout
    unknown = world.mesh.argosy("why", "nobody-asked-this", check=False)
    assert unknown.returncode == 3
    assert "nothing is known of request" in unknown.stderr


def test_a_client_that_goes_away_is_the_cause_where_it_is(world: World) -> None:
    """At the first hop: the client of the second one is the first one's proxy."""
    request, statuses = world.ask("http://httpbin:8000/delay/3", timeout=0.5)
    assert statuses == [0]
    answer = world.why(request, 2)
    assert [set(hop["record"]["flags"]) for hop in answer["hops"]] == [{"DC"}, {"DR"}]
    cause = answer["hops"][answer["cause"]]
    assert (cause["record"]["direction"], cause["blame"]) == ("outbound", "client")
    assert "the client went away before the answer was complete" in cause["cause"]


def test_who_may_look(world: World) -> None:
    request, statuses = world.ask("http://narrow:8000/other")
    assert statuses == [404]
    world.why(request)
    tokens = {}
    for name, options in {
        "looker": ("--role", "view"),
        "here": ("--role", "view", "-n", "default"),
        "elsewhere": ("--role", "edit", "-n", "other"),
    }.items():
        tokens[name] = world.here("token", "create", name, *options).stdout.split()[-1]
    for name in ("looker", "here"):
        assert world.line("narrow") in world.here("--token", tokens[name], "why", request).stdout
    hidden = world.here("--token", tokens["elsewhere"], "why", request)
    assert "nothing is known of request" in str(hidden.exception)
    refused = {
        "looker": "needs the role edit",
        "here": "needs the role edit",
        "elsewhere": "may watch namespace other alone",
    }
    for name, why in refused.items():
        tapped = world.here("--token", tokens[name], "tap", "--limit", "1")
        assert why in str(tapped.exception), name


@contextmanager
def tapping(world: World, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """A tap that has begun: its proxies have heard of it."""
    watched = subprocess.Popen(
        [str(ARGOSY), "tap", *options, "-o", "json"],
        env=world.mesh.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert watched.stderr is not None
        assert "Watching" in watched.stderr.readline()
        eventually(lambda: share(world, "httpbin") == 10_000, "the proxy has heard of it", 10)
        yield watched
    finally:
        watched.kill()
        watched.wait()
        assert watched.stdout is not None
        assert watched.stderr is not None
        watched.stdout.close()
        watched.stderr.close()


def share(world: World, app: str) -> int:
    """What the runtime of a proxy says of how much is to be told."""
    entries = json.loads(world.mesh.envoy(f"deploy/{app}", "/runtime"))["entries"]
    return int(float(entries["argosy.tap"]["final_value"]))


def listeners(world: World, app: str) -> tuple[str, dict[str, int]]:
    """The dynamic listeners with their versions, and how often one was made, changed, removed."""
    dump = json.loads(world.mesh.envoy(f"deploy/{app}", "/config_dump?resource=dynamic_listeners"))
    versions = sorted(
        (one["name"], one["active_state"]["version_info"], one["active_state"]["last_updated"])
        for one in dump["configs"]
    )
    text = world.mesh.envoy(f"deploy/{app}", "/stats?filter=^listener_manager")
    numbers = dict(re.findall(r"listener_manager\.(\w+): (\d+)", text))
    kept = ("listener_added", "listener_modified", "listener_removed")
    return json.dumps(versions), {name: int(numbers.get(name, -1)) for name in kept}


def test_a_tap_shows_what_it_asks_for_and_changes_no_listener(world: World) -> None:
    before = {app: listeners(world, app) for app in ("curl", "httpbin")}
    assert before["httpbin"][1]["listener_added"] > 0
    assert share(world, "httpbin") == 0
    options = ("deploy/httpbin", "--path", "/anything/*", "--status", "2xx", "--method", "GET")
    with tapping(world, *options, "--from", "curl", "--limit", "3") as watched:
        assert share(world, "curl") == 0
        secrets = {"cookie": "session=abc", "x-api-key": "sesame"}
        ids = []
        for path in ("/anything/1?token=hidden", "/status/200", "/anything/2", "/anything/3"):
            request, statuses = world.ask(f"http://httpbin:8000{path}", headers=secrets)
            assert statuses == [200]
            ids.append(request)
        world.curl.get("http://httpbin:8000/anything/posted", method="POST")
        world.ask("http://httpbin:8000/anything/4")
        out, _ = watched.communicate(timeout=20)
        assert watched.returncode == 0
    records = [json.loads(line) for line in out.splitlines()]
    assert [one["requestId"] for one in records] == [ids[0], ids[2], ids[3]]
    assert {one["direction"] for one in records} == {"inbound"}
    assert {one["sourcePrincipal"] for one in records} == {
        "spiffe://cluster.local/ns/default/sa/curl"
    }
    assert records[0]["path"] == "/anything/1"
    for hidden in ("hidden", "session", "sesame"):
        assert hidden not in out
    assert set(records[0]["headers"]) <= {"content-type", "traceparent"}
    eventually(lambda: share(world, "httpbin") == 0, "it is off again", 10)
    quiet(world)
    assert {app: listeners(world, app) for app in ("curl", "httpbin")} == before


def quiet(world: World) -> None:
    """Nothing is sent of what succeeds."""
    time.sleep(1.2)  # What was held before goes out.
    received = world.api("/mixer/records/status")["received"]
    for _ in range(5):
        assert world.ask("http://httpbin:8000/status/200")[1] == [200]
    time.sleep(1.2)
    status = world.api("/mixer/records/status")
    assert (status["received"], status["refused"]) == (received, 0)


def test_a_killed_tap_a_dead_mixer_and_a_recording(world: World) -> None:
    with tapping(world, "deploy/httpbin") as watched:
        watched.send_signal(signal.SIGKILL)
        watched.wait()
        eventually(lambda: share(world, "httpbin") == 0, "a killed viewer looks no more", 15)
    with tapping(world, "svc/httpbin"):
        os.kill(mixer_pid(world.mesh), signal.SIGKILL)
        assert world.ask("http://httpbin:8000/status/200", count=20)[1] == [200] * 20
        eventually(lambda: share(world, "httpbin") == 0, "nobody looks when Mixer is dead", 15)
    assert world.ask("http://httpbin:8000/status/200", count=20)[1] == [200] * 20
