"""What the control plane counts, with real Envoys: pushes, refusals, certificates; who may read it."""

import itertools
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from manifests import deployment, server, service, virtual_service
from mesh import Mesh, client_of, directory, eventually
from patches import ROUTER, envoy_filter, lua, of_manager, patch
from prometheus_client.parser import text_string_to_metric_families
from rules import Rules

pytestmark = pytest.mark.e2e

OURS = "/apis/argosy.dev/v1alpha1"
OUTBOUND_CONFLICTS = "pilot_conflict_outbound_listener_tcp_over_current_tcp"
GRPC_AGENT = {"inject.istio.io/templates": "grpc-agent"}
SCRAPE = """
import http.client, os, ssl, sys
from pathlib import Path
certs = Path(os.environ["GRPC_XDS_BOOTSTRAP"]).parent / "certs" if len(sys.argv) < 2 else None
context = ssl.create_default_context(cafile=certs / "root-cert.pem") if certs else ssl._create_unverified_context()
if certs:
    context.load_cert_chain(certs / "cert-chain.pem", certs / "key.pem")
elif sys.argv[1] != "-":
    context.load_cert_chain(sys.argv[1])
connection = http.client.HTTPSConnection("10.244.0.1", 15014, context=context, timeout=10)
try:
    connection.request("GET", "/metrics")
    answer = connection.getresponse()
    print(answer.status, answer.getheader("content-type"))
    print(answer.read().decode())
except (OSError, http.client.HTTPException) as error:
    print("refused", type(error).__name__)
"""


class Numbers:
    """One scrape."""

    def __init__(self, text: str) -> None:
        self.types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
        self.values: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                # The library thinks that every counter is called so.
                bare = sample.name.removesuffix("_total")
                name = bare if self.types.get(bare) == "counter" else sample.name
                labels = tuple(sorted(sample.labels.items()))
                self.values.setdefault(name, {})[labels] = sample.value

    def of(self, name: str, **labels: str) -> float:
        """The sum of the samples with these labels; an AssertionError for an unknown name."""
        assert name in self.values, sorted(self.values)
        wanted = set(labels.items())
        return sum(v for found, v in self.values[name].items() if wanted <= set(found))


class World(NamedTuple):
    """``api`` is a client with the owner's token."""

    mesh: Mesh
    rules: Rules
    api: httpx.Client

    def numbers(self) -> Numbers:
        answer = self.api.get("/metrics")
        assert answer.status_code == 200, answer.text
        return Numbers(answer.text)


