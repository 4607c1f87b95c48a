"""Access logs as Istio's tasks show them, by Telemetry objects and the mesh's providers.

https://istio.io/latest/docs/tasks/observability/logs/
"""

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from inside import Inside, InsideError
from manifests import deployment, mesh_config, namespace, server, service
from mesh import Json, Mesh, eventually
from rules import Rules

from argosy.platforms.local.state import MeshDirectory

pytestmark = pytest.mark.e2e

COLLECTOR = Path(__file__).with_name("log_collector.py")
GATEWAY_NAME = "gateway.networking.k8s.io/gateway-name"
GRPC: dict[str, object] = {"name": "grpc", "port": 4317}
WORKLOADS = (
    namespace("observability")
    + deployment("curl", image="curlimages/curl", labels={GATEWAY_NAME: "edge"})
    + deployment("httpbin", image="mccutchen/go-httpbin", port=8080)
    + service("httpbin", "httpbin", {"name": "http", "port": 8000, "targetPort": 8080})
    + deployment("echo", *server("any", "9000"), port=9000)
    + service("echo", "echo", {"name": "tcp", "port": 9000})
    + deployment(
        "collector", sys.executable, str(COLLECTOR), "4317", port=4317, namespace="observability"
    )
    + service("collector", "collector", GRPC, namespace="observability")
)
URL = "http://httpbin:8000"
SERVICE = "collector.observability.svc.cluster.local"
FLUSH_SECONDS = 1.1
"""After this what was logged is in the file."""
STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict}
spec: {mtls: {mode: STRICT}}
"""
PORT_AND_ADDRESS = r'"10\.244\.\d+\.\d+:8080"'


def telemetry(name: str, spec: str, where: str = "default", version: str = "v1") -> str:
    return f"""
