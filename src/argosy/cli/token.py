"""``argosy token``: who else may use the mesh's API, and what they may do."""

from enum import StrEnum
from typing import Annotated

import typer
from rich.markup import escape

from argosy.cli.client import ApiClient
from argosy.cli.durations import DAY, seconds_of
from argosy.cli.options import MeshOption, OutputOption
from argosy.cli.output import Format, err, out, show_json, show_table, show_yaml

PATH = "/apis/argosy.dev/v1alpha1/tokens"
_LONGEST = 366 * DAY

app = typer.Typer(help="Give others access to the mesh, and take it back.", no_args_is_help=True)


class TokenRole(StrEnum):
    VIEW = "view"
    EDIT = "edit"
    ADMIN = "admin"


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="For whom or what it is.")],
    role: Annotated[TokenRole, typer.Option("--role", help="What its holder may do.")],
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Only there; without it in the whole mesh.")
    ] = "",
    expires: Annotated[
        str, typer.Option("--expires", help="For how long: 30m, 8h, 90d; at most 366d.")
    ] = "8h",
    mesh: MeshOption = "default",
) -> None:
    """Make a token and print it. It is not kept, and shown this once."""
    seconds = int(seconds_of(expires, "--expires", _LONGEST))
    body = {
        "name": name,
        "role": role.value,
        "namespace": namespace,
        "expirationSeconds": seconds,
    }
    with ApiClient(mesh) as client:
        made = client.call("POST", PATH, body=body)
    typer.echo(made["token"])
    where = f"in namespace {namespace}" if namespace else "in the whole mesh"
    err.print(f"{escape(name)}: role {role.value} {escape(where)}, until {made['expires']}")


@app.command("list")
def list_(output: OutputOption = Format.TABLE, mesh: MeshOption = "default") -> None:
    """Show the tokens that are in force."""
    with ApiClient(mesh) as client:
        found = client.get(PATH)
    items = found["items"]
    if output is Format.JSON:
        show_json(found)
    elif output is Format.YAML:
        show_yaml(found)
    elif output is Format.NAME:
        for item in items:
            out.print(escape(item["name"]))
    else:
        rows = [
            (item["name"], item["role"], item["namespace"] or "*", item["created"], item["expires"])
            for item in items
        ]
        if not show_table(("NAME", "ROLE", "NAMESPACE", "CREATED", "EXPIRES"), rows):
            err.print("There are no tokens but the owner's.")


@app.command()
def revoke(
    names: Annotated[list[str], typer.Argument(help="The tokens' names.")],
    mesh: MeshOption = "default",
) -> None:
    """End tokens at once."""
    with ApiClient(mesh) as client:
        for name in names:
            client.call("DELETE", f"{PATH}/{name}")
            out.print(f"token {escape(name)} is revoked")