@pytest.fixture(scope="module")
def world(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    file = tmp_path_factory.mktemp("manifests") / "all.yaml"
    file.write_text(
        deployment("echo", *server("any", 9080), port=9080)
        + service("echo", "echo", {"name": "http", "port": 9080})
        + deployment("client", image="curlimages/curl")
        + deployment("prometheus", image="curlimages/curl", annotations=GRPC_AGENT)
    )
    mesh.up(file, options=("--log-format", "json"))
    with Rules(mesh) as rules, client_of(mesh) as api:
        yield World(mesh, rules, api)


def test_pushes_and_convergence(world: World) -> None:
    before = world.numbers()
    assert before.of("pilot_xds", version="1.31.0") == 3, "echo, client and the ingress gateway"
    assert before.of("pilot_virt_services") == 0
    assert before.of("istio_build", component="pilot") == 1
    for kind in ("cds", "eds", "lds", "rds"):
        assert before.of("pilot_xds_pushes", type=kind) >= 1, kind
    rules = virtual_service("echo", "- route: [{destination: {host: echo}}]\n  timeout: 7s")
    world.rules.apply("echo", rules)
    after = world.numbers()

    def grown(name: str, **labels: str) -> float:
        return after.of(name, **labels) - before.of(name, **labels)

    assert after.of("pilot_virt_services") == 1
    assert grown("pilot_proxy_convergence_time_count") == 2, (
        "both sidecars; no route of the gateway"
    )
    assert 0 < grown("pilot_proxy_convergence_time_sum") < 20
    assert grown("argosy_xds_convergence_seconds_count") == 1
    assert grown("pilot_xds_pushes", type="rds") == 2
    assert grown("pilot_push_triggers", type="config") == 1
    assert after.of("pilot_k8s_cfg_events", type="VirtualService", event="add") == 1
    assert grown("pilot_xds_config_size_bytes_count", type="rds") == 2
    assert after.types["pilot_xds_pushes"] == "counter", "with Istio's name, without _total"
    assert after.types["pilot_proxy_convergence_time"] == "histogram"
    assert after.of("process_resident_memory_bytes") > 1e7
    world.rules.delete("echo")
    gone = world.numbers()
    assert gone.of("pilot_virt_services") == 0
    assert gone.of("pilot_k8s_cfg_events", type="VirtualService", event="delete") == 1


def test_a_change_is_a_trace_from_the_command_to_the_last_proxy(
    world: World, tmp_path: Path
) -> None:
    """``argosy apply`` in a pipeline with a trace of its own, and what each part took of it."""
    file = tmp_path / "traced.yaml"
    file.write_text(
        virtual_service("traced", "- route: [{destination: {host: echo}}]\n  timeout: 9s")
    )
    caller = "5b8efff798038103d269b633813fc60c"
    world.mesh.argosy(
        *("apply", "--wait", "-f", str(file)),
        env={"TRACEPARENT": f"00-{caller}-eee19b7ec3c1b174-01"},
    )

    def listed(*options: str) -> list[str]:
        return world.mesh.argosy("trace", "-o", "name", *options).stdout.split()

    eventually(lambda: caller in listed("--control-plane", "--last", "1000"), "it is told", 30)
    assert caller not in listed("--last", "1000"), "no application had a part in it"
    shown = json.loads(world.mesh.argosy("trace", caller, "-o", "json").stdout)
    tree = {one["name"]: one for one in shown["tree"]}
    parents = {one["spanId"]: one["name"] for one in shown["tree"]}
    above = {name: parents.get(one["parentId"], "") for name, one in tree.items()}
    wanted = {
        "apply": "",
        "change": "apply",
        "derive": "change",
        "translate RDS": "derive",
        "push RDS": "change",
    }
    assert above.items() >= wanted.items()
    assert len(shown["tree"]) <= 12, "however many proxies there are"
    assert {one["reporter"] for one in shown["tree"]} == {"control plane"}
    assert not any(one["error"] for one in shown["tree"])
    assert tree["apply"]["status"] == "200"
    facts, pushed = tree["change"]["attributes"], tree["push RDS"]["attributes"]
    assert facts["argosy.about"] == "VirtualService default/traced → 2 proxies"
    assert (facts["argosy.proxies"], facts["argosy.acknowledged"]) == ("2", "2")
    assert re.fullmatch(r"(echo|client)-.*\.default", facts["argosy.slowest_proxy"])
    assert 0 < float(pushed["argosy.slowest_ms"]) <= float(facts["argosy.slowest_ms"])
    assert int(pushed["argosy.bytes"]) > 100
    assert tree["push RDS"]["durationMicros"] <= tree["change"]["durationMicros"]
    assert float(tree["translate RDS"]["attributes"]["argosy.busy_ms"]) > 0
    text = world.mesh.argosy("trace", caller).stdout
    assert "change VirtualService default/traced" in text
    assert re.search(r"Proxies +2 of 2 took it, \S+ last, after [\d.]+ ms", text)
    world.mesh.argosy("delete", "--wait", "-f", str(file))


def test_a_refusal_is_counted(world: World) -> None:
    match = of_manager("SIDECAR_OUTBOUND", ROUTER)

    def bad(text: str) -> str:
        inserted = patch("HTTP_FILTER", match, "INSERT_BEFORE", lua("x", f"funct ({text}"))
        return envoy_filter("broken", inserted)

    broken = bad("")
    assert "pilot_total_xds_rejects" not in world.numbers().values
    files = [{"path": "broken.yaml", "text": broken}]
    assert world.api.post(f"{OURS}/apply", json={"files": files}).status_code == 200
    refused = {"pilot_total_xds_rejects"}
    eventually(lambda: refused <= world.numbers().values.keys(), "an Envoy says no")
    found = world.numbers()
    assert found.of("pilot_total_xds_rejects", type="lds") >= 1
    assert found.of("pilot_xds_cds_reject") == 0
    most = 0.0
    over = threading.Event()

    def look() -> None:
        """Argosy takes out of force what is refused, within some milliseconds."""
        nonlocal most
        while not over.is_set():
            most = max(most, world.numbers().of("pilot_xds_lds_reject"))

    with ThreadPoolExecutor() as pool:
        looking = [pool.submit(look) for _ in range(2)]
        try:
            for number in itertools.count():
                again = [{"path": "broken.yaml", "text": bad(str(number))}]
                assert world.api.post(f"{OURS}/apply", json={"files": again}).is_success
                time.sleep(0.05)
                if most or number == 200:
                    break
        finally:
            over.set()
        for one in looking:
            one.result()
    assert most >= 1, "proxies that refuse something now"
    gone = {"files": files, "delete": True}
    assert world.api.post(f"{OURS}/apply", json=gone).status_code == 200
    eventually(lambda: world.numbers().of("pilot_xds_lds_reject") == 0, "nobody refuses any more")


def test_listeners_that_lose_to_others(world: World) -> None:
    """The names that Istio's dashboard has, with what is so at the moment of the scrape."""
    before = world.numbers()
    for name in (OUTBOUND_CONFLICTS, "pilot_conflict_inbound_listener"):
        assert before.of(name) == 0
    assert before.of("pilot_no_ip") == 1, "no service selects the client"
    for kind in ("cds", "eds", "lds", "rds"):
        sent = before.of("pilot_xds_pushes", type=kind)
        assert before.of("pilot_xds_push_time_count", type=kind) == sent
        assert 0 < before.of("pilot_xds_push_time_sum", type=kind) < 20
    rivals = "".join(
        f"""
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec:
  hosts: [{name}.example.com]
  addresses: [198.51.100.7]
  ports: [{{number: 7777, name: tcp, protocol: TCP}}]
  resolution: STATIC
  endpoints: [{{address: 10.0.0.1}}]
"""
        for name in ("one", "two", "three")
    )
    again = service("again", "echo", {"name": "tcp", "port": 9999, "targetPort": 9080})
    of_client = service("client", "client", {"name": "http", "port": 80})
    text = again + of_client + rivals
    world.rules.apply("rivals", text, quietly=False)
    found = world.numbers()
    assert found.of(OUTBOUND_CONFLICTS) == 2, "two of three have no listener"
    assert found.of("pilot_conflict_inbound_listener") == 1
    assert found.of("pilot_no_ip") == 0
    world.rules.delete("rivals")
    after = world.numbers()
    assert after.of(OUTBOUND_CONFLICTS) == after.of("pilot_conflict_inbound_listener") == 0


def test_certificates(world: World) -> None:
    pods, issued = 4, 5  # Mixer has one of its own

    def number() -> float:
        return world.numbers().of("citadel_server_success_cert_issuance_count")

    eventually(lambda: number() == issued, "one for each workload and for Mixer")
    before = world.numbers()
    assert before.of("citadel_server_csr_count") == issued
    years = before.of("citadel_server_root_cert_expiry_seconds") / 86400 / 365
    assert 9.9 < years < 10.1
    assert 1.9 < before.of("citadel_server_cert_chain_expiry_seconds") / 86400 / 365 < 2.1

    def ends() -> dict[tuple[tuple[str, str], ...], float]:
        return world.numbers().values["argosy_workload_certificate_expiry_timestamp_seconds"]

    eventually(lambda: len(ends()) == pods, "one for each workload")
    assert any(
        ("identity", "spiffe://cluster.local/ns/default/sa/default") in key for key in ends()
    )
    late = deployment("late", image="curlimages/curl")
    world.rules.apply("late", late)
    eventually(lambda: len(ends()) == pods + 1, "and of the new one", 30)
    after = world.numbers()
    assert after.of("citadel_server_success_cert_issuance_count") == issued + 1
    assert after.of("citadel_server_csr_count") == issued + 1
    world.rules.delete("late")
    eventually(lambda: len(ends()) == pods, "of nobody who is gone")


def test_a_scrape_with_a_certificate_of_the_mesh(world: World, tmp_path: Path) -> None:
    def scrape(where: str, *args: str) -> tuple[str, str]:
        done = world.mesh.exec(where, sys.executable, "-c", SCRAPE, *args)
        first, _, rest = done.stdout.partition("\n")
        return first, rest

    head, text = scrape("deploy/prometheus")
    assert head.startswith("200 text/plain")
    assert Numbers(text).of("pilot_xds", version="1.31.0") == 3
    head, _ = scrape("deploy/client", "-")
    assert head.startswith("refused"), "without a certificate nothing is told"
    stranger = tmp_path / "stranger.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-subj", "/CN=x", "-addext", "subjectAltName=URI:spiffe://cluster.local/ns/a/sa/b"),
            *("-keyout", str(stranger), "-out", str(tmp_path / "own.pem")),
        ],
        check=True,
        capture_output=True,
    )
    with stranger.open("a") as file:
        file.write((tmp_path / "own.pem").read_text())
    head, _ = scrape("deploy/client", str(stranger))
    assert head.startswith("refused"), "nor to somebody who signs himself"


