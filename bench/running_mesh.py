"""A real mesh for a benchmark, driven with the command line as a user would."""

import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
ARGOSY = Path(sys.executable).with_name("argosy")

Json = dict[str, Any]


class CommandError(Exception):
    """A command failed; the text is its output."""


class BenchMesh:
    """A mesh with a state directory of its own."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.environment = {
            **os.environ,
            "ARGOSY_STATE_DIR": str(scratch / "state"),
            "ARGOSY_MESH": f"bench-{secrets.token_hex(3)}",
            "NO_COLOR": "1",
            "COLUMNS": "200",
        }

    def argosy(self, *args: str, check: bool = True) -> str:
        """Run to the end; returns standard output. Raises CommandError."""
        done = subprocess.run(
            [str(ARGOSY), *args],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        if check and done.returncode:
            raise CommandError(f"argosy {' '.join(args)}\n{done.stdout}{done.stderr}")
        return done.stdout

    def pod(self, namespace: str, prefix: str) -> str:
        """The name of the one pod whose name starts so."""
        items = json.loads(self.argosy("get", "pods", "-n", namespace, "-o", "json"))["items"]
        (name,) = [
            pod["metadata"]["name"]
            for pod in items
            if pod["metadata"]["name"].startswith(f"{prefix}-")
        ]
        return str(name)


@contextmanager
def mesh() -> Iterator[BenchMesh]:
    """Nothing runs yet; whatever runs at the end is ended."""
    with tempfile.TemporaryDirectory(prefix="argosy-bench-") as scratch:
        one = BenchMesh(Path(scratch))
        try:
            yield one
        finally:
            one.argosy("down", check=False)


class Generator:
    """``bench.load`` inside a workload."""

    def __init__(self, inside: BenchMesh, namespace: str, workload: str) -> None:
        command = [str(ARGOSY), "exec", "-n", namespace, workload, "--"]
        command += ["env", f"PYTHONPATH={REPOSITORY}", sys.executable, "-m", "bench.load"]
        self._process = subprocess.Popen(
            command,
            env=inside.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **command: object) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise CommandError("the load generator ended: see its output above")
        return json.loads(line)

    def __enter__(self) -> "Generator":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
