"""``argosy wait``: what each kind is waited for, and what is said when time is up."""

from collections.abc import Callable
from typing import Any

import pytest

Argosy = Callable[..., Any]

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: any}]}}
status: {readyReplicas: READY}
"""
BAD_RULE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bad}
spec: {hosts: [a], http: [{route: [{destination: {host: nowhere}}]}]}
"""


@pytest.fixture
def web(mesh: Any) -> Any:
    for name, ready in (("done", "2"), ("late", "1")):
        mesh.put(DEPLOYMENT.replace("NAME", name).replace("READY", ready))
    mesh.put(BAD_RULE)
    return mesh


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("deploy/done",), "deployment/done available: met\n"),
        (("deploy", "done", "--for", "condition=Ready"), "deployment/done available: met\n"),
        (("ns/default",), "namespace/default create: met\n"),
        (("vs/bad", "--for", "condition=accepted=false"), None),
        (("vs/none", "--for", "delete"), "virtualservice/none delete: met\n"),
        (("pods", "--all", "--for", "delete"), "pods delete: met\n"),
    ],
)
def test_met(web: Any, argosy: Argosy, args: tuple[str, ...], said: str | None) -> None:
    answer = argosy("wait", *args, "--timeout", "0")
    assert (answer.code, answer.err) == (0, "")
    if said is not None:
        assert answer.out == said


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("deploy/late",), "deployment/late after 0 s: 1 of 2 replicas are ready"),
        (("deploy", "--all"), "deployments after 0 s: late: 1 of 2 replicas are ready"),
        (("deploy", "-l", "app=none"), "deployments after 0 s: not found"),
        (("vs/bad",), "virtualservice/bad after 0 s: Accepted is False (spec.http[0]"),
        (("vs/bad", "--for", "condition=Blue"), "Blue is unknown"),
        (("deploy/done", "--for", "delete"), "done still there"),
    ],
)
def test_late(web: Any, argosy: Argosy, args: tuple[str, ...], said: str) -> None:
    answer = argosy("wait", *args, "--timeout", "0")
    assert (answer.code, answer.out) == (4, "")
    assert said in answer.err


@pytest.mark.parametrize(
    "args", [("deploy",), ("deploy/a", "--for", "green"), ("deploy/a", "--for", "condition="), ()]
)
def test_a_wrong_command_line(web: Any, argosy: Argosy, args: tuple[str, ...]) -> None:
    assert argosy("wait", *args).code == 2
