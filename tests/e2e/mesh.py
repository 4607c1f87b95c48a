"""A real mesh for a test, driven as a user drives it: with the command line."""

import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from argosy.platforms.local.state import MeshDirectory

REPOSITORY = Path(__file__).resolve().parents[2]
SAMPLES = REPOSITORY / "samples"
ISTIO_SAMPLES = Path(
    os.environ.get("ARGOSY_ISTIO_SAMPLES", REPOSITORY.parent / "shared" / "istio-samples")
)
ARGOSY = Path(sys.executable).with_name("argosy")
CALL = Path(__file__).with_name("call.py")

Json = dict[str, Any]


@dataclass
class Call:
    """One answer. Status 0: there was none, and ``error`` says why."""

    status: int
    seconds: float
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    error: str = ""


class Mesh:
    """A detached mesh with a directory of its own, so that tests can run side by side."""

    def __init__(self, directory: Path) -> None:
        self.name = f"t{secrets.token_hex(3)}"
        self.environment = {
            **os.environ,
            "ARGOSY_STATE_DIR": str(directory),
            "ARGOSY_MESH": self.name,
            "NO_COLOR": "1",
            "COLUMNS": "200",
        }

    def argosy(
        self,
        *args: str,
        check: bool = True,
        stdin: str | None = None,
        seconds: float = 120,
        env: Mapping[str, str] | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [str(ARGOSY), *args],
            env={**self.environment, **(env or {})},
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(
                f"argosy {' '.join(args)} exited with {done.returncode}\n{done.stdout}{done.stderr}"
                + self.logs()
            )
        return done

    def up(self, *paths: Path | str, options: tuple[str, ...] = ()) -> None:
        files = [part for path in paths for part in ("-f", str(path))]
        images = ("--images", str(SAMPLES / "images.yaml"))
        self.argosy("up", "--detach", *images, *files, *options)
        pods = self.get("pods", "-A")
        assert pods, "no pods"
        late = [p["metadata"]["name"] for p in pods if not is_ready(p)]
        assert not late, f"not ready: {late}" + self.logs()

    def down(self) -> None:
        self.argosy("down", check=False)

    def apply(self, *what: Path | str, namespace: str = "default") -> str:
        """Apply files, or YAML text, and wait until every proxy has it."""
        files: list[str] = []
        text = None
        for item in what:
            if isinstance(item, Path):
                files += ["-f", str(item)]
            else:
                assert text is None, "one text at a time"
                files += ["-f", "-"]
                text = item
        return self.argosy("apply", "--wait", "-n", namespace, *files, stdin=text).stdout

    def delete(self, *what: Path | str, namespace: str = "default") -> None:
        for item in what:
            if isinstance(item, Path):
                self.argosy("delete", "--wait", "-n", namespace, "-f", str(item))
            else:
                self.argosy("delete", "--wait", "-n", namespace, "-f", "-", stdin=item)

    def get(self, kind: str, *args: str) -> list[Json]:
        answer = json.loads(self.argosy("get", kind, "-o", "json", *args).stdout)
        items: list[Json] = answer.get("items", [answer])
        return items

    def exec(
        self, target: str, *argv: str, namespace: str = "default", check: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        return self.argosy("exec", "-n", namespace, target, "--", *argv, check=check)

    def call(self, source: str, url: str, *options: str, namespace: str = "default") -> list[Call]:
        """Requests from inside the workload ``source``; see ``call.py`` for the options."""
        argv = (sys.executable, str(CALL), url, "--body", *options)
        done = self.exec(source, *argv, namespace=namespace)
        return [Call(**json.loads(line)) for line in done.stdout.splitlines()]

    def status(self, source: str, url: str, *options: str, namespace: str = "default") -> int:
        (answer,) = self.call(source, url, *options, namespace=namespace)
        return answer.status

    def envoy(self, target: str, path: str, namespace: str = "default") -> str:
        """What the Envoy of a workload answers on its admin interface."""
        code = (
            "import urllib.request,sys;"
            f"print(urllib.request.urlopen('http://127.0.0.1:15000{path}').read().decode())"
        )
        return self.exec(target, sys.executable, "-c", code, namespace=namespace).stdout

    def stat(self, target: str, name: str, namespace: str = "default") -> int:
        """The sum of the Envoy statistics whose name contains ``name``."""
        text = self.envoy(target, "/stats", namespace)
        values = [line.rpartition(": ") for line in text.splitlines() if name in line]
        return sum(int(value) for _, _, value in values if value.isdigit())

    @property
    def url(self) -> str:
        """The ingress gateway, from this machine."""
        status = json.loads(self.argosy("status", "-o", "json").stdout)
        url: str = status["published"][0]["url"]
        return url

    @property
    def secure_address(self) -> tuple[str, int]:
        """The ingress gateway's port 443, from this machine."""
        status = json.loads(self.argosy("status", "-o", "json").stdout)
        (url,) = [one["url"] for one in status["published"] if one["url"].startswith("https://")]
        host, _, port = url.removeprefix("https://").partition(":")
        return host, int(port)

    def logs(self) -> str:
        """The ends of the logs, for a failed assertion."""
        parts = []
        directory = Path(self.environment["ARGOSY_STATE_DIR"]) / self.name
        for path in sorted([*directory.glob("*.log"), *directory.glob("pods/*/*/logs/*.log")]):
            lines = path.read_text(errors="replace").splitlines()[-12:]
            parts.append(f"\n--- {path.relative_to(directory)}\n" + "\n".join(lines))
        return "".join(parts)


def processes() -> list[tuple[int, str, str]]:
    """Every process that this user may look at: pid, command line, working directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found.append((int(entry.name), line, os.readlink(entry / "cwd")))
            except OSError:
                continue
    return found


def directory(mesh: Mesh) -> Path:
    return Path(mesh.environment["ARGOSY_STATE_DIR"]) / mesh.name


def client_of(mesh: Mesh) -> httpx.Client:
    """Of the mesh's API, with all rights."""
    found = MeshDirectory.at(directory(mesh))
    return httpx.Client(
        transport=httpx.HTTPTransport(uds=str(found.api_socket)),
        base_url="http://argosy",
        headers={"Authorization": f"Bearer {found.admin_token.read_text().strip()}"},
        timeout=60,
    )


def mixer_runs(mesh: Mesh) -> bool:
    """Whether the control plane reaches it."""
    status = json.loads(mesh.argosy("status", "-o", "json").stdout)
    return status["controlPlane"]["mixer"] is True


def mixer_pid(mesh: Mesh) -> int:
    """The process that is Mixer now."""
    wanted = f"argosy.mixer --directory {directory(mesh)} "
    (found,) = [pid for pid, line, _ in processes() if wanted in line]
    return found


def control_plane(mesh: Mesh) -> int | None:
    """The process that is the control plane now."""
    wanted = ["argosy.server", "--directory", str(directory(mesh))]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                argv = (entry / "cmdline").read_bytes().decode().split("\0")
                if argv[2:5] == wanted:
                    return int(entry.name)
    return None


def eventually(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)


def is_ready(pod: Json) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
