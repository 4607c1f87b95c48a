"""A real Prometheus scrapes a mesh, as Istio's pages tell, and answers what Istio's dashboards ask.

https://istio.io/latest/docs/ops/integrations/prometheus/
"""

import json
import sys
import time
from pathlib import Path

import debian
import gateways
import pytest
from credentials import tls
from manifests import account, deployment, namespace, service
from mesh import SAMPLES, Mesh, eventually
from tls_client import Client

from argosy.testing.certificates import ScratchAuthority

pytestmark = pytest.mark.e2e

APPLICATION = Path(__file__).with_name("metrics_application.py")
ECHO = SAMPLES / "tcp-echo" / "tcp_echo.py"


@pytest.fixture(scope="module")
def running(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    """``load`` calls ``shop`` by HTTP and ``echo`` by opaque bytes, all the time."""
    world = tmp_path_factory.mktemp("prometheus") / "world.yaml"
    world.write_text(
        account("shop")
        + account("load")
        + deployment(
            "shop",
            sys.executable,
            str(APPLICATION),
            "8080",
            port=8080,
            labels={"version": "v1"},
            account="shop",
        )
        + service("shop", "shop", {"name": "http", "port": 80, "targetPort": 8080})
        + deployment("echo", sys.executable, str(ECHO), "9000", "hi", port=9000)
        + service("echo", "echo", {"name": "tcp", "port": 9000})
        + deployment("load", sys.executable, "-c", LOAD, account="load")
    )
    mesh.up(world)
    return mesh


def addresses(mesh: Mesh) -> list[str]:
    pods = mesh.get("pods")
    return [p["status"]["podIP"] for p in pods if p.get("status", {}).get("podIP")]


PROMETHEUS = """
global: {scrape_interval: 1s, scrape_timeout: 900ms}
scrape_configs:
- job_name: kubernetes-pods
  metrics_path: /stats/prometheus
  static_configs: [{targets: [%s]}]
"""

SHOP_HOST = 'destination_service=~"shop.default.svc.cluster.local"'
DASHBOARDS = (
    # Mesh
    "round(sum(irate(istio_requests_total{reporter=~'source|waypoint'}[1m])), 0.001)",
    "sum(rate(istio_requests_total{reporter='source', response_code!~'5.*'}[1m])) "
    "/ sum(rate(istio_requests_total{reporter='source'}[1m]))",
    "label_join(sum(rate(istio_requests_total{reporter='source', response_code='200'}[1m])) by "
    "(destination_workload, destination_workload_namespace, destination_service), "
    "'destination_workload_var', '.', 'destination_workload', 'destination_workload_namespace')",
    "label_join((histogram_quantile(0.50, sum(rate(istio_request_duration_milliseconds_bucket{"
    "reporter='source'}[1m])) by (le, destination_workload, destination_workload_namespace)) / "
    "1000), 'destination_workload_var', '.', 'destination_workload', "
    "'destination_workload_namespace')",
    "label_join(sum(rate(istio_tcp_received_bytes_total{reporter='source'}[1m])) by "
    "(destination_workload, destination_workload_namespace, destination_service), "
    "'destination_workload_var', '.', 'destination_workload', 'destination_workload_namespace')",
    # Service
    f"sum(irate(istio_requests_total{{reporter=~'destination',{SHOP_HOST},"
    "response_code!~'5.*'}[5m]))",
    f"(histogram_quantile(0.99, sum(irate(istio_request_duration_milliseconds_bucket{{"
    f"reporter=~'source',{SHOP_HOST}}}[1m])) by (le)) / 1000)",
    "round(sum(irate(istio_requests_total{connection_security_policy='mutual_tls',"
    f"{SHOP_HOST},reporter=~'destination'}}[5m])) by (source_workload, source_workload_namespace, "
    "response_code), 0.001)",
    # Workload
    "sum(irate(istio_requests_total{destination_principal=~'spiffe.*', "
    "source_workload_namespace=~'default', source_workload=~'load', reporter=~'source'}[5m])) by "
    "(destination_service, response_code)",
)


def prometheus(program: debian.Program, configuration: Path) -> tuple[str, ...]:
    return (
        "env",
        *(f"{key}={value}" for key, value in program.environment.items()),
        program.path,
        f"--config.file={configuration}",
        f"--storage.tsdb.path={configuration.with_name('data')}",
        "--web.listen-address=0.0.0.0:9090",
        "--log.level=warn",
    )


def test_a_real_prometheus_answers_what_dashboards_ask(running: Mesh, tmp_path: Path) -> None:
    """The queries are those of Istio's published dashboards (mesh, service, workload)."""
    program = debian.require("prometheus")
    configuration = tmp_path / "prometheus.yml"
    targets = ", ".join(f"'{address}:15020'" for address in addresses(running))
    configuration.write_text(PROMETHEUS % targets)
    running.apply(deployment("prometheus", *prometheus(program, configuration), port=9090))
    eventually(
        lambda: (
            running.exec(
                "deploy/prometheus", sys.executable, "-c", ASK, "up", check=False
            ).returncode
            == 0
        ),
        "Prometheus answers",
        60,
    )
    deadline = time.monotonic() + 60
    while True:
        done = running.exec("deploy/prometheus", sys.executable, "-c", ASK, *DASHBOARDS)
        found = [json.loads(line) for line in done.stdout.splitlines()]
        empty = [query for query, data in zip(DASHBOARDS, found, strict=True) if not data]
        if not empty:
            break
        assert time.monotonic() < deadline, empty
    is_exposed(running)


def is_exposed(mesh: Mesh) -> None:
    """https://istio.io/latest/docs/tasks/observability/gateways/#option-1-secure-access-https"""
    host = "prometheus.example.com"
    own = ScratchAuthority().credential(host)
    mesh.apply(
        service("prometheus", "prometheus", {"name": "http-prom", "port": 9090})
        + "---\n"
        + "\n---\n".join(
            (
                tls("telemetry-gw-cert", own),
                gateways.gateway(
                    gateways.server(
                        "https-prom", host, mode="SIMPLE", credentialName="telemetry-gw-cert"
                    )
                ),
                gateways.route("prometheus", host, "prometheus", 9090),
            )
        )
    )
    browser = Client(mesh.secure_address)
    path = "/api/v1/query?query=up"
    eventually(lambda: browser.get(host, path, roots=own.roots).status == 200, "it is served")
    assert '"status":"success"' in browser.get(host, path, roots=own.roots).body
    assert browser.get("grafana.example.com", path, roots=own.roots).status != 200


LOAD = """
import socket, time, urllib.request
while True:
    try:
        urllib.request.urlopen("http://shop/x").read()
        with socket.create_connection(("echo", 9000)) as connection:
            connection.sendall(b"abc\\n")
            connection.recv(9)
    except OSError:
        pass
    time.sleep(0.1)
"""

ASK = """
import json, sys, urllib.parse, urllib.request
for query in sys.argv[1:]:
    url = "http://127.0.0.1:9090/api/v1/query?" + urllib.parse.urlencode({"query": query})
    found = json.load(urllib.request.urlopen(url))["data"]["result"]
    print(json.dumps([one for one in found if one["value"][1] not in ("NaN", "0")]))
"""


CERTIFICATES = "/etc/prom-certs"
STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: secure}
spec: {mtls: {mode: STRICT}}
"""
SECURE_PROMETHEUS = """
global: {scrape_interval: 1s, scrape_timeout: 900ms}
scrape_configs:
- job_name: pods
  scheme: https
  tls_config: {ca_file: /etc/prom-certs/root-cert.pem, cert_file: /etc/prom-certs/cert-chain.pem,
    key_file: /etc/prom-certs/key.pem, insecure_skip_verify: true}
  static_configs: [{targets: ['%(at)s:8080']}]
