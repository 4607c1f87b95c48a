"""``argosy admin``: the control plane itself, what it counts and how much it logs."""

import sys
from typing import Annotated

import typer

from argosy.base import log as logs
from argosy.cli.client import ApiClient, CliError
from argosy.cli.options import MeshOption

app = typer.Typer(
    name="admin", help="The control plane: what it counts, how much it logs.", no_args_is_help=True
)
_LEVELS = "/apis/argosy.dev/v1alpha1/logging"


@app.command()
def metrics(mesh: MeshOption = "default") -> None:
    """What the control plane counts, in Prometheus' text format and under Istio's names."""
    with ApiClient(mesh) as client:
        sys.stdout.write(client.content("/metrics").decode())


@app.command()
def log(
    level: Annotated[
        str | None,
        typer.Option(
            "--level",
            help="debug, info, warning, error or none; of one scope: xds:debug,default:info.",
        ),
    ] = None,
    mesh: MeshOption = "default",
) -> None:
    """The levels of the control plane's log, by scope; --level sets them while it runs.

    A scope is how an event's name begins: xds, certificate, jwks, store ... Scopes that are not
    named follow "default". After a restart they are what they were at the start.
    """
    with ApiClient(mesh) as client:
        if level is None:
            found = client.get(_LEVELS)
        else:
            try:
                wanted = logs.parse_levels(level)
            except logs.LevelError as error:
                raise CliError(str(error), code=2) from error
            found = client.call("PUT", _LEVELS, body={"levels": wanted}, repeatable=True)
    sys.stdout.write("".join(f"{scope}: {now}\n" for scope, now in found["levels"].items()))
