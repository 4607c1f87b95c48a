"""A mesh's namespaces from start to end, as root and as an ordinary user."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from argosy.platforms.local import launcher, state
from argosy.platforms.local.launcher import LaunchError, LaunchOptions, Publish
from argosy.platforms.local.supervisor import ChildSpec

HERE = Path(__file__).parent
ORDINARY_UID = 12345


class Account:
    """Somebody who runs meshes, with a directory of their own that the test removes."""

    def __init__(self, uid: int, python: str) -> None:
        self.python = python
        self.directory = Path("/tmp") / f"argosy-test-{uuid.uuid4().hex[:12]}"
        self.directory.mkdir(mode=0o700)
        os.chown(self.directory, uid, -1)
        self.user = uid if uid != os.geteuid() else None
        self.environment = os.environ | {
            "ARGOSY_STATE_DIR": str(self.directory / "state"),
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p.startswith("/")),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.drivers: list[subprocess.Popen[str]] = []

    def launch(self, what: str, name: str = "m") -> "subprocess.Popen[str]":
        script = HERE / "launch_two_pods.py"
        driver = subprocess.Popen(
            [self.python, str(script), name, str(self.facts_file), what],
            env=self.environment,
            user=self.user,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
        )
        self.drivers.append(driver)
        return driver

    @property
    def facts_file(self) -> Path:
        return self.directory / "facts.json"

    @property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(self.facts_file.read_text())
        return facts

    def end(self) -> None:
        for driver in self.drivers:
            driver.kill()
            driver.communicate()
        wait_until(lambda: not processes_with(str(self.directory)), "processes are left")
        shutil.rmtree(self.directory)


def python_for(uid: int) -> str | None:
    """An interpreter that this user can run and that has argosy's dependencies."""
    if uid == os.geteuid():
        return sys.executable
    path = os.pathsep.join(p for p in sys.path if p.startswith("/"))
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
        command = [python, "-c", "import argosy.platforms.local.enter"]
        try:
            environment = os.environ | {"PYTHONPATH": path}
            subprocess.run(command, user=uid, env=environment, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    return None


def processes_with(word: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def processes_in(inodes: set[int]) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/ns/net"):
        try:
            if path.stat().st_ino in inodes:
                found.append(path.parts[2])
        except OSError:
            continue
    return found


def wait_until(condition: Any, why: str, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, why
        time.sleep(0.02)


@pytest.fixture(params=["as root", "as an ordinary user"])
def account(request: pytest.FixtureRequest) -> Iterator[Account]:
    if request.param == "as root":
        if os.geteuid() != 0:
            pytest.skip("needs root")
        uid = 0
    else:
        uid = ORDINARY_UID if os.geteuid() == 0 else os.geteuid()
    python = python_for(uid)
    if python is None:
        pytest.skip("an ordinary user can run no Python with argosy's dependencies here")
    made = Account(uid, python)
    yield made
    made.end()


@pytest.mark.e2e
def test_two_processes_talk_and_nothing_is_left_after_sigkill(account: Account) -> None:
    driver = account.launch("wait")
    assert driver.stdout is not None
    line = driver.stdout.readline()
    assert line, driver.communicate()
    expected_mode = "root" if account.user is None and os.geteuid() == 0 else "rootless"
    assert json.loads(line)["mode"] == expected_mode
    facts = account.facts
    assert facts["heard"] == "hello 10.244.0.3"
    assert facts["uid"] == 0
    inodes = set(facts["inodes"])
    assert len(inodes) == 3
    assert len(processes_in(inodes)) >= 4

    driver.send_signal(signal.SIGKILL)

    wait_until(lambda: not processes_in(inodes), "processes outlived the launcher")
    wait_until(lambda: not processes_with(str(account.directory)), "the mesh goes on")
    directory = account.directory / "state" / "m"
    wait_until(lambda: not directory.exists(), "files are left")


@pytest.mark.e2e
def test_killing_pid_one_ends_everything(account: Account) -> None:
    driver = account.launch("wait")
    assert driver.stdout is not None
    outermost = json.loads(driver.stdout.readline())["pid"]
    inodes = set(account.facts["inodes"])
    (pid_one,) = Path(f"/proc/{outermost}/task/{outermost}/children").read_text().split()
    os.kill(int(pid_one), signal.SIGKILL)
    wait_until(lambda: not processes_in(inodes), "processes outlived pid 1")
    wait_until(lambda: not processes_with(f'"path":"{account.directory}'), "outermost goes on")


@pytest.mark.e2e
def test_leftovers_of_a_run_killed_outright_are_cleaned(account: Account) -> None:
    driver = account.launch("wait")
    assert driver.stdout is not None
    outermost = json.loads(driver.stdout.readline())["pid"]
    inodes = set(account.facts["inodes"])
    os.kill(outermost, signal.SIGKILL)
    driver.kill()
    driver.wait()
    wait_until(lambda: not processes_in(inodes), "pid 1 outlived the outermost process")
    leftover = account.directory / "state" / "m" / "node.sock"
    assert leftover.exists()

    again = account.launch("stop")
    out, err = again.communicate(timeout=60)
    assert again.returncode == 0, err
    assert json.loads(out)["mode"]
    assert not leftover.parent.exists()


@pytest.mark.e2e
def test_a_mesh_of_this_name_runs_already(account: Account) -> None:
    first = account.launch("wait")
    assert first.stdout is not None
    assert first.stdout.readline()
    second = account.launch("wait")
    _, err = second.communicate(timeout=30)
    assert second.returncode == 1
    assert "mesh 'm' is already running (pid " in err
    assert "argosy down --mesh m" in err


@pytest.mark.e2e
def test_meshes_side_by_side_use_the_same_addresses(account: Account) -> None:
    for name in ("one", "two"):
        driver = account.launch("wait", name)
        assert driver.stdout is not None
        assert driver.stdout.readline(), driver.communicate()
        assert account.facts["heard"] == "hello 10.244.0.3"


@pytest.mark.e2e
def test_detached_mesh_lives_until_stop(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = account.launch("detach")
    out, err = driver.communicate(timeout=60)
    assert driver.returncode == 0, err
    assert json.loads(out)["mode"]
    inodes = set(account.facts["inodes"])
    assert processes_in(inodes)
    monkeypatch.setenv("ARGOSY_STATE_DIR", account.environment["ARGOSY_STATE_DIR"])
    assert state.mesh_names() == ("m",)
    assert launcher.stop("m", seconds=20)
    assert not processes_in(inodes)
    assert state.mesh_names() == ()
    assert not launcher.stop("m")


@pytest.fixture
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARGOSY_STATE_DIR", str(tmp_path))
    return tmp_path


@pytest.mark.e2e
def test_a_child_that_never_starts_is_an_error_with_its_log(own_state: Path) -> None:
    argv = (sys.executable, "-c", "import sys; sys.exit('the disk is on fire')")
    child = ChildSpec("control-plane", argv, str(own_state / "m" / "control-plane.log"))
    never = ChildSpec("x", ("/bin/sleep", "9"), "/dev/null", ready_socket="/nonexistent")
    with pytest.raises(LaunchError, match="the disk is on fire") as caught:
        launcher.launch(LaunchOptions(mesh="m", children=(child, never)))
    assert "control-plane ended with code 1, again and again" in str(caught.value)


@pytest.mark.e2e
def test_a_child_that_dies_later_is_restarted(own_state: Path) -> None:
    count = own_state / "count"
    program = f"echo x >> {count}; sleep 0.3; exit 1"
    count.touch()
    child = ChildSpec("flaky", ("/bin/sh", "-c", program), str(own_state / "flaky.log"))
    mesh = launcher.launch(LaunchOptions(mesh="m", children=(child,)))
    try:
        wait_until(lambda: count.read_text().count("x") >= 3, "it was not restarted")
        assert mesh.wait(0) is None
    finally:
        mesh.stop()


@pytest.mark.e2e
def test_the_mesh_neither_waits_for_what_is_not_essential_nor_fails_with_it(
    own_state: Path,
) -> None:
    ready = own_state / "ready.sock"
    program = f"import socket, time; s = socket.socket(socket.AF_UNIX); s.bind({str(ready)!r}); "
    argv = (sys.executable, "-c", f"{program}s.listen(); time.sleep(60)")
    first = ChildSpec("first", argv, str(own_state / "first.log"), ready_socket=str(ready))
    order = own_state / "order"
    order.touch()
    fails = f"test -S {ready} && echo x >> {order}; exit 1"
    other = ChildSpec("other", ("/bin/sh", "-c", fails), "/dev/null", essential=False)
    mesh = launcher.launch(LaunchOptions(mesh="m", children=(other, first)))
    try:
        wait_until(lambda: order.read_text().count("x") >= 4, "it was not started again")
        assert mesh.wait(0) is None
    finally:
        mesh.stop()


def test_a_port_in_use_is_a_clear_error(own_state: Path) -> None:
    with launcher._listen("127.0.0.1", 0, "a test") as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LaunchError, match=f"cannot listen on 127.0.0.1:{port}"):
            launcher.launch(LaunchOptions(mesh="m", publish=(Publish("d", "a", 80, port),)))