- job_name: plaintext
  static_configs: [{targets: ['%(at)s:8080']}]
- job_name: nobody
  scheme: https
  tls_config: {insecure_skip_verify: true}
  static_configs: [{targets: ['%(at)s:8080']}]
- job_name: istiod
  scheme: https
  tls_config: {ca_file: /etc/prom-certs/control-plane.pem, cert_file: /etc/prom-certs/cert-chain.pem,
    key_file: /etc/prom-certs/key.pem, server_name: istiod.istio-system.svc}
  static_configs: [{targets: ['10.244.0.1:15014']}]
"""
OF_ISTIO = {
    "traffic.sidecar.istio.io/includeInboundPorts": "",
    "traffic.sidecar.istio.io/includeOutboundIPRanges": "",
    "proxy.istio.io/config": "proxyMetadata:\n  OUTPUT_CERTS: /etc/istio-output-certs\n",
    "sidecar.istio.io/userVolumeMount": '[{"name":"istio-certs","mountPath":"/etc/istio-output-certs"}]',
}


def with_certificates(text: str) -> str:
    """The deployment, with the volume that its proxy's agent writes the certificate to."""
    written = json.loads(text.partition("\n---")[0])
    spec = written["spec"]["template"]["spec"]
    spec["volumes"] = [{"name": "istio-certs", "emptyDir": {"medium": "Memory"}}]
    spec["containers"][0]["volumeMounts"] = [{"name": "istio-certs", "mountPath": CERTIFICATES}]
    return json.dumps(written)


def test_a_prometheus_with_certificates_of_its_proxy(running: Mesh, tmp_path: Path) -> None:
    """https://istio.io/latest/docs/ops/integrations/prometheus/#tls-settings"""
    running.apply(
        namespace("secure")
        + deployment(
            "vault", sys.executable, str(APPLICATION), "8080", port=8080, namespace="secure"
        )
        + service("vault", "vault", {"name": "http", "port": 8080}, namespace="secure")
        + STRICT
    )
    running.argosy("wait", "-n", "secure", "deploy/vault", "--for", "available")
    (vault,) = running.get("pods", "-n", "secure")
    configuration = tmp_path / "prometheus.yml"
    configuration.write_text(SECURE_PROMETHEUS % {"at": vault["status"]["podIP"]})
    argv = prometheus(debian.require("prometheus"), configuration)
    scraper = deployment("scraper", *argv, port=9090, annotations=OF_ISTIO)
    running.apply(with_certificates(scraper))
    wanted = (
        'shop_orders_total{job="pods"}',
        'pilot_xds{job="istiod"}',
        'up{job="plaintext"} == bool 0',
        'up{job="nobody"} == bool 0',
    )

    def found() -> bool:
        code = (sys.executable, "-c", ASK, *wanted)
        done = running.exec("deploy/scraper", *code, check=False)
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        return done.returncode == 0 and len(answers) == len(wanted) and all(answers)

    eventually(found, "both are scraped, and nothing without the certificate", 30)
    mode = running.exec("deploy/scraper", "stat", "-c", "%a", CERTIFICATES + "/key.pem")
    assert mode.stdout == "600\n"