def test_the_api_gives_them_to_those_who_may_look_at_all(world: World) -> None:
    def made(name: str, **more: str) -> str:
        body = {"name": name, "role": "view", **more}
        token: str = world.api.post(f"{OURS}/tokens", json=body).json()["token"]
        return token

    def ask(token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        return world.api.get("/metrics", headers=headers).status_code

    assert ask(made("all")) == 200
    assert ask(made("one", namespace="default")) == 403
    assert ask("nonsense") == 401
    shown = world.mesh.argosy("admin", "metrics").stdout
    assert Numbers(shown).types.keys() == world.numbers().types.keys()


def test_logs_are_json_and_their_level_changes_while_it_runs(world: World) -> None:
    log = directory(world.mesh) / "control-plane.log"

    def events() -> list[str]:
        lines = log.read_text().splitlines()
        return [json.loads(line)["event"] for line in lines if line.startswith("{")]

    def change(number: int) -> None:
        route = f"- route: [{{destination: {{host: echo}}}}]\n  timeout: {number}s"
        world.rules.apply("logged", virtual_service("logged", route))

    assert all(line.startswith("{") for line in log.read_text().splitlines())
    change(1)
    assert "xds.published" not in events()
    shown = world.mesh.argosy("admin", "log", "--level", "xds:debug,default:warning").stdout
    assert shown == "default: warning\nxds: debug\n"
    quiet = events().count("certificate.issued")
    change(2)
    assert "xds.published" in events()
    assert events().count("certificate.issued") == quiet
    answer = world.api.put(f"{OURS}/logging", json={"levels": {"default": "info"}})
    assert answer.json() == {"levels": {"default": "info"}}
    before = events().count("xds.published")
    change(3)
    assert events().count("xds.published") == before
    wrong = world.mesh.argosy("admin", "log", "--level", "loud", check=False)
    assert wrong.returncode == 2
    assert re.search("loud.*debug, info, warning", wrong.stderr)
