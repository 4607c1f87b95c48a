"""Options that several commands share."""

from typing import Annotated

import typer

from argosy.cli import complete
from argosy.cli.client import CliError
from argosy.cli.output import Format

MeshOption = Annotated[
    str,
    typer.Option(
        "--mesh",
        envvar="ARGOSY_MESH",
        help="Which mesh, of several on a machine.",
        autocompletion=complete.meshes,
    ),
]
NamespaceOption = Annotated[
    str,
    typer.Option(
        "--namespace",
        "-n",
        envvar="ARGOSY_NAMESPACE",
        help="The namespace.",
        autocompletion=complete.namespaces,
    ),
]
AllNamespacesOption = Annotated[
    bool, typer.Option("--all-namespaces", "-A", help="In every namespace.")
]
SelectorOption = Annotated[
    str, typer.Option("--selector", "-l", help="Labels: app=reviews,version!=v1.")
]
OutputOption = Annotated[Format, typer.Option("--output", "-o", help="How to show it.")]
FilesOption = Annotated[
    list[str],
    typer.Option(
        "--filename",
        "-f",
        help="A YAML file, a directory of them (with its subdirectories), or - for standard input.",
    ),
]
OptionalFilesOption = Annotated[
    list[str] | None,
    typer.Option("--filename", "-f", help="A YAML file, a directory of them, or -."),
]
TimeoutOption = Annotated[float, typer.Option("--timeout", help="Seconds to wait at the most.")]
WorkloadArgument = Annotated[
    str,
    typer.Argument(
        help="deploy/NAME, svc/NAME, or a pod: NAME or NAME.NAMESPACE.",
        metavar="WORKLOAD",
        autocompletion=complete.workloads,
    ),
]
ContainerOption = Annotated[
    str | None, typer.Option("--container", "-c", help="The container; istio-proxy is Envoy.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Check only, change nothing.")]
WaitOption = Annotated[
    bool, typer.Option("--wait", help="Return when every affected proxy has acknowledged it.")
]


def require_format(chosen: Format, *others: Format) -> None:
    """Refuses what a command cannot show: ``table`` and ``others`` it can. Raises CliError."""
    *known, last = (Format.TABLE, *others)
    if chosen not in (*known, last):
        message = f"-o {chosen} is not for this command: write {', '.join(known)} or {last}"
        raise CliError(message, code=2)
