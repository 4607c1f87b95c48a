"""A test's hands inside a workload: one ``argosy exec`` that stays, and answers call by call."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from mesh import ARGOSY, Mesh

CLIENTS = Path(__file__).with_name("clients.py")

Json = dict[str, Any]


class InsideError(Exception):
    """What a call raised in there, in its words."""


@dataclass
class Answer:
    """One HTTP answer. Status 0: there was none, and ``error`` says why."""

    status: int
    headers: dict[str, str]
    version: str
    length: int
    body: str
    sha256: str
    error: str
    history: list[int]

    @property
    def json(self) -> Json:
        value: Json = json.loads(self.body)
        return value


class Inside:
    """Calls of ``clients.py`` in a process that ``argv`` starts."""

    def __init__(self, where: str, argv: tuple[str, ...], environment: dict[str, str]) -> None:
        self._where = where
        self._process = subprocess.Popen(
            [*argv, sys.executable, str(CLIENTS)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "Inside":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def call(self, what: str, **arguments: Any) -> Any:
        """Raises InsideError with the words of what was raised there."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"call": what, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the client in {self._where} ended"
        answer = json.loads(line)
        if "error" in answer:
            raise InsideError(answer["error"])
        return answer["value"]

    def requests(self, url: str, **options: Any) -> list[Answer]:
        """See ``clients.http`` for the options."""
        texts = dict.fromkeys(("version", "body", "sha256", "error"), "")
        absent = {**texts, "headers": {}, "length": 0, "history": []}
        return [Answer(**{**absent, **found}) for found in self.call("http", url=url, **options)]

    def get(self, url: str, **options: Any) -> Answer:
        """One request."""
        (answer,) = self.requests(url, **options)
        return answer


def inside(mesh: Mesh, target: str, namespace: str = "default") -> Inside:
    """The clients inside a workload."""
    argv = (str(ARGOSY), "exec", "-n", namespace, target, "--")
    return Inside(f"{target} of {namespace}", argv, mesh.environment)


def outside() -> Inside:
    """The same clients on this machine, as a browser would be."""
    return Inside("this machine", (), dict(os.environ))
