"""``argosy report`` and ``argosy suggest authz`` where there is no Mixer: the live tests have one."""

import json
from collections.abc import Callable
from typing import Any

import pytest

Argosy = Callable[..., Any]

MESH = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec:
  ports: [{name: http, port: 80, targetPort: 8080}]
  selector: {app: web}
---
apiVersion: v1
kind: Pod
metadata:
  name: web-a
  namespace: default
  labels: {app: web, security.istio.io/tlsMode: istio}
spec: {containers: [{name: web, image: "web:1"}]}
status: {phase: Running, podIP: 10.244.0.7, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: bare, namespace: other, labels: {app: bare}}
spec: {containers: [{name: bare, image: "bare:1"}]}
status: {phase: Running, podIP: 10.244.0.9, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
"""


@pytest.fixture(autouse=True)
def _mesh(mesh: Any) -> None:
    mesh.put(MESH)


def test_it_finds_what_configuration_tells_and_says_what_it_cannot_know(argosy: Argosy) -> None:
    found = json.loads(argosy("report", "-o", "json").out)
    rules = {(one["rule"], one["object"]) for one in found["findings"]}
    assert rules >= {
        ("mtls-plaintext-accepted", "Pod default/web-a"),
        ("authz-none", "Pod default/web-a"),
        ("mesh-no-proxy", "Pod other/bare"),
        ("gateway-no-tls", "Gateway default/front servers[0]"),
    }
    assert found["mutualTls"] is None
    assert [what.split(":")[0] for what in found["unmeasured"]] == ["traffic", "who called what"]
    assert all("without Mixer" in what for what in found["unmeasured"])
    gateway = next(one for one in found["findings"] if one["rule"] == "gateway-no-tls")
    assert (gateway["file"], gateway["line"]) == ("stored.yaml", 29)


def test_text_for_people(argosy: Argosy) -> None:
    answer = argosy("report", "-n", "default")
    assert answer.code == 0
    assert "Traffic with mutual TLS: not measured" in answer.out
    assert (
        "  high     Gateway default/front servers[0] (stored.yaml:29): port 80 serves" in answer.out
    )
    assert "Pod other/bare" not in answer.out
    assert "Not measured:\n  traffic: this mesh was started without Mixer" in answer.out


def test_the_other_forms(argosy: Argosy) -> None:
    assert argosy("report", "-o", "html").out.startswith("<!doctype html>")
    assert json.loads(argosy("report", "-o", "sarif").out)["version"] == "2.1.0"


@pytest.mark.parametrize(
    ("condition", "code"),
    [
        ("critical", 0),
        ("high", 79),
        ("info", 79),
        ("score<100", 79),
        ("score < 1", 0),
        ("HIGH", 79),
    ],
)
def test_fail_on(argosy: Argosy, condition: str, code: int) -> None:
    answer = argosy("report", "-n", "default", "--fail-on", condition)
    assert answer.code == code
    assert bool("Error" in answer.err) == bool(code)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("report", "--fail-on", "loud"), "'loud' is neither a severity nor score<N"),
        (("report", "--since", "2d"), "--since '2d' is not a time"),
        (("report", "--since", "25h"), "up to 1d"),
        (("suggest", "authz", "--window", "0s"), "--window '0s' is not a time"),
        (("suggest", "authz", "--record", "x"), "--record 'x' is not a time"),
    ],
)
def test_a_wrong_command_line(argosy: Argosy, options: tuple[str, ...], words: str) -> None:
    answer = argosy(*options)
    assert answer.code == 2
    assert words in answer.err


def test_suggestions_need_mixer(argosy: Argosy) -> None:
    for options in (("--record", "1s"), ()):
        answer = argosy("suggest", "authz", *options)
        assert answer.code == 1
        assert "this mesh was started without Mixer" in answer.err
