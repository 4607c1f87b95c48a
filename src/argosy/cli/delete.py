"""``argosy delete``: objects in files, or those named."""

from typing import Annotated

import typer
from rich.markup import escape

from argosy.cli import complete
from argosy.cli.apply import SAYINGS, report_distribution, send
from argosy.cli.client import ApiClient, CliError, Json, NotFoundError, name_of, namespace_of
from argosy.cli.get import fetch
from argosy.cli.kinds import Wanted, wanted
from argosy.cli.options import (
    DryRunOption,
    MeshOption,
    NamespaceOption,
    OptionalFilesOption,
    SelectorOption,
    TimeoutOption,
    WaitOption,
)
from argosy.cli.output import err, out, show_error


def delete(
    objects: Annotated[
        list[str] | None,
        typer.Argument(
            help="KIND NAME ... or KIND/NAME ...; KIND alone with -l or --all.",
            metavar="[KIND [NAME]...]",
            autocompletion=complete.objects,
        ),
    ] = None,
    filename: OptionalFilesOption = None,
    selector: SelectorOption = "",
    every: Annotated[
        bool, typer.Option("--all", help="All objects of the kind in the namespace.")
    ] = False,
    ignore_not_found: Annotated[
        bool, typer.Option("--ignore-not-found", help="What is not there is no error.")
    ] = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = 30.0,
    dry_run: DryRunOption = False,
    namespace: NamespaceOption = "default",
    mesh: MeshOption = "default",
) -> None:
    """Delete objects: those in files, or those named.

    What a file holds and the mesh has not is passed over; a name that is not there is an error.
    """
    if filename and (objects or selector or every):
        raise CliError("either -f FILE or KIND NAME, not both", code=2)
    if filename:
        with ApiClient(mesh) as client:
            code = send(
                client,
                filename,
                namespace=namespace,
                wait=wait,
                timeout=timeout,
                dry_run=dry_run,
                delete=True,
            )
        if code:
            raise typer.Exit(code)
        return
    if not objects:
        raise CliError("say what to delete: -f FILE, or KIND NAME", code=2)
    asked = wanted(objects)
    if not asked[0].name and not (selector or every):
        raise CliError("say which one to delete: KIND NAME, -l LABELS or --all", code=2)
    with ApiClient(mesh) as client:
        if not asked[0].name:
            asked = _all_of(client, asked, namespace, selector)
            if not asked:
                err.print("There is nothing to delete.")
                return
        revision, missing = _delete(client, asked, namespace, dry_run=dry_run)
        if wait and revision and (code := report_distribution(client, revision, timeout)):
            raise typer.Exit(code)
    if missing and not ignore_not_found:
        for error in missing:
            show_error(str(error), error.hint)
        raise typer.Exit(missing[0].code)


def _all_of(client: ApiClient, asked: list[Wanted], namespace: str, selector: str) -> list[Wanted]:
    return [
        Wanted(item.kind, name_of(found))
        for item in asked
        for found in fetch(client, item, namespace, selector)
        if not item.kind.namespaced or namespace_of(found) == namespace
    ]


def _delete(
    client: ApiClient, asked: list[Wanted], namespace: str, *, dry_run: bool
) -> tuple[int, list[NotFoundError]]:
    """The last revision (0 of a dry run), and what was not there."""
    revision = 0
    missing: list[NotFoundError] = []
    params = {"dryRun": "All"} if dry_run else None
    for item in asked:
        path = item.kind.path(namespace, item.name)
        try:
            deleted = client.call("DELETE", path, params=params)
        except NotFoundError as error:
            missing.append(error)
            continue
        if not dry_run:
            revision = max(revision, _revision_of(deleted))
        suffix = " (dry run)" if dry_run else ""
        out.print(f"{item.kind.singular}/{escape(item.name)} {SAYINGS['deleted']}{suffix}")
    return revision, missing


def _revision_of(answer: Json) -> int:
    return int(answer.get("metadata", {}).get("resourceVersion") or 0)
