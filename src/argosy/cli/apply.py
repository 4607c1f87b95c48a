"""``argosy apply`` and ``argosy delete``: change the mesh, and prove that every proxy has it."""

import sys
from typing import Annotated, Any

import typer
from rich.markup import escape

from argosy.cli.client import ApiClient, CliError, Json
from argosy.cli.kinds import Kind, kind_named
from argosy.cli.options import FilesOption, MeshOption, NamespaceOption, OptionalFilesOption
from argosy.cli.output import err, out, show_problem
from argosy.sources.files import read_paths

_APPLY = "/apis/argosy.dev/v1alpha1/apply"
_DISTRIBUTION = "/apis/argosy.dev/v1alpha1/distribution"
_SAYINGS = {
    "created": "[green]created[/]",
    "configured": "[green]configured[/]",
    "deleted": "[green]deleted[/]",
    "unchanged": "unchanged",
    "invalid": "[red]invalid[/], the last good version stays in force",
}
WaitFlag = Annotated[
    bool, typer.Option("--wait", help="Return when every affected proxy has acknowledged it.")
]
TimeoutFlag = Annotated[float, typer.Option("--timeout", help="Seconds to wait at the most.")]


def apply(
    filename: FilesOption,
    wait: WaitFlag = False,
    timeout: TimeoutFlag = 30.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check only, change nothing.")] = False,
    namespace: NamespaceOption = "default",
    mesh: MeshOption = "default",
) -> None:
    """Create or change the objects in files: all valid ones in one step.

    An invalid object is told with file and line; what it was before stays in force.
    """
    with ApiClient(mesh) as client:
        ok = send(
            client, filename, namespace=namespace, wait=wait, timeout=timeout, dry_run=dry_run
        )
    if not ok:
        raise typer.Exit(1)


def delete(
    kind: Annotated[str | None, typer.Argument(help="The kind, or KIND/NAME.")] = None,
    names: Annotated[list[str] | None, typer.Argument(help="Names of objects.")] = None,
    filename: OptionalFilesOption = None,
    wait: WaitFlag = False,
    timeout: TimeoutFlag = 30.0,
    namespace: NamespaceOption = "default",
    mesh: MeshOption = "default",
) -> None:
    """Delete objects: those in files, or those named."""
    with ApiClient(mesh) as client:
        if filename:
            ok = send(
                client, filename, namespace=namespace, wait=wait, timeout=timeout, delete=True
            )
            if not ok:
                raise typer.Exit(1)
            return
        if kind is None:
            raise CliError("say what to delete: -f FILE, or KIND NAME", code=2)
        kind_name, _, one = kind.partition("/")
        wanted = [*([one] if one else []), *(names or [])]
        if not wanted:
            raise CliError("say which one to delete: KIND NAME", code=2)
        found = kind_named(client, kind_name)
        revision = 0
        for name in wanted:
            deleted = client.call("DELETE", found.path(namespace, name))
            revision = max(revision, _revision_of(deleted))
            out.print(f"{_lower(found)}/{escape(name)} {_SAYINGS['deleted']}")
        if wait and revision and not report_distribution(client, revision, timeout):
            raise typer.Exit(1)


def send(
    client: ApiClient,
    paths: list[str],
    *,
    namespace: str,
    wait: bool,
    timeout: float,
    dry_run: bool = False,
    delete: bool = False,
) -> bool:
    """Send files, show what became of each object, and wait. Whether all went well."""
    reading = read_paths(paths, sys.stdin.buffer)
    for unreadable in reading.unreadable:
        show_problem(
            {"file": unreadable.path, "message": unreadable.message, "hint": unreadable.hint}
        )
    if not reading.files and reading.unreadable:
        return False
    files = [{"path": file.path, "text": file.text} for file in reading.files]
    body: dict[str, Any] = {
        "files": files,
        "dryRun": dry_run,
        "delete": delete,
        "namespace": namespace,
    }
    answer = client.call("POST", _APPLY, body=body, seconds=120.0)
    ok = show_results(answer, dry_run=dry_run) and not reading.unreadable
    if wait and not dry_run and answer.get("revision"):
        ok = report_distribution(client, int(answer["revision"]), timeout) and ok
    return ok


def show_results(answer: Json, *, dry_run: bool = False) -> bool:
    """Each object's fate to stdout, each problem to stderr. Whether there was no error."""
    suffix = " (dry run)" if dry_run else ""
    results = answer.get("results", [])
    for result in results:
        saying = _SAYINGS.get(result["action"], result["action"])
        kind = str(result["kind"]).lower()
        out.print(f"{kind}/{escape(result['name'])} {saying}{suffix}")
    problems = [
        {"kind": r["kind"], "namespace": r.get("namespace"), "name": r["name"], **p}
        for r in results
        for p in r.get("problems", ())
    ]
    problems += answer.get("problems", [])
    for problem in problems:
        show_problem(problem)
    if not results and not problems:
        err.print("There is no object in the input.")
        return False
    return not any((p.get("severity") or "Error") == "Error" for p in problems)


def report_distribution(client: ApiClient, revision: int, timeout: float) -> bool:
    """Wait until the proxies that this revision touches have answered; say how it went."""
    answer = client.call(
        "GET",
        _DISTRIBUTION,
        params={"revision": str(revision), "timeoutSeconds": str(timeout)},
        seconds=timeout + 10.0,
    )
    touched, acknowledged = answer["touched"], answer["acknowledged"]
    if not touched:
        out.print("no proxy is affected")
        return True
    proxies = "proxy" if touched == 1 else "proxies"
    took = f"{answer['milliseconds']} ms"
    line = f"{acknowledged} of {touched} {proxies} acknowledged in {took}"
    out.print(f"[green]{line}[/]" if acknowledged == touched else f"[yellow]{line}[/]")
    for rejection in answer.get("rejected", ()):
        show_rejection(rejection)
    for name in answer.get("pending", ()):
        err.print(f"[yellow]pending:[/] {escape(str(name))} has not answered within {timeout:g} s")
    sys.stdout.flush()
    return bool(acknowledged == touched)


def show_rejection(rejection: Json) -> None:
    """Which proxy refused what, in Envoy's words, and which object and line caused it."""
    err.print(
        f"[red]rejected:[/] {escape(rejection['proxy'])} ({escape(rejection['type'])}): "
        f"{escape(rejection['message'])}"
    )
    for cause in rejection.get("causes", ()):
        place = ":".join(str(cause[key]) for key in ("file", "line") if cause.get(key))
        err.print(f"       caused by {escape(cause['object'])}" + (f" at {place}" if place else ""))


def _revision_of(answer: Json) -> int:
    version = answer.get("metadata", {}).get("resourceVersion") or answer.get("revision") or 0
    return int(version)


def _lower(kind: Kind) -> str:
    return kind.kind.lower()
