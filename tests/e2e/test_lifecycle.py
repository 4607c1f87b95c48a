"""A mesh begins and ends without a trace, however it ends; the demo shows what it promises."""

import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from mesh import ARGOSY, SAMPLES, Mesh, eventually, processes

pytestmark = pytest.mark.e2e


def of_mesh(mesh: Mesh) -> list[str]:
    """The command lines of everything that belongs to a mesh, by its directory."""
    directory = str(Path(mesh.environment["ARGOSY_STATE_DIR"]) / mesh.name)
    return [line for _, line, cwd in processes() if directory in line or cwd.startswith(directory)]


@pytest.fixture
def own_mesh(tmp_path: Path) -> Iterator[Mesh]:
    mesh = Mesh(tmp_path)
    try:
        yield mesh
    finally:
        mesh.down()


def links() -> set[str]:
    return set(os.listdir("/sys/class/net"))


@pytest.fixture
def demo(own_mesh: Mesh) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [str(ARGOSY), "demo", "--mesh", own_mesh.name],
        env=own_mesh.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def read_until(process: "subprocess.Popen[str]", what: str) -> str:
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if what in line:
            return text
    raise AssertionError(f"the demo ended before it said {what!r}:\n{text}")


def test_the_demo_says_where_the_page_is_and_leaves_nothing(
    own_mesh: Mesh, demo: "subprocess.Popen[str]"
) -> None:
    before = links()
    text = read_until(demo, "Ctrl-C removes everything")
    found = re.search(r"http://\S+/productpage", text)
    assert found, text
    page = httpx.get(found[0], timeout=20)
    assert page.status_code == 200
    assert "The Comedy of Errors" in page.text
    assert text.count("synced") == 7, text
    assert "with an error" not in text
    demo.send_signal(signal.SIGINT)
    assert demo.wait(60) in (0, 130)
    eventually(lambda: of_mesh(own_mesh) == [], "no process is left")
    assert not (Path(own_mesh.environment["ARGOSY_STATE_DIR"]) / own_mesh.name).exists()
    assert links() == before


def test_a_killed_mesh_leaves_no_process_and_the_next_starts_clean(
    own_mesh: Mesh, demo: "subprocess.Popen[str]"
) -> None:
    before = links()
    read_until(demo, "Ctrl-C removes everything")
    demo.send_signal(signal.SIGKILL)
    demo.wait(10)
    eventually(lambda: of_mesh(own_mesh) == [], "no process is left")
    assert links() == before
    own_mesh.up(SAMPLES / "bookinfo" / "bookinfo.yaml")
    assert len(own_mesh.get("pods", "-n", "default")) == 6


def test_two_meshes_side_by_side(own_mesh: Mesh, tmp_path: Path) -> None:
    other = Mesh(tmp_path)
    other.name = f"o{secrets.token_hex(3)}"
    other.environment["ARGOSY_MESH"] = other.name
    try:
        for mesh in (own_mesh, other):
            mesh.up(
                SAMPLES / "bookinfo" / "bookinfo.yaml", SAMPLES / "bookinfo" / "networking.yaml"
            )
        assert own_mesh.url != other.url
        for mesh in (own_mesh, other):
            assert httpx.get(f"{mesh.url}/productpage", timeout=20).status_code == 200
        other.down()
        assert httpx.get(f"{own_mesh.url}/productpage", timeout=20).status_code == 200
    finally:
        other.down()


def test_a_second_up_of_the_same_mesh_is_told(own_mesh: Mesh) -> None:
    own_mesh.argosy("up", "--detach")
    again = own_mesh.argosy("up", "--detach", check=False)
    assert again.returncode == 1
    assert "already running" in again.stderr


def test_exit_codes_and_standard_input_of_exec(own_mesh: Mesh) -> None:
    own_mesh.up(SAMPLES / "bookinfo" / "bookinfo.yaml")
    done = own_mesh.argosy(
        "exec",
        "deploy/ratings-v1",
        "--",
        sys.executable,
        "-c",
        "import sys;sys.exit(7)",
        check=False,
    )
    assert done.returncode == 7
    echoed = own_mesh.argosy("exec", "deploy/ratings-v1", "--", "cat", stdin="hello\n")
    assert echoed.stdout == "hello\n"
    missing = own_mesh.argosy("exec", "deploy/nothing", "--", "true", check=False)
    assert missing.returncode == 3
    assert "nothing" in missing.stderr


def test_a_crashing_application_is_started_again(own_mesh: Mesh) -> None:
    own_mesh.up(SAMPLES / "bookinfo" / "bookinfo.yaml")
    kill = (
        "import os, signal, pathlib\n"
        "for p in pathlib.Path('/proc').glob('[0-9]*/cmdline'):\n"
        "    pid = int(p.parent.name)\n"
        "    if b'bookinfo/ratings' in p.read_bytes() and pid != os.getpid():\n"
        "        os.kill(pid, signal.SIGKILL)\n"
    )
    own_mesh.exec("deploy/ratings-v1", sys.executable, "-c", kill)

    def restarted() -> bool:
        (pod,) = own_mesh.get("pods", "-l", "app=ratings")
        (status,) = pod["status"]["containerStatuses"]
        return bool(status.get("restartCount") and status.get("ready"))

    eventually(restarted, "ratings is back", seconds=20)
    started = time.monotonic()
    assert own_mesh.status("deploy/productpage-v1", "http://ratings:9080/ratings/0") == 200
    assert time.monotonic() - started < 15
