"""``argosy exec``: a command where a workload runs."""

import os
from typing import Annotated

import typer
from typer.core import TyperCommand

from argosy.cli.client import ApiClient, CliError, find_pod, name_of, namespace_of
from argosy.cli.options import ContainerOption, MeshOption, NamespaceOption, WorkloadArgument


class ExecCommand(TyperCommand):
    """Options may follow the workload up to ``--``; without one, all behind it is the command."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]  # typer's own copy of click has no public type
        ctx.allow_interspersed_args = "--" in args
        return super().parse_args(ctx, args)


def exec_(
    target: WorkloadArgument,
    command: Annotated[
        list[str] | None,
        typer.Argument(help="The command and its arguments.", metavar="-- COMMAND [ARGUMENT]..."),
    ] = None,
    container: ContainerOption = None,
    stdin: Annotated[bool, typer.Option("--stdin", "-i", help="Always so.", hidden=True)] = False,
    tty: Annotated[
        bool, typer.Option("--tty", "-t", help="Always so on a terminal.", hidden=True)
    ] = False,
    namespace: NamespaceOption = "default",
    mesh: MeshOption = "default",
) -> None:
    """Run a command where a workload runs: its network, names, environment and files.

    argosy exec deploy/curl -- curl -s http://reviews:9080/ has this command's standard streams,
    and its exit code. On a terminal the command gets one of its own: argosy exec deploy/curl -- sh
    """
    from argosy.platforms.local.exec import ExecError, run

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
    except OSError as error:
        raise CliError(f"the command could not be run: {os.strerror(error.errno or 0)}") from error
    raise typer.Exit(code)


COMMAND = ExecCommand
