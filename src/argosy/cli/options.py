"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from argosy.cli.output import Format

MeshOption = Annotated[
    str, typer.Option("--mesh", envvar="ARGOSY_MESH", help="Which mesh, of several on a machine.")
]
NamespaceOption = Annotated[
    str, typer.Option("--namespace", "-n", envvar="ARGOSY_NAMESPACE", help="The namespace.")
]
AllNamespacesOption = Annotated[
    bool, typer.Option("--all-namespaces", "-A", help="In every namespace.")
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
ImagesOption = Annotated[
    Path | None,
    typer.Option("--images", help="Which command stands in for which container image (YAML)."),
]
