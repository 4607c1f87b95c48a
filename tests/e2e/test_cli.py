"""The command line against a real mesh: terminals, logs that go on, a control plane that goes away."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator

import pytest
from mesh import ARGOSY, SAMPLES, Json, Mesh, control_plane, directory, eventually

pytestmark = pytest.mark.e2e

PRINTER = "import os,time;print('begins', os.getpid(), flush=True);[(print('line', i, flush=True), time.sleep(0.05)) for i in range(10**6)]"

WORKLOADS = f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: curl}}
spec:
  selector: {{matchLabels: {{app: curl}}}}
  template:
    metadata: {{labels: {{app: curl}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{{name: curl, image: curlimages/curl, command: [sleep, infinity]}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: printer}}
spec:
  selector: {{matchLabels: {{app: printer}}}}
  template:
    metadata: {{labels: {{app: printer}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{{name: printer, image: any, command: ["{sys.executable}", -c, "{PRINTER}"]}}]
---
apiVersion: v1
kind: Service
metadata: {{name: httpbin}}
spec:
  ports: [{{name: http, port: 8000, targetPort: 8080}}]
  selector: {{app: httpbin}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: httpbin}}
spec:
  selector: {{matchLabels: {{app: httpbin}}}}
  template:
    metadata: {{labels: {{app: httpbin, version: v1}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{{name: httpbin, image: mccutchen/go-httpbin, ports: [{{containerPort: 8080}}]}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: httpbin}}
spec: {{host: httpbin, subsets: [{{name: v1, labels: {{version: v1}}}}]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: httpbin}}
spec:
  hosts: [httpbin]
  http: [{{timeout: 5s, route: [{{destination: {{host: httpbin, subset: v1}}}}]}}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: strict}}
spec: {{selector: {{matchLabels: {{app: httpbin}}}}, mtls: {{mode: STRICT}}}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: door}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: ["httpbin.example.com"]}}]
"""


@pytest.fixture(scope="module")
def small(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    file = tmp_path_factory.mktemp("yaml") / "workloads.yaml"
    file.write_text(WORKLOADS)
    mesh.up(file)
    return mesh


class Terminal:
    """A command on a terminal of its own, typed at by the test."""

    def __init__(self, mesh: Mesh, *argv: str) -> None:
        self._master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (33, 99))
        self.before = termios.tcgetattr(slave)
        self._slave = slave
        self.process = subprocess.Popen(
            [str(ARGOSY), *argv],
            env=mesh.environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def read_until(self, what: str, seconds: float = 15.0) -> None:
        deadline = time.monotonic() + seconds
        while what not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, f"{what!r} did not come: {self.seen!r}"
            if select.select([self._master], [], [], left)[0]:
                self.seen += os.read(self._master, 65536).decode()

    def end(self) -> int:
        code = self.process.wait(15)
        assert termios.tcgetattr(self._slave) == self.before, "the terminal is as it was"
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)
        os.close(self._slave)


def test_exec_on_a_terminal(small: Mesh) -> None:
    """A shell has a terminal of the right size, job control and its exit code; ours is restored."""
    terminal = Terminal(small, "exec", "-it", "deploy/curl", "--", "sh")
    try:
        terminal.type("echo $((6*7))-answer; stty size; [ -t 1 ] && echo is-a-tty\n")
        terminal.read_until("42-answer")
        terminal.read_until("33 99")
        terminal.read_until("\nis-a-tty")
        terminal.type("sleep 1000; echo not-reached$((1))\n")
        time.sleep(0.5)
        terminal.type("\x03")
        terminal.type("echo alive$((1+1))\n")
        terminal.read_until("alive2")
        assert "not-reached1" not in terminal.seen
        terminal.type("exit 5\n")
        assert terminal.end() == 5
    finally:
        terminal.close()


def test_exec_without_a_terminal(small: Mesh) -> None:
    done = small.argosy(
        "exec", "deploy/curl", "-c", "curl", "--", "sh", "-c", "cat; exit 3", check=False, stdin="x"
    )
    assert (done.returncode, done.stdout) == (3, "x")
    assert small.argosy("exec", "svc/httpbin", "echo", "-n", "two words").stdout == "two words"
    done = small.argosy("exec", "deploy/curl", "--", "no-such-program", check=False)
    assert done.returncode == 1
    assert done.stderr == "Error: program no-such-program not found\n"
    done = small.argosy("exec", "deploy/curl", check=False)
    assert (done.returncode, "say which command" in done.stderr) == (2, True)


