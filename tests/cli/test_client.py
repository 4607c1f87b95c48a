"""What a person is told when the mesh does not answer, and for how long a command waits for it."""

import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from argosy.cli.client import ApiClient, UnreachableError, find_pod
from argosy.platforms.local.state import MeshDirectory

Argosy = Callable[..., Any]

COMMANDS = (
    ("get", "pods"),
    ("describe", "vs", "a"),
    ("status",),
    ("apply", "-f", "-"),
    ("delete", "vs", "a"),
    ("wait", "vs/a"),
    ("logs", "a"),
    ("exec", "a", "--", "true"),
    ("proxy-config", "clusters", "a"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_mesh(argosy: Argosy, command: tuple[str, ...]) -> None:
    answer = argosy(*command)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err == (
        "Error: mesh 'default' is not running\n       Start one: argosy up -f FILE\n"
    )


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_mesh_that_was_killed(mesh: Any, argosy: Argosy, command: tuple[str, ...]) -> None:
    """Its socket is there, and nobody listens."""
    mesh.end()
    answer = argosy(*command)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("Error: mesh 'default' is not running\n")


def test_another_mesh_runs(mesh: Any, argosy: Argosy) -> None:
    answer = argosy("get", "pods", "--mesh", "other")
    assert answer.code == 1
    assert "Running meshes: default (choose one with --mesh)" in answer.err
    answer = argosy("down", "--mesh", "other")
    assert (answer.code, answer.err) == (
        0,
        "No mesh 'other' is running. Running meshes: default.\n",
    )


@pytest.mark.parametrize("command", [("get", "pods"), ("down",), ("up",), ("status",)])
def test_a_name_that_names_no_mesh(argosy: Argosy, command: tuple[str, ...]) -> None:
    answer = argosy(*command, "--mesh", "No_Mesh")
    assert answer.code == 2
    assert answer.err == (
        "Error: 'No_Mesh' cannot name a mesh: use up to 42 lower-case letters, digits and dashes\n"
    )


def test_a_control_plane_that_does_not_come_back(mesh: Any) -> None:
    mesh.stop_api()
    client = ApiClient("default", patience=0.3)
    began = time.monotonic()
    with pytest.raises(UnreachableError, match="the control plane of mesh 'default' does not"):
        client.get("/api/v1/pods")
    assert 0.3 <= time.monotonic() - began < 15


def test_a_control_plane_that_comes_back_is_waited_for(mesh: Any, sockets: Any) -> None:
    mesh.stop_api()

    def come_back() -> None:
        time.sleep(0.3)
        mesh.directory.api_socket.unlink()
        mesh.directory.api_socket.symlink_to(sockets.api)

    thread = threading.Thread(target=come_back)
    thread.start()
    with ApiClient("default") as client:
        assert client.items("/api/v1/namespaces")
    thread.join()


@pytest.mark.parametrize(("method", "asked"), [("GET", 2), ("DELETE", 1)])
def test_only_what_does_no_harm_is_asked_twice(mesh: Any, method: str, asked: int) -> None:
    """The control plane ends in the middle of an answer: was the deletion done? Nobody knows."""
    mesh.directory.api_socket.unlink()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(mesh.directory.api_socket))
    listener.listen()
    seen = []

    def serve() -> None:
        for _ in range(asked):
            connection, _ = listener.accept()
            seen.append(connection.recv(65536))
            connection.close()
        listener.close()

    thread = threading.Thread(target=serve)
    thread.start()
    client = ApiClient("default", patience=0.2 if method == "GET" else 5.0)
    with pytest.raises(UnreachableError):
        client.call(method, "/api/v1/namespaces/default/pods/a")
    thread.join(5)
    assert len(seen) == asked


def test_a_mesh_that_is_just_starting(mesh: Any) -> None:
    mesh.directory.admin_token.unlink()
    with pytest.raises(UnreachableError, match="is still starting"):
        ApiClient("default", patience=0.1)


def test_a_wrong_token(mesh: Any, argosy: Argosy) -> None:
    mesh.directory.admin_token.write_text("another")
    answer = argosy("get", "pods")
    assert answer.code == 1
    assert "does not accept" in answer.err
    assert str(mesh.directory.admin_token) in answer.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_the_mesh_of_another_user(mesh: Any, argosy: Argosy) -> None:
    mesh.directory.admin_token.chmod(0)
    answer = argosy("get", "pods")
    assert answer.code == 1
    assert "belongs to another user" in answer.err


def test_status_without_a_control_plane(
    mesh: Any, argosy: Argosy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so, and shows what the node knows: the proxies go on."""
    monkeypatch.setattr("argosy.cli.status._PATIENCE_SECONDS", 0)
    mesh.pods = [{"namespace": "default", "name": "web-1", "proxy": True}]
    mesh.stop_api()
    answer = argosy("status")
    assert answer.code == 1
    assert "Control plane:" in answer.out
    assert "goes on with what it has" in answer.out
    assert "web-1.default   DISCONNECTED" in answer.out
    assert str(MeshDirectory.of("default").control_plane_log) in answer.err
    assert '"controlPlane": null' in argosy("status", "-o", "json").out


PODS = """
apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: web}, ownerReferences: [{kind: Deployment, name: web}]}
spec: {containers: [{name: web, image: any}]}
status: {conditions: [{type: Ready, status: "READY"}]}
"""


@pytest.fixture
def web(mesh: Any) -> Any:
    for name, ready in (("web-1", "False"), ("web-2", "True"), ("web-3", "True")):
        mesh.put(PODS.replace("NAME", name).replace("READY", ready))
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: front}\n"
    mesh.put(f"{service}spec: {{ports: [{{port: 80}}], selector: {{app: web}}}}\n")
    return mesh


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("web-1", "web-1"),
        ("pod/web-3", "web-3"),
        ("web-3.default", "web-3"),
        ("deploy/web", "web-2"),
        ("deployment/web", "web-2"),
        ("web", "web-2"),
        ("svc/front", "web-2"),
    ],
)
def test_which_pod_is_meant(web: Any, target: str, name: str) -> None:
    """Of several a ready one, the first by name."""
    with ApiClient("default") as client:
        assert find_pod(client, target, "default")["metadata"]["name"] == name


@pytest.mark.parametrize(
    ("target", "code", "said"),
    [
        ("nothing", 3, "Pods here: web-1, web-2, web-3"),
        ("deploy/front", 3, "no pod for"),
        ("svc/none", 3, "does not exist"),
        ("vs/web", 2, "neither a pod, a workload nor a service"),
    ],
)
def test_no_pod_is_meant(web: Any, argosy: Argosy, target: str, code: int, said: str) -> None:
    answer = argosy("logs", target)
    assert (answer.code, said in answer.err) == (code, True)


def test_errors_of_files_are_said_in_words(argosy: Argosy, tmp_path: Path) -> None:
    """A state directory that is a file."""
    (tmp_path / "state").write_text("")
    answer = argosy("get", "pods")
    assert answer.code == 1
    assert answer.err.startswith("Error: ")
    assert "Not a directory" in answer.err
