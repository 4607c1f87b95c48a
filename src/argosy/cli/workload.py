"""``argosy exec`` and ``argosy logs``: into one workload."""

import os
import time
from collections import deque
from pathlib import Path
from typing import Annotated

import typer

from argosy.cli.client import ApiClient, CliError, find_pod, name_of, namespace_of
from argosy.cli.options import MeshOption, NamespaceOption
from argosy.platforms.local.exec import ExecError, run

TargetArgument = Annotated[
    str, typer.Argument(help="deploy/NAME, pod NAME or NAME.NAMESPACE.", metavar="WORKLOAD")
]
ContainerOption = Annotated[
    str | None, typer.Option("--container", "-c", help="The container; istio-proxy is Envoy.")
]


def exec_(
    target: TargetArgument,
    command: Annotated[list[str], typer.Argument(help="The command and its arguments.")],
    container: ContainerOption = None,
    namespace: NamespaceOption = "default",
    mesh: MeshOption = "default",
) -> None:
    """Run a command where a workload runs: its network, names, environment and files.

    Its standard streams are those of this command, and so is its exit code.
    """
    if command and command[0] == "--":
        command = command[1:]
    if not command:
        raise CliError("say which command: argosy exec WORKLOAD -- COMMAND", code=2)
    with ApiClient(mesh) as client:
        pod = find_pod(client, target, namespace)
        socket = client.directory.exec_socket
        token = client.token
    try:
        code = run(socket, token, namespace_of(pod), name_of(pod), command, container=container)
    except ExecError as error:
        raise CliError(str(error)) from error
    raise typer.Exit(code)


def logs(
    target: TargetArgument,
    container: ContainerOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines come.")] = False,
    tail: Annotated[int, typer.Option("--tail", help="Only so many last lines.")] = -1,
    namespace: NamespaceOption = "default",
    mesh: MeshOption = "default",
) -> None:
    """Show what a workload, or its proxy (-c istio-proxy), has written."""
    with ApiClient(mesh) as client:
        pod = find_pod(client, target, namespace)
        directory = client.directory.pod(namespace_of(pod), name_of(pod)) / "logs"
    containers = [c["name"] for c in pod["spec"]["containers"]]
    name = container or containers[0]
    path = directory / ("envoy.log" if name == "istio-proxy" else f"{name}.log")
    if not path.exists():
        known = sorted({*containers, "istio-proxy"})
        raise CliError(f"no log of container {name!r} yet", f"Containers: {', '.join(known)}")
    try:
        _show(path, follow=follow, tail=tail)
    except KeyboardInterrupt:
        return


def _show(path: Path, *, follow: bool, tail: int) -> None:
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = file if tail < 0 else deque(file, maxlen=tail)
        for line in lines:
            typer.echo(line, nl=False)
        while follow:
            line = file.readline()
            if line:
                typer.echo(line, nl=False)
            elif _was_rotated(path, file.fileno()):
                return _show(path, follow=True, tail=-1)
            else:
                time.sleep(0.2)
    return None


def _was_rotated(path: Path, fd: int) -> bool:
    try:
        return path.stat().st_ino != os.fstat(fd).st_ino
    except FileNotFoundError:
        return False
