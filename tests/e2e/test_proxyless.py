"""gRPC without sidecars: an unmodified gRPC library is configured by the control plane itself.

https://istio.io/latest/blog/2021/proxyless-grpc/
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from manifests import account, deployment, namespace, server, service
from mesh import ARGOSY, ISTIO_SAMPLES, SAMPLES, Mesh, eventually
from rules import Rules

pytestmark = pytest.mark.e2e

CLIENT = SAMPLES / "grpc-echo" / "client.py"
PROXYLESS = "xds:///grpc-proxyless:7070"
SPIFFE = "spiffe://cluster.local/ns/default/sa"
ISTIO_ECHO = Path(__file__).with_name("istio_echo.py")
IMAGES = f"""
images:
  - match: ".*testing/app(:.*)?"
    command: ["${{PYTHON}}", "{ISTIO_ECHO}"]
"""
ECHO = "echo.echo-grpc.svc.cluster.local"

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
    directory = tmp_path_factory.mktemp("yaml")
    file, images = directory / "workloads.yaml", directory / "images.yaml"
    file.write_text(WORKLOADS + namespace("echo-grpc", {"istio-injection": "enabled"}))
    images.write_text(IMAGES)
    samples = [SAMPLES / "grpc-echo" / name for name in ("proxyless.yaml", "grpc-echo.yaml")]
    if ISTIO_SAMPLES.is_dir():
        samples.append(ISTIO_SAMPLES / "grpc-echo" / "grpc-echo.yaml")
    mesh.up(file, *samples, options=("--images", str(images)))
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


def forward(mesh: Mesh, url: str, *options: str) -> list[str]:
    """What ``ForwardEcho`` of Istio's echo-v1 answers for calls to ``url``, without the numbers."""
    argv = (sys.executable, str(ISTIO_ECHO), "forward", "--url", url, *options)
    done = mesh.exec("deploy/echo-v1", *argv, namespace="echo-grpc", check=False)
    return [line.partition(" body] ")[2] or line for line in done.stdout.splitlines()]


def versions(mesh: Mesh, url: str, count: int, *options: str) -> Counter[str]:
    lines = forward(mesh, url, "--count", str(count), *options)
    found = [line for line in lines if line.startswith("ServiceVersion=")]
    assert len(found) == count, lines[-3:]
    return Counter(line.removeprefix("ServiceVersion=") for line in found)


def in_echo(kind: str, group: str, name: str, spec: str) -> str:
    return f"""
apiVersion: {group}
kind: {kind}
metadata: {{name: {name}, namespace: echo-grpc}}
spec: {spec}
"""


ECHO_SUBSETS = "[{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]"


@pytest.mark.covers("DestinationRule.subsets[].labels", "VirtualService.http[].route[].weight")
def test_istios_sample_is_resolved_and_shifted(
    proxyless: Mesh, rules: Rules, istio_samples: Path
) -> None:
    """Both versions by every form of the name; then 20 % and 80 %; then by a header."""
    assert (istio_samples / "grpc-echo").is_dir()
    for name in ("echo", "echo.echo-grpc", "echo.echo-grpc.svc", ECHO):

        def are_both(name: str = name) -> bool:
            """The one whose connection is there first may take all of a short series."""
            return set(versions(proxyless, f"xds:///{name}:7070", 30)) == {"v1", "v2"}

        eventually(are_both, name, 30)
    group = "networking.istio.io/v1"
    subsets = f"{{host: {ECHO}, subsets: {ECHO_SUBSETS}}}"
    rules.apply("dr", in_echo("DestinationRule", group, "echo-versions", subsets))

    def shares(first: int) -> str:
        to = "{{destination: {{host: {}, subset: {}}}, weight: {}}}".format
        routes = f"[{to(ECHO, 'v1', first)}, {to(ECHO, 'v2', 100 - first)}]"
        spec = f"{{hosts: [{ECHO}], http: [{{route: {routes}}}]}}"
        return in_echo("VirtualService", group, "echo", spec)

    rules.apply("vs", shares(20))
    found = versions(proxyless, f"xds:///{ECHO}:7070", 400)
    # Four standard deviations of 400 draws with 0.2 are 32.
    assert 48 <= found["v1"] <= 112, found
    rules.apply("vs", shares(100))
    assert set(versions(proxyless, f"xds:///{ECHO}:7070", 20)) == {"v1"}
    to = "{{route: [{{destination: {{host: {}, subset: {}}}}}]{}}}".format
    jason = ", match: [{headers: {end-user: {exact: jason}}}]"
    spec = f"{{hosts: [{ECHO}], http: [{to(ECHO, 'v2', jason)}, {to(ECHO, 'v1', '')}]}}"
    rules.apply("vs", in_echo("VirtualService", group, "echo", spec))
    of_jason = versions(proxyless, f"xds:///{ECHO}:7070", 10, "--header", "end-user: jason")
    assert of_jason == Counter(v2=10)
    assert versions(proxyless, f"xds:///{ECHO}:7070", 10) == Counter(v1=10)


@pytest.mark.covers("DestinationRule.trafficPolicy.tls.mode", "PeerAuthentication.mtls.mode")
def test_istios_sample_with_mutual_tls(proxyless: Mesh, rules: Rules, istio_samples: Path) -> None:
    """ISTIO_MUTUAL fails until the server is STRICT; then plaintext does."""
    assert (istio_samples / "grpc-echo").is_dir()
    url = f"xds:///{ECHO}:7070"
    assert "Peer=" in forward(proxyless, url), "plaintext to begin with"
    tls = f"{{host: {ECHO}, trafficPolicy: {{tls: {{mode: ISTIO_MUTUAL}}}}}}"
    rules.apply("dr", in_echo("DestinationRule", "networking.istio.io/v1", "echo-mtls", tls))
    eventually(
        lambda: forward(proxyless, url)[-1].startswith("UNKNOWN 1/1 requests had errors"),
        "the server is not yet configured for mutual TLS",
    )
    strict = in_echo(
        "PeerAuthentication", "security.istio.io/v1", "echo-mtls", "{mtls: {mode: STRICT}}"
    )
    rules.apply("pa", strict)
    peer = "Peer=spiffe://cluster.local/ns/echo-grpc/sa/default"
    eventually(lambda: peer in forward(proxyless, url), "mutual TLS")
    for plain in (f"{ECHO}:7070", "echo:7070"):
        assert forward(proxyless, plain)[-1].startswith("UNKNOWN"), plain
    (pod,) = proxyless.get("pods", "-n", "echo-grpc", "-l", "version=v1")
    assert {c["status"] for c in pod["status"]["conditions"] if c["type"] == "Ready"} == {"True"}
