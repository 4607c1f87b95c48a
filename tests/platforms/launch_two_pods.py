"""Run by test_launcher, perhaps as another user: launches a mesh of ``two_pods`` and waits."""

import json
import sys
import time
from pathlib import Path

from argosy.platforms.local.launcher import LaunchError, LaunchOptions, launch
from argosy.platforms.local.state import AlreadyRunningError, MeshDirectory
from argosy.platforms.local.supervisor import ChildSpec


def main() -> None:
    name, facts, what = sys.argv[1:]
    directory = MeshDirectory.of(name)
    script = Path(__file__).with_name("two_pods.py")
    ready = str(directory.node_socket)
    child = ChildSpec(
        name="pods",
        argv=(sys.executable, str(script), facts, ready),
        log=str(directory.node_log),
        ready_socket=ready,
    )
    detach = what == "detach"
    try:
        mesh = launch(LaunchOptions(mesh=name, children=(child,), seconds=30, detach=detach))
    except (LaunchError, AlreadyRunningError) as error:
        sys.exit(str(error))
    record = directory.read_record()
    assert record is not None
    sys.stdout.write(json.dumps({"mode": record.mode, "pid": mesh.process.pid}) + "\n")
    sys.stdout.flush()
    if what == "wait":
        time.sleep(1000)
    elif what == "stop":
        mesh.stop()


if __name__ == "__main__":
    main()
