"""StatefulSets: pods with names, order and volumes of their own, called one by one and together.

https://kubernetes.io/docs/tutorials/stateful-application/basic-stateful-set/
"""

import json
import sys
from collections.abc import Iterator
from datetime import datetime

import pytest
from inside import Inside, inside
from manifests import deployment, server, service
from mesh import Json, Mesh, eventually
from rules import Rules

pytestmark = pytest.mark.e2e


def stateful_set(name: str, replicas: int, *argv: str, **spec: object) -> str:
    labels = {"app": name}
    container = {
        "name": name,
        "image": "any",
        "command": argv,
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
        "volumeMounts": [{"name": "data", "mountPath": "/var/lib/argosy-test"}],
    }
    document = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "serviceName": name,
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
            },
            "volumeClaimTemplates": [
                {
                    "metadata": {"name": "data"},
                    "spec": {
                        "accessModes": ["ReadWriteOnce"],
                        "resources": {"requests": {"storage": "1Gi"}},
                    },
                }
            ],
            **spec,
        },
    }
    return json.dumps(document) + "\n---\n"


ANY = server("any", "8080,9000")
WORKLOADS = (
    deployment("curl", image="curlimages/curl")
    + stateful_set("web", 3, *ANY)
    + service(
        "web", "web", {"name": "http", "port": 8080}, {"name": "tcp", "port": 9000}, headless=True
    )
    + service("web-all", "web", {"name": "http", "port": 80, "targetPort": 8080})
    + stateful_set("fast", 3, *ANY, podManagementPolicy="Parallel", ordinals={"start": 5})
    + service("fast", "fast", {"name": "http", "port": 8080}, headless=True)
)


@pytest.fixture(scope="module")
def stateful(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    file = tmp_path_factory.mktemp("yaml") / "workloads.yaml"
    file.write_text(WORKLOADS)
    mesh.up(file)
    return mesh


@pytest.fixture(scope="module")
def curl(stateful: Mesh) -> Iterator[Inside]:
    with inside(stateful, "deploy/curl") as clients:
        yield clients


@pytest.fixture
def rules(stateful: Mesh) -> Iterator[Rules]:
    with Rules(stateful) as rules:
        yield rules


def pods(mesh: Mesh, app: str) -> dict[str, Json]:
    found = mesh.get("pods", "-l", f"app={app}")
    return {pod["metadata"]["name"]: pod for pod in found}


def hostname(answer: Json) -> str:
    return str(answer["hostname"])


def ready_at(pod: Json) -> datetime:
    (condition,) = (c for c in pod["status"]["conditions"] if c["type"] == "Ready")
    return datetime.fromisoformat(condition["lastTransitionTime"])


def test_pods_have_ordinals_and_come_one_after_the_other(stateful: Mesh) -> None:
    web = pods(stateful, "web")
    assert sorted(web) == ["web-0", "web-1", "web-2"]
    for earlier, later in (("web-0", "web-1"), ("web-1", "web-2")):
        made = datetime.fromisoformat(web[later]["metadata"]["creationTimestamp"])
        assert made >= ready_at(web[earlier]), later
    labels = web["web-1"]["metadata"]["labels"]
    assert labels["statefulset.kubernetes.io/pod-name"] == "web-1"
    assert labels["apps.kubernetes.io/pod-index"] == "1"
    assert sorted(pods(stateful, "fast")) == ["fast-5", "fast-6", "fast-7"]
    (written,) = stateful.get("statefulset", "web")
    assert written["status"]["readyReplicas"] == 3


def test_each_pod_has_a_name_of_its_own(stateful: Mesh, curl: Inside) -> None:
    addresses = {name: pod["status"]["podIP"] for name, pod in pods(stateful, "web").items()}
    for name in ("web-0.web", "web-0.web.default", "web-0.web.default.svc.cluster.local"):
        assert curl.call("addresses", name=name) == [addresses["web-0"]], name
    assert curl.call("addresses", name="web") == sorted(addresses.values())
    assert curl.call("lookup", name="web-9.web.default.svc.cluster.local")["rcode"] == "NXDOMAIN"
    own = stateful.exec("web-1", sys.executable, "-c", "import socket;print(socket.getfqdn())")
    assert own.stdout.strip() == "web-1.web.default.svc.cluster.local"


def test_a_pod_is_called_by_its_name(curl: Inside) -> None:
    """HTTP and bytes, by mutual TLS: to this pod and no other."""
    for ordinal in range(3):
        name = f"web-{ordinal}.web"
        answers = curl.requests(f"http://{name}:8080/", count=4, fresh=True)
        assert {hostname(answer.json) for answer in answers} == {f"web-{ordinal}"}
        assert "URI=spiffe://" in answers[0].json["headers"]["x-forwarded-client-cert"]
        request = f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n"
        connection = curl.call("connect", host=name, port=9000)
        curl.call("send", connection=connection, text=request)
        assert f'"hostname": "web-{ordinal}"' in curl.call(
            "receive", connection=connection, count=2000, timeout=1
        )
        curl.call("close", connection=connection)


def test_together_they_are_one_service(curl: Inside, rules: Rules) -> None:
    answers = curl.requests("http://web-all/", count=30)
    assert {hostname(answer.json) for answer in answers} == {"web-0", "web-1", "web-2"}
    one = {"name": "first", "labels": {"statefulset.kubernetes.io/pod-name": "web-0"}}
    rules.destination("web-all", None, one)
    rules.route("web-all", route=[{"destination": {"host": "web-all", "subset": "first"}}])
    answers = curl.requests("http://web-all/", count=10)
    assert {hostname(answer.json) for answer in answers} == {"web-0"}


def test_a_pod_that_is_deleted_comes_back_with_its_name_and_volume(
    stateful: Mesh, curl: Inside
) -> None:
    stateful.exec("web-1", "sh", "-c", "echo kept > /var/lib/argosy-test/file")
    before = pods(stateful, "web")["web-1"]["metadata"]["uid"]
    stateful.argosy("delete", "pod", "web-1")

    def is_back() -> bool:
        pod = pods(stateful, "web").get("web-1")
        return pod is not None and pod["metadata"]["uid"] != before and _is_ready(pod)

    eventually(is_back, "web-1 is made anew", seconds=30)
    assert stateful.exec("web-1", "cat", "/var/lib/argosy-test/file").stdout == "kept\n"
    assert stateful.exec("web-0", "ls", "/var/lib/argosy-test").stdout == ""
    eventually(
        lambda: curl.requests("http://web-1.web:8080/")[0].status == 200, "it answers by its name"
    )


def test_it_shrinks_from_its_end(stateful: Mesh) -> None:
    smaller = stateful_set("web", 1, *ANY)
    seen: set[tuple[str, ...]] = set()
    stateful.argosy("apply", "-f", "-", stdin=smaller)

    def is_alone() -> bool:
        names = tuple(sorted(pods(stateful, "web")))
        seen.add(names)
        return names == ("web-0",)

    eventually(is_alone, "one pod is left", seconds=30)
    assert seen <= {("web-0", "web-1", "web-2"), ("web-0", "web-1"), ("web-0",)}, seen


def _is_ready(pod: Json) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
