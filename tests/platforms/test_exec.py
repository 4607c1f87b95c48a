"""``exec.sock`` end to end: a real server, a real client process, real descriptors."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from argosy.platforms.local import exec as exec_sock
from argosy.platforms.local import netns, process
from argosy.platforms.local.exec import ExecError, ExecRequest
from argosy.platforms.local.process import Command, Process, Sandbox
from argosy.proxy.node_server import listen

CLIENT = """
import sys
from pathlib import Path
from argosy.platforms.local.exec import ExecError, run
try:
    sys.exit(run(Path(sys.argv[1]), sys.argv[2], "ns", sys.argv[3], sys.argv[4:]))
except ExecError as error:
    sys.exit(f"refused: {error}")
"""


@pytest.fixture
async def path(tmp_path: Path) -> AsyncIterator[Path]:
    listener = listen(tmp_path / "exec.sock")

    async def start(request: ExecRequest, fds: tuple[int, ...]) -> Process:
        if request.pod != "p":
            raise ExecError(f"no pod {request.pod}")
        command = Command(request.argv, {"PATH": os.environ["PATH"], "WHO": request.namespace})
        return Process(process._start(lambda: None, command, fds))

    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(exec_sock.serve(listener, "secret", start))
        yield tmp_path / "exec.sock"
        serving.cancel()
    listener.close()


async def client(
    path: Path, *argv: str, pod: str = "p", token: str = "secret"
) -> tuple[int, str, str]:
    made = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CLIENT, str(path), token, pod, *argv),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await made.communicate(b"from stdin")
    return made.returncode or 0, out.decode(), err.decode()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  (another process changes it)
        await asyncio.sleep(0.02)


async def test_streams_environment_and_exit_code(path: Path) -> None:
    code, out, err = await client(path, "sh", "-c", 'cat; echo ", $WHO"; echo bad >&2; exit 7')
    assert (code, out, err) == (7, "from stdin, ns\n", "bad\n")


async def test_death_by_signal_is_128_and_more(path: Path) -> None:
    code, _, _ = await client(path, "sh", "-c", "kill -9 $$")
    assert code == 137


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"token": "wrong"}, "the token is not this mesh's"),
        ({"pod": "q"}, "no pod q"),
    ],
)
async def test_refusals(path: Path, arguments: dict[str, str], words: str) -> None:
    code, _, err = await client(path, "true", **arguments)
    assert (code, words in err) == (1, True)


async def test_a_missing_program_is_said(path: Path) -> None:
    code, _, err = await client(path, "/no/such")
    assert (code, err) == (1, "refused: program /no/such not found\n")


async def test_a_client_that_goes_away_takes_the_program_with_it(
    path: Path, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    script = f"echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; sleep 100"
    argv = [sys.executable, "-c", CLIENT, str(path), "secret", "p", "sh", "-c", script]
    made = await asyncio.create_subprocess_exec(*argv)
    async with asyncio.timeout(10):
        await until(pid_file.exists)
        pid = int(pid_file.read_text())
        os.kill(pid, 0)
        made.kill()
        await made.wait()
        await until(lambda: not Path(f"/proc/{pid}").exists())


async def test_interrupts_are_passed_on(path: Path, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    script = f"trap 'exit 42' INT; touch {ready}; while :; do sleep 0.05; done"
    argv = [sys.executable, "-c", CLIENT, str(path), "secret", "p", "sh", "-c", script]
    made = await asyncio.create_subprocess_exec(*argv)
    async with asyncio.timeout(10):
        await until(ready.exists)
        made.send_signal(signal.SIGINT)
        assert await made.wait() == 42


async def test_nobody_listens(tmp_path: Path) -> None:
    code, _, err = await client(tmp_path / "none.sock", "true")
    assert code == 1
    assert "is `argosy up` running?" in err


@pytest.mark.e2e
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
async def test_beside_a_process_its_namespaces_are_seen() -> None:
    fd = netns.create()
    environment = {"PATH": os.environ["PATH"]}
    main = process.start(Sandbox(fd, "inside"), Command(("sleep", "100"), environment))
    read_fd, write_fd = os.pipe()
    command = Command(("sh", "-c", "hostname; readlink /proc/self/ns/net"), environment)
    beside = process.start_beside(main.pid, command, (0, write_fd, write_fd))
    os.close(write_fd)
    assert await beside.wait() == 0
    with os.fdopen(read_fd) as output:
        assert output.read() == f"inside\nnet:[{os.fstat(fd).st_ino}]\n"
    assert await main.stop(1.0) == 143
    os.close(fd)