apiVersion: telemetry.istio.io/{version}
kind: Telemetry
metadata: {{name: {name}, namespace: {where}}}
spec: {spec}
"""


ENVOY = "{accessLogging: [{providers: [{name: envoy}]}]}"


class Logs:
    """What the proxies and the collector of a mesh have written since the last look."""

    def __init__(self, mesh: Mesh) -> None:
        parent = Path(mesh.environment["ARGOSY_STATE_DIR"])
        directory = MeshDirectory.at(parent / mesh.name)
        self._files = {}
        self.addresses = {}
        for pod in mesh.get("pods", "-A"):
            metadata = pod["metadata"]
            self.addresses[metadata["labels"].get("app", "")] = pod["status"]["podIP"]
            logs = directory.pod(metadata["namespace"], metadata["name"]) / "logs"
            app = metadata["labels"].get("app", metadata["name"])
            self._files[app] = logs / "envoy.log"
            self._files[f"{app} itself"] = logs / f"{app}.log"

    def about(self, who: str, path: str) -> list[str]:
        """The lines that name a path, which one request alone has."""
        text = self._files[who].read_text()
        return [line for line in text.splitlines() if path in line]

    def line(self, who: str, path: str) -> str:
        """The one line about a path, as soon as it is written."""
        eventually(lambda: len(self.about(who, path)) > 0, f"{who} has logged {path}", 30)
        (line,) = self.about(who, path)
        return line


@pytest.fixture(scope="module")
def logs(meshed: Mesh) -> Logs:
    return Logs(meshed)


Ask = Callable[[int], str]


@pytest.fixture(scope="module")
def ask(curl: Inside) -> Ask:
    """One request for ``/status/CODE``; gives the path, with a query that no other request has."""
    count = iter(range(10_000))

    def request(code: int) -> str:
        path = f"/status/{code}?n={next(count)}."
        assert curl.get(f"{URL}{path}", headers={"x-own": "mine"}).status == code
        return path

    return request


def changed(ask: Ask, logs: Logs, code: int = 204) -> None:
    """Both proxies log requests of this status: connections from before a change are gone."""

    def do() -> bool:
        paths = [ask(code) for _ in range(3)]
        time.sleep(FLUSH_SECONDS)
        return all(logs.about(who, path) for who in ("curl", "httpbin") for path in paths)

    eventually(do, "both proxies log", 30)


@pytest.mark.covers(
    "Telemetry.accessLogging[].providers[].name",
    "Telemetry.accessLogging[].disabled",
    "Telemetry.selector.matchLabels[]",
    "Telemetry.targetRef",
    "Telemetry.targetRefs[]",
)
def test_the_lines_of_istios_page(meshed: Mesh, rules: Rules, logs: Logs, ask: Ask) -> None:
    """https://istio.io/latest/docs/tasks/observability/logs/access-log/#test-the-access-log"""
    silent = ask(200)
    rules.apply("mesh", telemetry("mesh-default", ENVOY, "istio-system", "v1alpha1"))
    changed(ask, logs)
    path = ask(418)
    client, server_line = logs.line("curl", path), logs.line("httpbin", path)
    request = re.escape(f'"GET {path} HTTP/1.1" 418 - via_upstream - "-" 0 ')
    assert re.match(
        rf"\[[-\d:.TZ]+\] {request}\d+ \d+ \d+ "
        rf'"-" "[^"]*" "[-0-9a-f]+" "httpbin:8000" {PORT_AND_ADDRESS} '
        r"outbound\|8000\|\|httpbin\.default\.svc\.cluster\.local 10\.244\.\d+\.\d+:\d+ "
        r"10\.96\.\d+\.\d+:8000 10\.244\.\d+\.\d+:\d+ - default$",
        client,
    ), client
    assert re.match(
        r'\[[-\d:.TZ]+\] "GET \S+ HTTP/\S+" 418 - via_upstream - "-" 0 \d+ \d+ \d+ "-" "[^"]*" '
        rf'"[-0-9a-f]+" "httpbin:8000" {PORT_AND_ADDRESS} inbound\|8080\|\| '
        r"127\.0\.0\.6:\d+ 10\.244\.\d+\.\d+:8080 10\.244\.\d+\.\d+:\d+ "
        r"outbound_\.8000_\._\.httpbin\.default\.svc\.cluster\.local default$",
        server_line,
    ), server_line
    assert logs.about("curl", silent) == [], "off by default"
    shown = meshed.argosy("logs", "deploy/httpbin", "-c", "istio-proxy").stdout
    assert server_line in shown.splitlines()

    off = "{selector: {matchLabels: {app: httpbin}}, accessLogging: [{disabled: true}]}"
    rules.apply("off", telemetry("disable-httpbin", off))
    eventually(lambda: not logged(ask, logs, "httpbin"), "httpbin logs no more", 30)
    assert logged(ask, logs, "curl")

    target = "{group: gateway.networking.k8s.io, kind: Gateway, name: edge}"
    for field in (f"targetRefs: [{target}]", f"targetRef: {target}"):
        spec = f"{{{field}, accessLogging: [{{disabled: true}}]}}"
        rules.apply("target", telemetry("disable-target", spec))
        eventually(lambda: not logged(ask, logs, "curl"), "curl logs no more", 30)
        rules.delete("target")
        eventually(lambda: logged(ask, logs, "curl"), "curl logs again", 30)


def logged(ask: Ask, logs: Logs, who: str, code: int = 200) -> bool:
    path = ask(code)
    time.sleep(FLUSH_SECONDS)
    return bool(logs.about(who, path))


