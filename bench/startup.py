"""From ``argosy up`` to the first page of Bookinfo through the ingress gateway.

What a user waits for: the command is started as a process, and a client outside the mesh asks the
gateway for the productpage until it answers 200. ``complete`` is the first page that holds details
and reviews, ``ready`` when the command itself says that all is ready.
"""

import http.client
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.figures import spread
from bench.running_mesh import ARGOSY, REPOSITORY, BenchMesh, CommandError, mesh

SAMPLES = REPOSITORY / "samples"
_FILES = (SAMPLES / "bookinfo" / "bookinfo.yaml", SAMPLES / "bookinfo" / "networking.yaml")
_POLL_SECONDS = 0.02
_PATIENCE_SECONDS = 120.0

Json = dict[str, Any]


def measure(warm_runs: int) -> Json:
    """Once with every Python module of the mesh to be compiled, then several times with the result.

    Envoy and the modules' sources are in the page cache in either case.
    """
    with tempfile.TemporaryDirectory(prefix="argosy-bench-") as scratch:
        bytecode = Path(scratch)
        cold = _run(bytecode)
        compiled = sum(1 for _ in bytecode.rglob("*.pyc"))
        runs = [_run(bytecode) for _ in range(warm_runs)]
    return {
        "cold": {**cold, "modules_compiled": compiled},
        "warm": {key: spread([run[key] for run in runs]).json for key in runs[0]},
        "workloads": 7,
    }


def _run(bytecode: Path) -> dict[str, float]:
    with mesh() as inside:
        return _once(inside, bytecode)


def _once(inside: BenchMesh, bytecode: Path) -> dict[str, float]:
    """Seconds. ``bytecode`` is where compiled modules are kept."""
    environment = {**inside.environment, "PYTHONPYCACHEPREFIX": str(bytecode)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    port = _free_port()
    files = [part for path in _FILES for part in ("-f", str(path))]
    command = [str(ARGOSY), "up", "--port", str(port), "--images", str(SAMPLES / "images.yaml")]
    log = inside.scratch / "up.log"
    with log.open("wb") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            [*command, *files], env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            found = _wait(process, port, log, start)
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    return found


def _wait(
    process: "subprocess.Popen[bytes]", port: int, log: Path, start: float
) -> dict[str, float]:
    found: dict[str, float] = {}
    while len(found) < 3:
        if process.poll() is not None or time.perf_counter() - start > _PATIENCE_SECONDS:
            raise CommandError(f"argosy up did not come so far: {found}\n{log.read_text()}")
        if "complete" not in found:
            status, body = _get(port)
            now = time.perf_counter() - start
            if status == 200:
                found.setdefault("first_200", now)
                if b"unavailable" not in body:
                    found["complete"] = now
        if "ready" not in found and b"Ctrl-C" in log.read_bytes():
            found["ready"] = time.perf_counter() - start
        time.sleep(_POLL_SECONDS)
    return found


def _get(port: int) -> tuple[int, bytes]:
    """Status 0: no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/productpage")
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
