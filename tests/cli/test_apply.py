"""``argosy apply`` and ``argosy delete``: each object's fate, every problem, what every proxy said."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from argosy.server.http.services import Cause, Distribution, ProxyStatus, Rejection

Argosy = Callable[..., Any]

RULE = """apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - name: teapot
    directResponse: {status: 418}
"""
BROKEN = RULE.replace("directResponse", "directAnswer")
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: good}\n"


@pytest.fixture(autouse=True)
def reviews(mesh: Any) -> None:
    mesh.put(
        "apiVersion: v1\nkind: Service\nmetadata: {name: reviews}\nspec: {ports: [{port: 80}]}\n"
    )


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / "a.yaml"
        path.write_text(text)
        return str(path)

    return write


def test_created_then_unchanged_then_configured(
    mesh: Any, argosy: Argosy, file: Callable[[str], str]
) -> None:
    path = file(RULE)
    for said in ("created", "unchanged"):
        answer = argosy("apply", "-f", path)
        assert (answer.code, answer.out, answer.err) == (0, f"virtualservice/reviews {said}\n", "")
    answer = argosy("apply", "-f", file(RULE.replace("418", "404")))
    assert answer.out == "virtualservice/reviews configured\n"


def test_standard_input_and_namespace(mesh: Any, argosy: Argosy) -> None:
    assert argosy("apply", "-f", "-", "-n", "istio-system", stdin=MAP).code == 0
    assert argosy("get", "cm", "good", "-n", "istio-system").code == 0
    assert argosy("get", "cm", "good").code == 3


def test_a_dry_run_changes_nothing(mesh: Any, argosy: Argosy, file: Callable[[str], str]) -> None:
    answer = argosy("apply", "--dry-run", "--wait", "-f", file(RULE))
    assert (answer.code, answer.out) == (0, "virtualservice/reviews created (dry run)\n")
    assert argosy("get", "vs", "reviews").code == 3
    argosy("apply", "-f", file(RULE))
    answer = argosy("delete", "--dry-run", "-f", file(RULE))
    assert answer.out == "virtualservice/reviews deleted (dry run)\n"
    assert argosy("delete", "--dry-run", "vs/reviews").out == answer.out
    assert argosy("get", "vs", "reviews").code == 0


def test_an_invalid_object_is_told_with_its_line_and_the_others_are_applied(
    mesh: Any, argosy: Argosy, file: Callable[[str], str]
) -> None:
    path = file(f"{BROKEN}---\n{MAP}")
    answer = argosy("apply", "-f", path)
    assert answer.code == 1
    assert answer.out == "configmap/good created\nvirtualservice/reviews invalid, not created\n"
    assert (
        f"Error: {path}:8: VirtualService default/reviews: spec.http[0].directAnswer: "
        in answer.err
    )
    assert 'Did you mean "directResponse"?' in answer.err


def test_the_last_good_version_stands(
    mesh: Any, argosy: Argosy, file: Callable[[str], str]
) -> None:
    argosy("apply", "-f", file(RULE))
    answer = argosy("apply", "-f", file(BROKEN))
    assert answer.out == "virtualservice/reviews invalid, the last good version stays in force\n"
    described = argosy("describe", "vs", "reviews").out
    assert (
        "Accepted:     False the last change was refused, generation 1 stays in force" in described
    )
    assert "a.yaml:8: spec.http[0].directAnswer" in described


def test_an_unknown_kind_is_not_looked_up(
    mesh: Any, argosy: Argosy, file: Callable[[str], str]
) -> None:
    answer = argosy("apply", "-f", file(MAP.replace("ConfigMap", "Teapot")))
    assert (answer.code, answer.out) == (1, "teapot/good invalid, not created\n")


def test_unreadable_files_do_not_hide_readable_ones(
    mesh: Any, argosy: Argosy, file: Callable[[str], str], tmp_path: Path
) -> None:
    missing = str(tmp_path / "missing.yaml")
    answer = argosy("apply", "-f", missing, "-f", file(MAP))
    assert (answer.code, answer.out) == (1, "configmap/good created\n")
    assert answer.err == f"Error: {missing}: does not exist\n"


def test_every_proxy_acknowledged(mesh: Any, argosy: Argosy, file: Callable[[str], str]) -> None:
    mesh.neighbours.distributed = Distribution(27, 27, (), (), 41.0)
    answer = argosy("apply", "--wait", "-f", file(RULE))
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.endswith("27 of 27 proxies acknowledged in 41.0 ms\n")


def test_no_proxy_is_affected_or_none_is_there(
    mesh: Any, argosy: Argosy, file: Callable[[str], str]
) -> None:
    answer = argosy("apply", "--wait", "-f", file(RULE))
    assert answer.out.endswith("no proxy is connected: each gets it when it connects\n")
    mesh.neighbours.connected = [ProxyStatus("web", "default", "sidecar", "", True, {})]
    answer = argosy("apply", "--wait", "-f", file(RULE))
    assert answer.out.endswith("no proxy is affected\n")


def test_a_proxy_refuses_and_another_is_late(
    mesh: Any, argosy: Argosy, file: Callable[[str], str]
) -> None:
    cause = Cause("VirtualService default/reviews", "a.yaml", 8)
    rejection = Rejection("web-1.default", "RDS", "bad [route]", (cause,))
    mesh.neighbours.distributed = Distribution(3, 1, (rejection,), ("web-2.default",), 5.0)
    answer = argosy("apply", "--wait", "--timeout", "2", "-f", file(RULE))
    assert answer.code == 1
    assert answer.out.endswith("1 of 3 proxies acknowledged in 5.0 ms\n")
    assert answer.err == (
        "rejected: web-1.default (RDS): bad [route]\n"
        "       caused by VirtualService default/reviews at a.yaml:8\n"
        "pending: web-2.default has not answered within 2 s\n"
    )


def test_a_late_proxy_alone_is_time_that_is_up(
    mesh: Any, argosy: Argosy, file: Callable[[str], str]
) -> None:
    mesh.neighbours.distributed = Distribution(3, 2, (), ("web-2.default",), 5.0)
    for command in ("apply", "delete"):
        answer = argosy(command, "--wait", "--timeout", "2", "-f", file(RULE))
        assert answer.code == 4, answer
        assert answer.err == "pending: web-2.default has not answered within 2 s\n"
    answer = argosy(
        "apply", "--wait", "-f", file(RULE), "-f", "-", stdin=MAP.replace("good", "BAD")
    )
    assert answer.code == 1, "what is wrong counts more than what is late"


@pytest.mark.parametrize("nothing", ["", "# nothing but words\n", "---\n"])
def test_input_without_objects_is_an_error(mesh: Any, argosy: Argosy, nothing: str) -> None:
    answer = argosy("apply", "-f", "-", stdin=nothing)
    assert (answer.code, answer.out) == (1, "")
    assert "Error: there is no object in the input\n" in answer.err


STARTING = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80}], selector: {app: web}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web, subsets: [{name: v1, labels: {version: v1}}]}
"""
DEPLOYMENT = """
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web, version: v1}}
    spec: {containers: [{name: web, image: any}]}
"""


