"""A VirtualService where something goes wrong, or is made to: timeouts, retries, faults, mirrors.

https://istio.io/latest/docs/reference/config/networking/virtual-service/
"""

import time
from collections import Counter
from pathlib import Path

import pytest
from inside import Inside
from manifests import deployment, mesh_config, server, service, virtual_service
from mesh import Mesh, eventually
from rules import Rules

pytestmark = pytest.mark.e2e

WORKLOADS = (
    deployment("curl", image="curlimages/curl")
    + deployment("echo-v1", *server("any", "8000"), port=8000, labels={"app": "echo"})
    + service("echo", "echo", {"name": "http", "port": 8000})
    + deployment("flaky", *server("flaky", 8080), port=8080)
    + service("flaky", "flaky", {"name": "http", "port": 8000, "targetPort": 8080})
)
URL = "http://echo:8000"


@pytest.mark.covers(
    "VirtualService.http[].timeout",
    "VirtualService.http[].retries.attempts",
    "VirtualService.http[].retries.perTryTimeout",
    "VirtualService.http[].retries.retryOn",
)
def test_timeouts_and_retries(rules: Rules, curl: Inside) -> None:
    rules.apply(
        "vs",
        virtual_service(
            "flaky",
            """
- match: [{uri: {exact: /timeout}}]
  timeout: 300ms
  retries: {attempts: 0}
  route: [{destination: {host: flaky}}]
- match: [{uri: {exact: /try}}]
  timeout: 30s
  retries: {attempts: 1, perTryTimeout: 300ms, retryOn: "5xx"}
  route: [{destination: {host: flaky}}]
- retries: {attempts: 3, retryOn: "500"}
  route: [{destination: {host: flaky}}]
""",
            "[flaky]",
        ),
    )
    slow = {"x-fail": "9", "x-with": "500", "x-after": "5"}

    def called(path: str, case: str, **headers: str) -> tuple[int, int]:
        """The status, and how often the server was asked."""
        answer = curl.get(f"http://flaky:8000{path}", headers={"x-case": case, **headers})
        return answer.status, curl.get(f"http://flaky:8000/tries/{case}").json["tries"]

    assert called("/timeout", "timeout", **slow) == (504, 1)
    assert called("/try", "try", **slow) == (504, 2)
    assert called("/", "listed", **{"x-fail": "9", "x-with": "500"}) == (500, 4)
    assert called("/", "unlisted", **{"x-fail": "9", "x-with": "501"}) == (501, 1)
    assert called("/", "enough", **{"x-fail": "2", "x-with": "500"}) == (200, 3)


@pytest.mark.covers(
    "VirtualService.http[].fault.delay.fixedDelay",
    "VirtualService.http[].fault.delay.percentage",
    "VirtualService.http[].fault.delay.percent",
    "VirtualService.http[].fault.abort.httpStatus",
    "VirtualService.http[].fault.abort.grpcStatus",
    "VirtualService.http[].fault.abort.percentage",
)
def test_faults(rules: Rules, curl: Inside) -> None:
    rules.apply(
        "vs",
        virtual_service(
            "echo",
            """
- match: [{uri: {exact: /half}}]
  fault: {abort: {httpStatus: 418, percentage: {value: 50}}}
  route: [{destination: {host: echo}}]
- match: [{uri: {exact: /never}}]
  fault: {abort: {httpStatus: 418, percentage: {value: 0}}, delay: {fixedDelay: 60s, percent: 0}}
  route: [{destination: {host: echo}}]
- match: [{uri: {exact: /late}}]
  fault: {delay: {fixedDelay: 60s, percentage: {value: 100}}}
  timeout: 10s
  route: [{destination: {host: echo}}]
- match: [{uri: {exact: /grpc}}]
  fault: {abort: {grpcStatus: RESOURCE_EXHAUSTED, percentage: {value: 100}}}
  route: [{destination: {host: echo}}]
""",
        ),
    )
    half = Counter(answer.status for answer in curl.requests(f"{URL}/half", count=200))
    assert half.keys() == {200, 418}
    assert 60 <= half[418] <= 140
    assert {answer.status for answer in curl.requests(f"{URL}/never", count=20)} == {200}
    assert curl.get(f"{URL}/late", timeout=1).error.startswith("ReadTimeout")
    headers = {"content-type": "application/grpc"}
    grpc = curl.get(f"{URL}/grpc", method="POST", headers=headers, http2=True)
    assert grpc.headers["grpc-status"] == "8"