def test_an_interrupt_reaches_the_command(small: Mesh) -> None:
    process = subprocess.Popen(
        [
            str(ARGOSY),
            "exec",
            "deploy/curl",
            "--",
            "sh",
            "-c",
            "trap 'exit 42' INT; echo on; while :; do sleep 0.1; done",
        ],
        env=small.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "on\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 42
    process.stdout.close()


@pytest.fixture
def following(small: Mesh) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [str(ARGOSY), "logs", "-f", "deploy/printer", "--tail", "1"],
        env=small.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_logs_go_on_over_restarts_and_end_with_the_pod(
    small: Mesh, following: "subprocess.Popen[str]"
) -> None:
    assert following.stdout is not None
    assert following.stderr is not None
    first = following.stdout.readline()
    assert first.startswith("line ")
    numbers = [int(following.stdout.readline().split()[1]) for _ in range(5)]
    start = int(first.split()[1])
    assert numbers == list(range(start + 1, start + 6)), "no line is missing or twice"
    (process,) = [
        line.split()[1]
        for line in small.argosy("logs", "deploy/printer").stdout.splitlines()
        if line.startswith("begins")
    ]
    small.exec("deploy/printer", "kill", "-9", process)
    for line in following.stdout:
        if line.startswith("begins"):
            break
    assert following.stdout.readline() == "line 0\n"
    (pod,) = small.get("pods", "-l", "app=printer")
    name = pod["metadata"]["name"]
    small.argosy("delete", "pod", name)
    rest, said = following.communicate(timeout=30)
    assert rest.splitlines()[-1].startswith("line ")
    assert said == f"pod {name} is gone\n"
    assert following.returncode == 0
    small.argosy("wait", "deploy/printer")
    led = small.argosy("logs", "-l", "app", "--tail", "1").stdout.splitlines()
    assert any(line.startswith("[printer-") and " line " in line for line in led)


def test_logs_of_the_proxy_and_of_nothing(small: Mesh) -> None:
    assert small.argosy("logs", "deploy/curl", "-c", "istio-proxy").returncode == 0
    done = small.argosy("logs", "deploy/curl", "-c", "other", check=False)
    assert done.returncode == 3
    assert "has no container 'other'" in done.stderr
    assert "Containers: curl, istio-proxy" in done.stderr


def test_wait(small: Mesh) -> None:
    assert small.argosy("wait", "pods", "--all", "-A").stdout == "pods condition=Ready: met\n"
    assert small.argosy("wait", "deploy/curl", "vs/httpbin").stdout == (
        "deployment/curl available: met\nvirtualservice/httpbin condition=Accepted: met\n"
    )
    late = small.argosy("wait", "vs/none", "--timeout", "0.3", check=False)
    assert (late.returncode, late.stderr) == (
        4,
        "Error: virtualservice/none after 0.3 s: not found\n",
    )
    late = small.argosy("wait", "deploy/curl", "--for", "delete", "--timeout", "0.3", check=False)
    assert (late.returncode, "curl still there" in late.stderr) == (4, True)
    wrong = small.argosy("wait", "deploy/curl", "--for", "green", check=False)
    assert (wrong.returncode, "condition=NAME" in wrong.stderr) == (2, True)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("deploy/httpbin", ("1/1 ready", "STRICT: accepts mTLS only (PeerAuthentication default/strict)", "default/httpbin   v1")),
        ("svc/httpbin", ("httpbin, httpbin.default, ", "Routing:   VirtualService default/httpbin", "(subsets v1)", "1 of 1 ready", "STRICT")),
        ("vs/httpbin", ("httpbin.default.svc.cluster.local", "httpbin subset v1   timeout 5s", "Accepted:     True")),
        ("dr/httpbin", ("In force:", "yes, for callers in default", "version=v1   1 of 1 ready")),
        ("gw/door", ("istio-system/istio-ingressgateway-", "http://127.0.0.1:", "httpbin.example.com")),
        ("pa/strict", ("workloads with app=httpbin in default", "default/httpbin-", "STRICT")),
        ("ns/default", ("kubernetes.io/metadata.name=default",)),
    ],
)  # fmt: skip
def test_describe(small: Mesh, kind: str, said: tuple[str, ...]) -> None:
    described = small.argosy("describe", kind).stdout
    for part in said:
        assert part in described, described
    assert not [line for line in described.splitlines() if line != line.rstrip()]


def test_describe_a_pod(small: Mesh) -> None:
    described = small.argosy("describe", "pod", "-l", "app=httpbin").stdout
    for part in (
        "Running, ready",
        "spiffe://cluster.local/ns/default/sa/default",
        " left (serial ",
        "Proxy:            SYNCED",
        "default/httpbin   8000 http   HTTP       8080     default/httpbin   default/httpbin   v1",
    ):
        assert part in described, described


