"""``argosy analyze``: files, standard input and the mesh; thresholds, suppressions, exit codes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Argosy = Callable[..., Any]

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec:
  ports: [{name: http, port: 9080}]
  selector: {app: reviews}
"""
RULE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
spec:
  hosts: [reviews]
  http:
  - route:
    - destination:
        host: reviewz
"""
WARNING = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: old}
spec: {host: gone}
"""
INFO = SERVICE.replace("name: http", "name: web")
OFFLINE = ("analyze", "--no-use-mesh")


def test_an_error_is_told_with_its_place_and_the_exit_code_is_istioctl_s(
    argosy: Argosy, tmp_path: Path
) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(f"{SERVICE}---\n{RULE}")
    answer = argosy(*OFFLINE, str(file))
    assert answer.code == 79
    first, hint = answer.out.splitlines()
    assert first == (
        f"Error [IST0101] (VirtualService default/reviews {file}:17) "
        "spec.http[0].route[0].destination.host: there is no service "
        "reviewz.default.svc.cluster.local; requests sent there get a 503"
    )
    assert hint.startswith("       ")
    assert answer.err.startswith(f"Error: Analyzers found issues when analyzing {file}.\n")


def test_nothing_wrong(argosy: Argosy) -> None:
    answer = argosy(*OFFLINE, "-", stdin=SERVICE)
    assert (answer.code, answer.out) == (0, "")
    assert answer.err == "✔ No validation issues found when analyzing -.\n"


def test_thresholds(argosy: Argosy) -> None:
    both = f"{INFO}---\n{WARNING}"
    answer = argosy(*OFFLINE, "-", stdin=both)
    assert answer.code == 0, "warnings alone are no failure"
    assert [line.split()[1] for line in answer.out.splitlines() if line[0] != " "] == [
        "[IST0174]",
        "[IST0118]",
    ]
    shown = argosy(*OFFLINE, "-", "--output-threshold", "Warning", stdin=both)
    assert ("IST0174" in shown.out, "IST0118" in shown.out) == (True, False)
    for threshold, code in (("error", 0), ("Warning", 79), ("Info", 79)):
        answer = argosy(*OFFLINE, "-", "--failure-threshold", threshold, stdin=both)
        assert answer.code == code
    hidden = argosy(
        *(*OFFLINE, "-", "--output-threshold", "Error", "--failure-threshold", "Info"), stdin=INFO
    )
    assert (hidden.code, hidden.out) == (79, ""), "what is hidden counts too"


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_structures(argosy: Argosy, form: str, read: Callable[[str], Any]) -> None:
    answer = argosy(*OFFLINE, "-", "-o", form, stdin=f"{SERVICE}---\n{RULE}")
    (message,) = read(answer.out)
    assert answer.code == 79, "the exit code does not depend on the form"
    assert message["code"] == "IST0101"
    assert message["level"] == "Error"
    assert message["origin"] == "VirtualService default/reviews"
    assert message["reference"] == "-:17"
    assert message["field"] == "spec.http[0].route[0].destination.host"
    assert message["documentationUrl"].endswith("/analysis/ist0101/")
    assert read(argosy(*OFFLINE, "-", "-o", form, stdin=SERVICE).out) == []


def test_suppressions(argosy: Argosy) -> None:
    wrong = f"{SERVICE}---\n{RULE}"
    for text in (
        "IST0101=VirtualService reviews.default",
        "IST0101=VirtualService default/reviews",
        "ReferencedResourceNotFound=Virtual* *.default",
        "*=VirtualService reviews.*",
    ):
        assert argosy(*OFFLINE, "-", "-S", text, stdin=wrong).code == 0, text
    for text in ("IST0101=VirtualService reviews.other", "IST0102=VirtualService reviews.default"):
        assert argosy(*OFFLINE, "-", "-S", text, stdin=wrong).code == 79, text
    unknown = argosy(*OFFLINE, "-", "-S", "IST9999=Pod a.b", stdin=SERVICE)
    assert "IST9999 is not a known code" in unknown.err
    assert argosy(*OFFLINE, "-", "-S", "IST0101", stdin=wrong).code == 2


@pytest.mark.parametrize("codes", ["IST0101", "IST0102, ReferencedResourceNotFound", "*"])
def test_an_annotation_suppresses(argosy: Argosy, codes: str) -> None:
    annotated = RULE.replace(
        "  name: reviews\n",
        f'  name: reviews\n  annotations: {{galley.istio.io/analyze-suppress: "{codes}"}}\n',
        1,
    )
    assert argosy(*OFFLINE, "-", stdin=f"{SERVICE}---\n{annotated}").code == 0
    other = annotated.replace(codes, "IST0102")
    assert argosy(*OFFLINE, "-", stdin=f"{SERVICE}---\n{other}").code == 79


def test_directories(argosy: Argosy, tmp_path: Path) -> None:
    (tmp_path / "service.yaml").write_text(SERVICE)
    (tmp_path / "notes.txt").write_text("not: yaml: at all")
    deeper = tmp_path / "rules"
    deeper.mkdir()
    (deeper / "rule.yaml").write_text(RULE)
    assert argosy(*OFFLINE, str(tmp_path)).code == 0, "subdirectories only with -R"
    assert argosy(*OFFLINE, "-R", str(tmp_path)).code == 79
    empty = tmp_path / "empty"
    empty.mkdir()
    answer = argosy(*OFFLINE, str(empty))
    assert (answer.code, "holds no .yaml" in answer.err) == (0, True)