@pytest.mark.covers(
    "VirtualService.http[].mirror",
    "VirtualService.http[].mirrors",
    "VirtualService.http[].mirrorPercentage",
    "VirtualService.http[].mirrorPercent",
)
@pytest.mark.parametrize(
    ("fields", "least", "most"),
    [
        ("mirror: {host: flaky}", 40, 40),
        ("mirror: {host: flaky}\n  mirrorPercentage: {value: 50}", 5, 35),
        ("mirror: {host: flaky}\n  mirrorPercent: 50", 5, 35),
        ("mirror: {host: flaky}\n  mirrorPercentage: {value: 0}", 0, 0),
        ("mirrors: [{destination: {host: flaky}}, {destination: {host: flaky}}]", 80, 80),
        ("mirrors: [{destination: {host: flaky}, percentage: {value: 50}}]", 5, 35),
    ],
)
def test_mirrors(
    rules: Rules, curl: Inside, fields: str, least: int, most: int, request: pytest.FixtureRequest
) -> None:
    route = "- route: [{destination: {host: echo}}]\n  " + fields
    rules.apply("vs", virtual_service("echo", route))
    case = str(abs(hash(request.node.name)))
    answers = curl.requests(f"{URL}/", count=40, headers={"x-case": case})
    assert {answer.json["hostname"][:7] for answer in answers} == {"echo-v1"}

    def mirrored() -> int:
        tries: int = curl.get(f"http://flaky:8000/tries/{case}").json["tries"]
        return tries

    eventually(lambda: mirrored() >= least, f"{least} mirrored requests")
    assert mirrored() <= most


@pytest.mark.covers("VirtualService.http[].retries.backoff")
def test_retries_wait(rules: Rules, curl: Inside) -> None:
    """Up to three seconds, by chance: of 20 at once one in a billion times none waits one second."""
    failing = {"x-fail": "999", "x-with": "500", "x-case": "backoff"}
    rules.route("flaky", retries={"attempts": 1, "retryOn": "5xx", "backoff": "3s"})
    started = time.monotonic()
    answers = curl.requests("http://flaky:8000/", count=20, parallel=20, headers=failing)
    assert time.monotonic() - started >= 1
    assert {answer.status for answer in answers} == {500}
    assert curl.get("http://flaky:8000/tries/backoff").json["tries"] == 40


REFUSED = {
    "spec.http[0].fault.delay.exponentialDelay": "delay: {exponentialDelay: 60s, percentage: {value: 100}}",
    "spec.http[0].fault.abort.http2Error": "abort: {http2Error: REFUSED_STREAM, percentage: {value: 100}}",
}


@pytest.mark.covers(
    "VirtualService.http[].fault.delay.exponentialDelay",
    "VirtualService.http[].fault.abort.http2Error",
)
@pytest.mark.parametrize("field", REFUSED)
def test_faults_that_do_not_exist(
    meshed: Mesh, rules: Rules, curl: Inside, tmp_path: Path, field: str
) -> None:
    """Istio does not have them either. What was good before stays in force."""
    good = "- headers: {response: {set: {x-rules: good}}}\n  route: [{destination: {host: echo}}]"
    rules.apply("vs", virtual_service("echo", good))
    bad = tmp_path / "bad.yaml"
    fault = f"- fault:\n    {REFUSED[field]}\n  route: [{{destination: {{host: echo}}}}]"
    bad.write_text(virtual_service("echo", fault).lstrip())
    done = meshed.argosy("apply", "--wait", "-f", str(bad), check=False)
    name = field.rpartition(".")[2]
    assert done.returncode == 1
    assert f"Error: {bad}:8: VirtualService default/echo: {field}: {name} is not " in done.stderr
    assert "the last good version stays in force" in done.stdout
    (shown,) = meshed.get("vs/echo")
    (message,) = shown["status"]["validationMessages"]
    assert name in message["message"]
    answers = curl.requests(f"{URL}/", count=4)
    assert {(a.status, a.headers.get("x-rules")) for a in answers} == {(200, "good")}


@pytest.mark.covers("VirtualService.http[].name", "VirtualService.http[].match[].name")
def test_access_logs_name_the_rule(meshed: Mesh, rules: Rules, curl: Inside) -> None:
    """The rule's name and the match's, joined by a dot."""
    text = """
- name: canary
  match:
  - {name: beta, uri: {prefix: /beta}}
  - {uri: {prefix: /alpha}}
  route: [{destination: {host: echo}}]
- match: [{name: lonely, uri: {prefix: /lonely}}]
  route: [{destination: {host: echo}}]
- name: main
  route: [{destination: {host: echo}}]
"""
    rules.apply("vs", virtual_service("echo", text))
    line = "named %ROUTE_NAME% %REQ(:PATH)%\\n"
    rules.apply("mesh", mesh_config(f'accessLogFile: /dev/stdout\naccessLogFormat: "{line}"'))

    def named() -> set[str]:
        logs = meshed.argosy("logs", "deploy/curl", "-c", "istio-proxy").stdout
        return {line.removeprefix("named ") for line in logs.splitlines() if "named " in line}

    for path in ("/beta", "/alpha", "/lonely", "/"):
        assert curl.get(f"{URL}{path}").status == 200
    eventually(lambda: len(named()) >= 4, "the lines are written", 30)
    assert named() == {"canary.beta /beta", "canary /alpha", "lonely /lonely", "main /"}
