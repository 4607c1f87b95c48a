"""``argosy get``: which objects, in which form; and what is said when there are none."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml

RULES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, labels: {team: a}}
spec:
  hosts: [reviews]
  http: [{route: [{destination: {host: reviews}}]}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews}
---
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {ports: [{port: 9080, name: http}], selector: {app: reviews}}
---
apiVersion: v1
kind: Service
metadata: {name: other, namespace: istio-system}
spec: {clusterIP: None, ports: [{port: 80}]}
"""


@pytest.fixture
def reviews(mesh: Any) -> Any:
    mesh.put(RULES)
    return mesh


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_a_table_of_a_kind(reviews: Any, argosy: Callable[..., Any]) -> None:
    answer = argosy("get", "vs")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == (
        "NAME      GATEWAYS   HOSTS     ACCEPTED   AGE\nreviews   -          reviews   True       1h\n"
    )


def test_no_line_ends_in_spaces(reviews: Any, argosy: Callable[..., Any]) -> None:
    for output in ("table", "wide"):
        for line in argosy("get", "all,ns", "-A", "-o", output).out.splitlines():
            assert line == line.rstrip()


def test_all_namespaces_have_a_column(reviews: Any, argosy: Callable[..., Any]) -> None:
    head, *found = rows(argosy("get", "services", "-A").out)
    assert head == ["NAMESPACE", "NAME", "TYPE", "CLUSTER-IP", "PORTS", "AGE"]
    assert [row[:2] for row in found] == [["default", "reviews"], ["istio-system", "other"]]
    assert found[1][3] == "None"


def test_several_kinds_in_one_table_each(reviews: Any, argosy: Callable[..., Any]) -> None:
    first, second = argosy("get", "vs,dr").out.split("\n\n")
    assert rows(first)[1][0] == "virtualservice/reviews"
    assert rows(second)[1][0] == "destinationrule/reviews"


def test_all_is_what_runs_and_what_steers_it(reviews: Any, argosy: Callable[..., Any]) -> None:
    assert argosy("get", "all", "-o", "name").out.split() == [
        "service/reviews",
        "virtualservice/reviews",
        "destinationrule/reviews",
    ]


@pytest.mark.parametrize(
    "words", [("VirtualService", "reviews"), ("vs/reviews",), ("virtualservices/reviews",)]
)
def test_one_object_as_it_is(
    reviews: Any, argosy: Callable[..., Any], words: tuple[str, ...]
) -> None:
    shown = yaml.safe_load(argosy("get", *words, "-o", "yaml").out)
    assert (shown["kind"], shown["metadata"]["name"]) == ("VirtualService", "reviews")
    assert json.loads(argosy("get", *words, "-o", "json").out) == shown


def test_a_kind_as_a_list(reviews: Any, argosy: Callable[..., Any]) -> None:
    shown = json.loads(argosy("get", "svc", "-A", "-o", "json").out)
    assert shown["kind"] == "List"
    assert [item["metadata"]["name"] for item in shown["items"]] == ["reviews", "other"]


def test_labels(reviews: Any, argosy: Callable[..., Any]) -> None:
    assert argosy("get", "vs", "-l", "team=a", "-o", "name").out == "virtualservice/reviews\n"
    assert argosy("get", "vs", "-l", "team!=a", "-o", "name").out == ""
    wrong = argosy("get", "vs", "-l", "a in")
    assert (wrong.code, wrong.err) == (1, "Error: unable to parse the label selector 'a in'\n")


def test_what_is_found_is_shown_beside_what_is_missing(
    reviews: Any, argosy: Callable[..., Any]
) -> None:
    answer = argosy("get", "vs", "reviews", "nothing")
    assert answer.code == 3
    assert rows(answer.out)[1][0] == "reviews"
    assert answer.err == "Error: VirtualService default/nothing does not exist\n"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("dr", "-n", "istio-system"), "there is no such DestinationRule in namespace"),
        (("dr", "-n", "nowhere"), "there is no namespace 'nowhere'"),
        (("pods", "-A"), "there is no Pod"),
    ],
)
def test_an_empty_table_says_why(
    reviews: Any, argosy: Callable[..., Any], args: tuple[str, ...], said: str
) -> None:
    answer = argosy("get", *args)
    assert (answer.code, answer.out) == (0, "")
    assert said in answer.err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("vss",), "Did you mean 'vs'?"),
        (("gibberish",), "Kinds: AuthorizationPolicy"),
        (("vs/a", "b"), "mixes two ways"),
        (("vs", "a", "-A"), "-A is for whole kinds"),
        (("vs", "a", "-l", "b=c"), "-l is for whole kinds"),
        (("vs", "-o", "html"), "'html' is not one of"),
        ((), "Missing argument"),
    ],
)
def test_a_wrong_command_line(
    mesh: Any, argosy: Callable[..., Any], args: tuple[str, ...], said: str
) -> None:
    answer = argosy("get", *args)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err


def test_problems_are_counted(reviews: Any, argosy: Callable[..., Any]) -> None:
    reviews.put(RULES.replace("destination: {host: reviews}", "destination: {host: revievs}"))
    head, row = rows(argosy("get", "vs", "-o", "wide").out)
    found = dict(zip(head, row, strict=True))
    assert (found["ACCEPTED"], found["DISTRIBUTED"], found["PROBLEMS"]) == ("False", "True", "1")


POD = """
apiVersion: v1
kind: Pod
metadata: {name: web-1, labels: {app: web}}
spec: {containers: [{name: web, image: any}]}
status: {phase: %s, containerStatuses: [{name: web, ready: false, restartCount: 2, state: %s}]}
"""


@pytest.mark.parametrize(
    ("phase", "state", "shown"),
    [
        ("Running", "{running: {}}", "Running"),
        ("Pending", "{waiting: {reason: ErrImageNeverPull}}", "ErrImageNeverPull"),
        ("Running", "{waiting: {reason: CrashLoopBackOff}}", "CrashLoopBackOff"),
        ("Running", "{terminated: {exitCode: 1, reason: Error}}", "Error"),
        ("Succeeded", "{terminated: {exitCode: 0, reason: Completed}}", "Completed"),
    ],
)
def test_the_state_of_a_pod(
    mesh: Any, argosy: Callable[..., Any], phase: str, state: str, shown: str
) -> None:
    mesh.put(POD % (phase, state))
    head, row = rows(argosy("get", "pods").out)
    assert dict(zip(head, row, strict=True)) == {
        "NAME": "web-1",
        "READY": "no",
        "STATUS": shown,
        "RESTARTS": "2",
        "AGE": "1h",
    }


def test_a_secret_shows_its_entries_and_not_their_values(
    mesh: Any, argosy: Callable[..., Any]
) -> None:
    mesh.put("""
apiVersion: v1
kind: Secret
metadata: {name: site}
stringData: {tls.key: topsecret}
""")
    for form in ("yaml", "json"):
        for asked in ("secret/site", "secrets"):
            found = argosy("get", asked, "-o", form).out
            assert "tls.key" in found
            assert "[redacted]" in found
            assert "topsecret" not in found
            assert "dG9wc2VjcmV0" not in found