def test_what_cannot_be_read_or_understood(argosy: Argosy, tmp_path: Path) -> None:
    missing = argosy(*OFFLINE, str(tmp_path / "none.yaml"))
    assert (missing.code, missing.out) == (1, "")
    assert missing.err == f"Error: {tmp_path / 'none.yaml'}: does not exist\n"
    bad = argosy(*OFFLINE, "-", stdin="a: [")
    assert (bad.code, bad.out.split("]")[0]) == (79, "Error [InvalidYaml")
    unknown = SERVICE.replace("Service", "Teapot")
    answer = argosy(*OFFLINE, "-", stdin=unknown)
    assert (answer.code, "Error [IST0106] (Teapot default/reviews -:2)" in answer.out) == (79, True)
    assert argosy(*OFFLINE, "-", "--ignore-unknown", stdin=unknown).code == 0
    assert argosy("analyze", "--no-use-mesh").code == 2


def test_an_object_that_is_not_right_by_itself_changes_nothing(argosy: Argosy) -> None:
    bad = SERVICE.replace("9080", "70000")
    answer = argosy(*OFFLINE, "-", stdin=f"{bad}---\n{RULE}")
    codes = [line.split()[1] for line in answer.out.splitlines() if line[0] != " "]
    assert codes == ["[IST0101]", "[IST0106]", "[UnknownHost]"]


def test_the_mesh_and_files_over_it(mesh: Any, argosy: Argosy, tmp_path: Path) -> None:
    file = tmp_path / "rule.yaml"
    file.write_text(RULE)
    assert argosy("apply", "-f", "-", stdin=SERVICE).code == 0
    answer = argosy("analyze", "--output-threshold", "Error")
    assert (answer.code, answer.out) == (0, "")
    over = argosy("analyze", str(file), "-o", "json")
    assert over.code == 79
    assert [m["reference"] for m in json.loads(over.out) if m["level"] == "Error"] == [f"{file}:10"]
    assert argosy("get", "vs", "reviews").code == 3, "nothing was applied"
    assert argosy("apply", "-f", str(file)).code == 1
    live = argosy("analyze", "-o", "json")
    assert live.code == 79
    assert [m["reference"] for m in json.loads(live.out) if m["level"] == "Error"] == [f"{file}:10"]
    mended = argosy("analyze", "-", stdin=RULE.replace("reviewz", "reviews"))
    assert mended.code == 0, "the file counts, not what is there"


def test_namespaces(mesh: Any, argosy: Argosy) -> None:
    elsewhere = f"{SERVICE}---\n{RULE}".replace("name: reviews", "name: reviews, namespace: other")
    elsewhere = elsewhere.replace("  name: reviews, namespace", "  name: reviews\n  namespace")
    assert argosy("apply", "-f", "-", stdin=elsewhere).code == 1
    assert argosy("analyze").code == 0
    assert argosy("analyze", "-n", "other").code == 79
    everywhere = argosy("analyze", "-A")
    assert everywhere.code == 79
    assert "when analyzing all namespaces." in everywhere.err
    given = argosy("analyze", "-", stdin=elsewhere)
    assert given.code == 79, "files are analyzed whatever their namespace"


def test_the_analyzers_are_listed(argosy: Argosy) -> None:
    answer = argosy("analyze", "--list-analyzers")
    assert answer.code == 0
    names = [line for line in answer.out.splitlines() if line.startswith("* ")]
    assert names == sorted(names)
    assert "* gateway.ConflictingGatewayAnalyzer:" in names


def test_colours_on_demand(argosy: Argosy) -> None:
    assert "\x1b[" in argosy(*OFFLINE, "-", "--color", stdin=RULE).out
    assert "\x1b[" not in argosy(*OFFLINE, "-", "--no-color", stdin=RULE).out


def test_apply_tells_istio_s_code(mesh: Any, argosy: Argosy) -> None:
    answer = argosy("apply", "-f", "-", stdin=f"{INFO}---\n{WARNING}")
    assert answer.code == 0, "it is in force"
    assert answer.out == "service/reviews created\ndestinationrule/old created\n"
    (problem, _hint) = answer.err.splitlines()
    assert problem.startswith("Warning: -:11: DestinationRule default/old: spec.host: ")
    assert problem.endswith("[IST0174]")
    assert "[IST0118]" in argosy("describe", "svc", "reviews").out
    told = json.loads(argosy("get", "dr", "old", "-o", "json").out)["status"]["validationMessages"]
    assert [(m["type"]["code"], m["level"]) for m in told] == [("IST0174", "WARNING")]


def test_keys_that_the_mesh_cannot_fetch(mesh: Any, argosy: Argosy) -> None:
    """No object says so: the control plane is asked."""
    mesh.put(
        """
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: jwt}
spec:
  jwtRules: [{issuer: a, jwksUri: "https://a/k"}]
"""
    )
    assert argosy("analyze").code == 0
    mesh.neighbours.failing = [
        {
            "url": "https://a/k",
            "discovery": False,
            "reason": "no route",
            "since": "S",
            "next_try": "N",
            "kept": False,
        }
    ]
    answer = argosy("analyze")
    assert answer.code == 79
    assert "https://a/k could not be fetched since S: no route; the next try is at N" in answer.out