def test_a_warning_is_told_at_once_when_nothing_starts(
    mesh: Any, argosy: Argosy, file: Callable[[str], str]
) -> None:
    answer = argosy("apply", "-f", file(STARTING))
    assert answer.code == 0
    assert "Warning: " in answer.err
    assert "no workload of web.default.svc.cluster.local has the labels version=v1" in answer.err


def test_a_warning_that_a_starting_workload_makes_untrue_is_told_when_it_stays(
    mesh: Any, argosy: Argosy, file: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("argosy.cli.apply._PASSING_SECONDS", 0.2)
    answer = argosy("apply", "-f", file(STARTING + DEPLOYMENT))
    assert answer.code == 0
    assert answer.err.count("no workload of web.default.svc.cluster.local") == 1


def test_delete_by_file_passes_over_what_is_not_there(
    mesh: Any, argosy: Argosy, file: Callable[[str], str]
) -> None:
    argosy("apply", "-f", file(MAP))
    path = file(f"{MAP}---\n{RULE}")
    answer = argosy("delete", "-f", path)
    assert (answer.code, answer.out) == (0, "configmap/good deleted\n")
    assert answer.err == "virtualservice/reviews is not there, nothing to delete\n"
    again = argosy("delete", "-f", path)
    assert (again.code, again.out) == (0, "")


def test_delete_by_name(mesh: Any, argosy: Argosy, file: Callable[[str], str]) -> None:
    argosy("apply", "-f", file(f"{MAP}---\n{RULE}"))
    answer = argosy("delete", "vs/reviews", "cm/good", "cm/none")
    assert answer.code == 3
    assert answer.out == "virtualservice/reviews deleted\nconfigmap/good deleted\n"
    assert answer.err == "Error: ConfigMap default/none does not exist\n"
    assert argosy("delete", "cm", "none", "--ignore-not-found").code == 0


def test_delete_by_labels_and_all(mesh: Any, argosy: Argosy) -> None:
    for name, labels in (("a", "{x: y}"), ("b", "{}"), ("c", "{}")):
        text = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {labels}}}\n"
        argosy("apply", "-f", "-", stdin=text)
    assert argosy("delete", "cm", "-l", "x=y").out == "configmap/a deleted\n"
    assert argosy("delete", "cm", "--all").out == "configmap/b deleted\nconfigmap/c deleted\n"
    nothing = argosy("delete", "cm", "--all")
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "There is nothing to delete.\n")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "say what to delete"),
        (("vs",), "say which one to delete"),
        (("vs", "a", "-f", "b"), "either -f FILE or KIND NAME"),
    ],
)
def test_a_wrong_deletion(mesh: Any, argosy: Argosy, args: tuple[str, ...], said: str) -> None:
    answer = argosy("delete", *args)
    assert (answer.code, said in answer.err) == (2, True)


def test_a_bare_off_is_told_how_to_write_it(
    mesh: Any, argosy: Argosy, file: Callable[[str], str]
) -> None:
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n"
    answer = argosy("apply", "-f", file(f"{config}data:\n  mesh: 'ingressControllerMode: OFF'\n"))
    assert answer.code == 1
    assert 'YAML reads a bare OFF as false: write "OFF"' in answer.err
