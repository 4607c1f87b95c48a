"""``argosy up``: how long it waits for pods, and what it says of those that do not come."""

from typing import Any

import pytest

from argosy.cli.client import ApiClient
from argosy.cli.mesh import wait_until_ready

POD = """
apiVersion: v1
kind: Pod
metadata: {name: NAME, ownerReferences: [{kind: Deployment, name: web}]}
spec: {containers: [{name: web, image: any}]}
status: {conditions: [{type: Ready, status: "READY", reason: NotYet, message: is coming}]}
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: any}]}}
"""
HOPELESS = "containerStatuses: [{name: web, state: {waiting: {reason: ErrImageNeverPull, message: no command}}}]"


def pod(name: str, ready: bool) -> str:
    return POD.replace("NAME", name).replace("READY", str(ready))


def test_all_are_ready(mesh: Any, capsys: pytest.CaptureFixture[str]) -> None:
    mesh.put(DEPLOYMENT)
    for name in ("web-1", "web-2"):
        mesh.put(pod(name, True))
    with ApiClient("default") as client:
        assert wait_until_ready(client, 5) == 0
    assert capsys.readouterr() == ("", "")


def test_time_is_up(mesh: Any, capsys: pytest.CaptureFixture[str]) -> None:
    mesh.put(DEPLOYMENT)
    mesh.put(pod("web-1", True))
    mesh.put(pod("web-2", False))
    with ApiClient("default") as client:
        assert wait_until_ready(client, 0.2) == 4
    assert capsys.readouterr().err == (
        "not ready: default/web-2: is coming\n1 of 2 pods were ready after 0.2 s.\n"
    )


def test_what_time_does_not_heal_is_not_waited_for(
    mesh: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    mesh.put(DEPLOYMENT)
    mesh.put(pod("web-1", True))
    mesh.put(pod("web-2", False).replace("status: {", f"status: {{{HOPELESS}, "))
    with ApiClient("default") as client:
        assert wait_until_ready(client, 5) == 1
    assert capsys.readouterr().err == "not ready: default/web-2: no command\n"


def test_others_are_waited_for_beside_a_hopeless_one(mesh: Any) -> None:
    mesh.put(DEPLOYMENT.replace("replicas: 2", "replicas: 3"))
    mesh.put(pod("web-1", False).replace("status: {", f"status: {{{HOPELESS}, "))
    mesh.put(pod("web-2", True))
    with ApiClient("default") as client:
        assert wait_until_ready(client, 0.2) == 4