def test_tables_and_formats(small: Mesh) -> None:
    table = small.argosy("get", "all").stdout
    for part in ("pod/curl-", "service/httpbin", "deployment/curl", "virtualservice/httpbin"):
        assert part in table
    assert not [line for line in table.splitlines() if line != line.rstrip()]
    assert small.argosy("get", "vs,dr", "-o", "name").stdout == (
        "virtualservice/httpbin\ndestinationrule/httpbin\n"
    )
    both = json.loads(small.argosy("get", "vs/httpbin", "deploy/curl", "-o", "json").stdout)
    assert [item["kind"] for item in both["items"]] == ["VirtualService", "Deployment"]
    for command in ("clusters", "listeners", "routes", "endpoints", "secrets", "bootstrap"):
        done = small.argosy("proxy-config", command, "deploy/httpbin", "-o", "json")
        assert json.loads(done.stdout), command
        assert "PRIVATE KEY" not in done.stdout
    versions = json.loads(small.argosy("version", "-o", "json").stdout)
    assert set(versions) == {"argosy", "envoy", "python", "platform"}


def complete(mesh: Mesh, typed: str) -> set[str]:
    """What bash is offered behind ``typed``."""
    words = typed.split(" ")
    environment = {
        **mesh.environment,
        "_ARGOSY_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run(
        [str(ARGOSY)], env=environment, capture_output=True, text=True, check=False, timeout=30
    )
    assert done.stderr == ""
    return set(done.stdout.split())


def test_completion_asks_the_mesh(small: Mesh) -> None:
    assert {"virtualservice", "vs", "all"} <= complete(small, "argosy get v") | complete(
        small, "argosy get a"
    )
    assert complete(small, "argosy get deploy ") == {"curl", "printer", "httpbin"}
    assert complete(small, "argosy describe vs/h") == {"vs/httpbin"}
    assert {"deploy/curl", "deploy/printer"} <= complete(small, "argosy exec ")
    assert complete(small, "argosy get pods -n i") == {"istio-system"}
    assert complete(small, "argosy get pods --mesh ") == {small.name}
    assert complete(small, "argosy get pods --mesh nothing -n ") == set()


def test_the_control_plane_ends_while_the_command_line_works(small: Mesh) -> None:
    """Killed again and again: every command waits for the next one, none shows a failure."""
    for _ in range(2):
        pid = control_plane(small)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert len(small.argosy("get", "deploy").stdout.splitlines()) == 4
    pid = control_plane(small)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    file = SAMPLES.parent / "tests" / "e2e" / "missing.yaml"
    done = small.argosy("apply", "-f", str(file), check=False)
    assert done.returncode == 1
    applied = small.argosy(
        "apply", "-f", "-", stdin="apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
    )
    assert applied.stdout == "configmap/a created\n"


def test_a_control_plane_that_hangs(small: Mesh) -> None:
    """``status`` says so, and what runs on; the data plane does."""
    eventually(lambda: bool(connected(small)), "the proxies are back", seconds=20)
    pid = control_plane(small)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        done = small.argosy("status", check=False)
        assert done.returncode == 4
        assert "Control plane:" in done.stdout
        assert "goes on with what it has" in done.stdout
        assert "curl-" in done.stdout
        assert f"{directory(small)}/control-plane.log" in done.stderr
    finally:
        os.kill(pid, signal.SIGCONT)
    assert small.argosy("status").returncode == 0
    assert small.status("deploy/curl", "http://httpbin:8000/status/200") == 200


def connected(mesh: Mesh) -> list[Json]:
    found: list[Json] = json.loads(mesh.argosy("status", "-o", "json", check=False).stdout)[
        "proxies"
    ]
    return found


def test_what_a_killed_mesh_leaves(small: Mesh) -> None:
    """A stale socket is no riddle: the mesh is not running. ``down`` removes the files."""
    record = json.loads((directory(small) / "mesh.json").read_text())
    os.kill(record["pid"], signal.SIGKILL)
    eventually(lambda: control_plane(small) is None, "all of it has ended")
    for command in (
        ("get", "pods"),
        ("status",),
        ("exec", "deploy/curl", "--", "ls"),
        ("logs", "deploy/curl"),
    ):
        done = small.argosy(*command, check=False)
        assert done.returncode == 1
        assert (
            done.stderr
            == f"Error: mesh {small.name!r} is not running\n       Start one: argosy up -f FILE\n"
        )
    assert complete(small, "argosy get deploy ") == set()
    assert small.argosy("down").stderr == f"No mesh {small.name!r} is running.\n"
    assert not directory(small).exists()