@pytest.mark.covers(
    "Telemetry.accessLogging[].filter.expression",
    "Telemetry.accessLogging[].match.mode",
    "MeshConfig.extensionProviders[].envoyFileAccessLog",
    "MeshConfig.defaultProviders.accessLogging[]",
)
def test_formats_filters_and_sides(rules: Rules, logs: Logs, ask: Ask, tmp_path: Path) -> None:
    """https://istio.io/latest/docs/tasks/observability/logs/telemetry-api/"""
    tmp_path.chmod(0o777)
    rules.apply(
        "config",
        mesh_config(f"""
defaultProviders: {{accessLogging: [json]}}
extensionProviders:
- name: text
  envoyFileAccessLog:
    omitEmptyValues: true
    logFormat: {{text: "own%REQ(X-NO)% %REQ(:PATH)% gave %RESPONSE_CODE% %REQ_WITHOUT_QUERY(:PATH)%"}}
- name: json
  envoyFileAccessLog:
    path: {tmp_path}/json.log
    logFormat: {{labels: {{path: "%REQ(:PATH)%", of: {{code: "%RESPONSE_CODE%"}}}}}}
"""),
    )
    file = tmp_path / "json.log"

    def written() -> list[Json]:
        path = ask(200)
        time.sleep(FLUSH_SECONDS)
        lines = file.read_text().splitlines() if file.exists() else []
        found = [json.loads(line) for line in lines if path in line]
        assert all(one == {"path": path, "of": {"code": 200}} for one in found), found
        return found

    eventually(lambda: len(written()) == 2, "both have written", 30)

    sides = """
  accessLogging:
  - match: {mode: CLIENT}
    providers: [{name: text}]
    filter: {expression: "response.code >= 500"}
  - match: {mode: SERVER}
    providers: [{name: text}]
    filter: {expression: "response.code < 500 && request.headers[':authority'] == 'httpbin:8000'"}
"""
    rules.apply("sides", telemetry("sides", sides))
    eventually(lambda: logged(ask, logs, "httpbin"), "the server logs what is well", 30)
    bad, good = ask(503), ask(200)
    client, server_line = logs.line("curl", bad), logs.line("httpbin", good)
    assert client == f"own {bad} gave 503 /status/503"
    assert server_line == f"own {good} gave 200 /status/200"
    time.sleep(FLUSH_SECONDS)
    assert logs.about("curl", good) == logs.about("httpbin", bad) == []
    assert not any(path in file.read_text() for path in (good, bad)), "who names has no default"


