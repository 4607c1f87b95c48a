"""Runs a test's function inside the namespaces of a mesh, in a process of its own.

``run_inside(function)`` is called by a test; the function, of the same file and without arguments,
runs as pid 1 of fresh namespaces that have the bridge. What it raises fails the test.
"""

import asyncio
import importlib.util
import inspect
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from argosy.platforms.local import isolation, network


def run_inside(function: Callable[..., Any], *arguments: str, seconds: float = 60) -> None:
    file = inspect.getsourcefile(function)
    assert file is not None
    command = [sys.executable, __file__, file, function.__name__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def main() -> int:
    file, name, *arguments = sys.argv[1:]
    isolation.enter_outer()
    pid = os.fork()
    if pid == 0:
        os._exit(_inside(Path(file), name, arguments))
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _inside(file: Path, name: str, arguments: list[str]) -> int:
    try:
        isolation.enter_inner()
        network.create_bridge()
        spec = importlib.util.spec_from_file_location("inside_test", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        result = getattr(module, name)(*arguments)
        if inspect.isawaitable(result):
            asyncio.run(_awaited(result))
    except BaseException:  # noqa: BLE001  (the last frame: it is printed)
        traceback.print_exc()
        sys.stderr.flush()
        return 1
    return 0


async def _awaited(result: Any) -> None:
    await result


if __name__ == "__main__":
    sys.exit(main())
