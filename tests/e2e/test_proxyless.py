"""gRPC without sidecars: an unmodified gRPC library is configured by the control plane itself.

https://istio.io/latest/blog/2021/proxyless-grpc/
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest
from manifests import account, deployment, server, service
from mesh import ARGOSY, SAMPLES, Mesh, eventually
from rules import Rules

pytestmark = pytest.mark.e2e

CLIENT = SAMPLES / "grpc-echo" / "client.py"
PROXYLESS = "xds:///grpc-proxyless:7070"
SPIFFE = "spiffe://cluster.local/ns/default/sa"

WORKLOADS = (
    account("caller")
    + deployment("curl", image="curlimages/curl", account="caller")
    + deployment(
        "client",
        image="curlimages/curl",
        account="caller",
        annotations={"inject.istio.io/templates": "grpc-agent"},
    )
    + deployment("web", *server("any", 8080), port=8080)
    + service("web", "web", {"name": "http", "port": 80, "targetPort": 8080})
)

STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: STRICT}}
"""

SUBSETS = tuple({"name": v, "labels": {"version": v}} for v in ("v1", "v2"))


@pytest.fixture(scope="module")
def proxyless(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    file = tmp_path_factory.mktemp("yaml") / "workloads.yaml"
    file.write_text(WORKLOADS)
    samples = SAMPLES / "grpc-echo"
    mesh.up(file, samples / "proxyless.yaml", samples / "grpc-echo.yaml")
    return mesh


@pytest.fixture
def rules(proxyless: Mesh) -> Iterator[Rules]:
    with Rules(proxyless) as rules:
        yield rules


def grpc(mesh: Mesh, target: str, *options: str, source: str = "deploy/client") -> list[str]:
    """The lines that the sample client prints, a status as the last one if it failed."""
    argv = (sys.executable, str(CLIENT), "--target", target, *options)
    return mesh.exec(source, *argv, check=False).stdout.splitlines()


def subset(version: str) -> dict[str, object]:
    return {"destination": {"host": "grpc-proxyless", "subset": version}}


@pytest.mark.covers("VirtualService.http[].route[].weight", "DestinationRule.subsets[].labels")
def test_weights_hold_for_each_call(proxyless: Mesh, rules: Rules) -> None:
    rules.destination("grpc-proxyless", None, *SUBSETS)
    shares = [{**subset("v1"), "weight": 80}, {**subset("v2"), "weight": 20}]
    rules.route("grpc-proxyless", route=shares)
    answers = grpc(proxyless, PROXYLESS, "--count", "400")
    versions = Counter(line.split()[0] for line in answers)
    assert versions["v1"] + versions["v2"] == 400, answers[-3:]
    # Four standard deviations of 400 draws with 0.2 are 32.
    assert 48 <= versions["v2"] <= 112, versions


@pytest.mark.covers("VirtualService.http[].match[].headers", "VirtualService.http[].match[].uri")
def test_calls_are_routed_by_header_and_method(proxyless: Mesh, rules: Rules) -> None:
    rules.destination("grpc-proxyless", None, *SUBSETS)
    rules.apply(
        "routes",
        """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: grpc-proxyless}
spec:
  hosts: [grpc-proxyless]
  http:
  - match: [{headers: {end-user: {exact: jason}}}, {uri: {prefix: /argosy.samples.Echo/Count}}]
    route: [{destination: {host: grpc-proxyless, subset: v2}}]
  - route: [{destination: {host: grpc-proxyless, subset: v1}}]
""",
    )
    jason = grpc(proxyless, PROXYLESS, "--count", "5", "--metadata", "end-user: jason")
    assert [line.split()[0] for line in jason] == ["v2"] * 5
    others = grpc(proxyless, PROXYLESS, "--count", "5")
    assert [line.split()[0] for line in others] == ["v1"] * 5
    counted = grpc(proxyless, PROXYLESS, "--call", "count", "--count", "5")
    assert [line.split()[0] for line in counted] == ["v2"] * 5
    chat = grpc(proxyless, PROXYLESS, "--call", "chat", "--count", "3")
    assert chat == [f"v1 message-{number}" for number in range(3)]


@pytest.mark.covers(
    "VirtualService.http[].fault.abort.grpcStatus",
    "VirtualService.http[].fault.delay.fixedDelay",
    "VirtualService.http[].timeout",
    "VirtualService.http[].retries.attempts",
    "VirtualService.http[].retries.retryOn",
)
def test_faults_retries_and_timeouts(proxyless: Mesh, rules: Rules) -> None:
    rules.destination("grpc-proxyless", None, *SUBSETS)
    (answer,) = grpc(proxyless, PROXYLESS, "--metadata", "x-fail: 0")
    assert "tries=" in answer
    rules.destination("grpc-echo", None, *SUBSETS)
    v1 = {"destination": {"host": "grpc-echo", "subset": "v1"}}
    rules.route("grpc-echo", route=[v1], retries={"attempts": 3, "retryOn": "unavailable"})
    fails = ("--metadata", "x-fail: 2", "--metadata", "x-case: proxyless")
    (retried,) = grpc(proxyless, "xds:///grpc-echo:7070", *fails)
    assert retried.split()[2] == "tries=3", retried
    rules.route(
        "grpc-proxyless",
        fault={"abort": {"grpcStatus": "RESOURCE_EXHAUSTED", "percentage": {"value": 100}}},
    )
    assert grpc(proxyless, PROXYLESS)[-1].startswith("RESOURCE_EXHAUSTED")
    rules.route(
        "grpc-proxyless",
        fault={"delay": {"fixedDelay": "10s", "percentage": {"value": 100}}},
        timeout="0.5s",
    )
    assert grpc(proxyless, PROXYLESS)[-1].startswith("DEADLINE_EXCEEDED")


@pytest.mark.parametrize(
    "host", ["grpc-proxyless.default", "grpc-proxyless.default.svc.cluster.local"]
)
def test_every_form_of_the_name_is_understood(proxyless: Mesh, host: str) -> None:
    (answer,) = grpc(proxyless, f"xds:///{host}:7070")
    assert answer.startswith("v")


def test_without_strict_a_grpc_server_is_called_in_plaintext(proxyless: Mesh) -> None:
    for target, source in (
        (PROXYLESS, "deploy/client"),
        ("grpc-proxyless:7070", "deploy/curl"),
        ("grpc-proxyless:7070", "deploy/client"),
    ):
        (answer,) = grpc(proxyless, target, source=source)
        assert answer.endswith("peer=-"), (target, source, answer)


@pytest.mark.covers("PeerAuthentication.mtls.mode")
def test_strict_is_mutual_tls_with_and_without_sidecars(proxyless: Mesh, rules: Rules) -> None:
    """The server names its caller; a client's target decides nothing but who is configured."""
    rules.apply("strict", STRICT)
    with_identity = [
        (PROXYLESS, "deploy/client"),
        ("xds:///grpc-echo:7070", "deploy/client"),
        ("grpc-proxyless:7070", "deploy/curl"),
    ]
    for target, source in with_identity:

        def is_mutual(target: str = target, source: str = source) -> bool:
            return grpc(proxyless, target, source=source)[-1].endswith(f"peer={SPIFFE}/caller")

        eventually(is_mutual, f"mutual TLS from {source} to {target}")
    (refused,) = grpc(proxyless, "grpc-proxyless:7070", "--timeout", "5")
    assert refused.startswith(("UNAVAILABLE", "DEADLINE_EXCEEDED")), refused


@pytest.mark.covers("DestinationRule.trafficPolicy.tls.mode")
def test_a_rule_can_demand_the_servers_name(proxyless: Mesh, rules: Rules) -> None:
    rules.apply("strict", STRICT)
    tls = {"mode": "ISTIO_MUTUAL", "subjectAltNames": [f"{SPIFFE}/somebody-else"]}
    rules.destination("grpc-proxyless", {"tls": tls}, *SUBSETS)
    eventually(
        lambda: grpc(proxyless, PROXYLESS, "--timeout", "5")[-1].startswith("UNAVAILABLE"),
        "a server of another name is refused",
    )
    tls["subjectAltNames"] = [f"{SPIFFE}/default"]
    rules.destination("grpc-proxyless", {"tls": tls}, *SUBSETS)
    eventually(
        lambda: grpc(proxyless, PROXYLESS)[-1].endswith(f"peer={SPIFFE}/caller"),
        "the server has the name that is asked for",
    )


def test_plain_calls_of_such_a_pod_reach_services(proxyless: Mesh) -> None:
    assert proxyless.status("deploy/client", "http://web/") == 200


def test_status_shows_grpc_as_it_shows_proxies(proxyless: Mesh) -> None:
    text = proxyless.argosy("status", "-o", "wide").stdout
    (line, _) = (one for one in text.splitlines() if one.startswith("grpc-proxyless-"))
    assert "SYNCED" in line
    assert f"{SPIFFE}/default" in line
    assert " grpc " in line
    # A client is there as long as its channel is.
    holding = (
        "import sys, grpc, grpc.experimental;"
        "plain=grpc.experimental.insecure_channel_credentials();"
        "c=grpc.secure_channel(sys.argv[1],grpc.xds_channel_credentials(plain));"
        "grpc.channel_ready_future(c).result(20);print('ready',flush=True);sys.stdin.read()"
    )
    inside = (str(ARGOSY), "exec", "-n", "default", "deploy/client", "--")
    command = [*inside, sys.executable, "-c", holding, PROXYLESS]
    with subprocess.Popen(
        command,
        env=proxyless.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        assert running.stdin is not None
        assert running.stdout.readline() == "ready\n"
        text = proxyless.argosy("status").stdout
        lines = [one for one in text.splitlines() if one.startswith("client-")]
        assert len(lines) == 1, text
        assert lines[0].count("SYNCED") == 4, text
        running.stdin.close()
        assert running.wait(20) == 0