def test_a_bad_expression_is_refused_with_its_line(meshed: Mesh, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    bad = "\n  accessLogging:\n  - filter: {expression: 'response.code >= 400 ||'}"
    file.write_text(telemetry("bad", bad).lstrip())
    done = meshed.argosy("apply", "-f", str(file), check=False)
    assert done.returncode == 1
    where = "Telemetry default/bad: spec.accessLogging[0].filter.expression"
    assert f"Error: {file}:6: {where}: " in done.stderr
    assert "is no CEL expression: mismatched input '<EOF>' at character 24" in done.stderr


def collected(logs: Logs, what: str) -> list[Json]:
    return [json.loads(line) for line in logs.about("collector itself", what)]


def pairs(items: list[Json]) -> dict[str, Any]:
    return {item["key"]: item["value"]["string_value"] for item in items}


@pytest.mark.covers(
    "MeshConfig.extensionProviders[].envoyOtelAls",
    "MeshConfig.extensionProviders[].envoyHttpAls",
    "MeshConfig.extensionProviders[].envoyTcpAls",
)
def test_collectors(rules: Rules, logs: Logs, ask: Ask, curl: Inside) -> None:
    """https://istio.io/latest/docs/tasks/observability/logs/otel-provider/"""
    rules.apply(
        "config",
        mesh_config(f"""
extensionProviders:
- name: otel
  envoyOtelAls:
    service: observability/{SERVICE}
    port: 4317
    logName: records
    logFormat:
      text: "%REQ(:METHOD)% %REQ(:PATH)% "
      labels: {{code: "%RESPONSE_CODE%"}}
- name: http
  envoyHttpAls:
    service: {SERVICE}
    port: 4317
    logName: requests
    additionalRequestHeadersToLog: [x-own]
    additionalResponseHeadersToLog: [content-length]
    additionalResponseTrailersToLog: [x-none]
    filterStateObjectsToLog: [envoy.network.application_protocols]
- name: tcp
  envoyTcpAls:
    service: {SERVICE}
    port: 4317
    logName: connections
    filterStateObjectsToLog: [envoy.network.application_protocols]
"""),
    )
    everything = "{accessLogging: [{providers: [{name: otel}, {name: http}, {name: tcp}]}]}"
    rules.apply("all", telemetry("all", everything))
    paths: list[str] = []

    def told() -> bool:
        """Each proxy has told each service of one request, which is in four messages then."""
        path = ask(418)
        paths.append(path)
        time.sleep(2 * FLUSH_SECONDS)
        return len(collected(logs, path)) == 4

    eventually(told, "both proxies tell both services", 45)
    path = paths[-1]
    found = collected(logs, path)
    records = [
        (pairs(of["resource"]["attributes"]), record)
        for message in found
        for of in message.get("resource_logs", ())
        for scope in of["instrumentation_library_logs"]
        for record in scope["logs"]
        if path in record["body"]["string_value"]
    ]
    assert {of["cluster_name"] for of, _ in records} == {"curl.default", "httpbin.default"}
    assert {of["log_name"] for of, _ in records} == {"records"}
    assert {record["body"]["string_value"] for _, record in records} == {f"GET {path} "}
    assert [pairs(record["attributes"]) for _, record in records] == [{"code": "418"}] * 2

    entries = [
        entry
        for message in found
        for entry in message.get("http_logs", {}).get("log_entry", ())
        if entry["request"]["path"] == path
    ]
    assert [entry["response"]["response_code"] for entry in entries] == [418, 418]
    for entry in entries:
        assert entry["request"]["request_headers"] == {"x-own": "mine"}
        assert "content-length" in entry["response"]["response_headers"]
    named = [one for one in collected(logs, '"log_name": "requests"') if "identifier" in one]
    nodes = {one["identifier"]["node"]["cluster"] for one in named}
    assert nodes >= {"curl.default", "httpbin.default"}

    assert curl.call("exchange", host="echo", port=9000, text="hello")

    def connections() -> list[Json]:
        lines = collected(logs, "tcp_logs")
        return [entry for one in lines for entry in one["tcp_logs"]["log_entry"]]

    eventually(lambda: len(connections()) >= 2, "the client and the server tell", 30)
    clusters = {one["common_properties"]["upstream_cluster"] for one in connections()}
    assert "outbound|9000||echo.default.svc.cluster.local" in clusters


def plaintext(curl: Inside, logs: Logs) -> None:
    """A connection that no filter chain of httpbin's proxy takes."""
    with pytest.raises(InsideError):
        curl.call("raw_http", host=logs.addresses["httpbin"], port=8080, text="GET / HTTP/1.0")


@pytest.mark.covers(
    "MeshConfig.enableEnvoyAccessLogService",
    "MeshConfig.defaultConfig.envoyAccessLogService.address",
    "MeshConfig.disableEnvoyListenerLog",
)
def test_older_settings(rules: Rules, logs: Logs, ask: Ask, curl: Inside) -> None:
    """https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/"""
    rules.apply(
        "config",
        mesh_config("""
enableEnvoyAccessLogService: true
accessLogFile: /dev/stdout
defaultConfig: {envoyAccessLogService: {address: "collector.observability:4317"}}
"""),
    )
    rules.apply("strict", STRICT)
    refused = "filter_chain_not_found"

    def told() -> bool:
        path = ask(200)
        plaintext(curl, logs)
        time.sleep(2 * FLUSH_SECONDS)
        return len(collected(logs, path)) == 2 and bool(logs.about("httpbin", refused))

    eventually(told, "the service and the file get what the mesh has for everybody", 45)
    rules.apply("config", mesh_config("accessLogFile: /dev/stdout\ndisableEnvoyListenerLog: true"))
    eventually(lambda: logged(ask, logs, "httpbin"), "the listener is the new one", 30)
    before = len(logs.about("httpbin", refused))
    plaintext(curl, logs)
    time.sleep(FLUSH_SECONDS)
    assert len(logs.about("httpbin", refused)) == before
