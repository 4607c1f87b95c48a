"""``argosy apply``: change the mesh, and prove that every proxy has it."""

import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import typer
from rich.markup import escape

from argosy.cli.client import ApiClient, CliError, Json, NotFoundError
from argosy.cli.kinds import kind_named
from argosy.cli.options import (
    DryRunOption,
    FilesOption,
    MeshOption,
    NamespaceOption,
    TimeoutOption,
    WaitOption,
)
from argosy.cli.output import err, out, severity_of, show_error, show_problem
from argosy.sources.files import read_paths

_OURS = "/apis/argosy.dev/v1alpha1"
_PASSING = frozenset({"SubsetSelectsNothing", "NoMatchingWorkloads"})
"""Warnings that a workload which is just being started makes untrue."""

_COMING = "CredentialNotFound"
"""What a Gateway lacks is told when its proxies run, which is sooner or later after this."""

_PASSING_SECONDS = 3.0
_LOOKED_UP = 50
SAYINGS = {
    "created": "[green]created[/]",
    "configured": "[green]configured[/]",
    "deleted": "[green]deleted[/]",
    "unchanged": "unchanged",
    "invalid": "[red]invalid[/], not created",
}
_STANDS = "[red]invalid[/], the last good version stays in force"


def apply(
    filename: FilesOption,
    wait: WaitOption = False,
    timeout: TimeoutOption = 30.0,
    dry_run: DryRunOption = False,
    namespace: NamespaceOption = "default",
    mesh: MeshOption = "default",
) -> None:
    """Create or change the objects in files: all valid ones in one step.

    An invalid object is told with file and line; what it was before stays in force.
    """
    with ApiClient(mesh) as client:
        code = send(
            client, filename, namespace=namespace, wait=wait, timeout=timeout, dry_run=dry_run
        )
    if code:
        raise typer.Exit(code)


def send(
    client: ApiClient,
    paths: list[str],
    *,
    namespace: str,
    wait: bool,
    timeout: float,
    dry_run: bool = False,
    delete: bool = False,
    meanwhile: Callable[[], None] | None = None,
) -> int:
    """Send files, show what became of each object, and wait. The exit code.

    It is 0; 1 for what is wrong; 4 when a proxy did not answer in time and all else went well.
    ``meanwhile`` runs before warnings that starting workloads make untrue are looked at again.
    """
    reading = read_paths(paths, sys.stdin.buffer)
    for unreadable in reading.unreadable:
        show_problem(
            {"file": unreadable.path, "message": unreadable.message, "hint": unreadable.hint}
        )
    if not reading.files:
        if meanwhile:
            meanwhile()
        return 1
    files = [{"path": file.path, "text": file.text} for file in reading.files]
    body: dict[str, Any] = {
        "files": files,
        "dryRun": dry_run,
        "delete": delete,
        "namespace": namespace,
    }
    answer = client.call("POST", f"{_OURS}/apply", body=body, seconds=120.0, repeatable=not delete)
    changes = not (dry_run or delete)
    passing = _take_passing(answer) if changes else []
    awaited = _take_coming(answer) if changes and meanwhile else []
    ok = show_results(answer, client=client, dry_run=dry_run) and not reading.unreadable
    code = 0 if ok else 1
    if wait and not dry_run and answer.get("revision"):
        late = report_distribution(client, int(answer["revision"]), timeout)
        code = code or late
    if meanwhile:
        meanwhile()
    for problem in (*_still_there(client, passing), *_come(client, awaited)):
        show_problem(problem)
    return code


def show_results(answer: Json, *, client: ApiClient | None = None, dry_run: bool = False) -> bool:
    """Each object's fate to stdout, each problem to stderr. Whether there was no error."""
    suffix = " (dry run)" if dry_run else ""
    results = answer.get("results", [])
    looked_up = 0
    for result in results:
        saying = SAYINGS.get(result["action"], result["action"])
        about = f"{str(result['kind']).lower()}/{result['name']}"
        if _is_gone(result):
            err.print(f"{escape(about)} is not there, nothing to delete")
            continue
        if result["action"] == "invalid" and client and looked_up < _LOOKED_UP:
            looked_up += 1
            saying = _STANDS if _exists(client, result) else saying
        out.print(f"{escape(about)} {saying}{suffix}")
    problems = [*_problems_of(results), *answer.get("problems", [])]
    for problem in problems:
        if severity_of(problem) != "Info":  # argosy analyze and describe tell these too
            show_problem(problem)
    wrong = any(severity_of(problem) == "Error" for problem in problems)
    if not results and not wrong:  # as kubectl has it: an error, for it is hardly what was meant
        show_error("there is no object in the input")
        return False
    return not wrong


def report_distribution(client: ApiClient, revision: int, timeout: float) -> int:
    """Wait until the proxies that this revision touches have answered; say how it went.

    The exit code: 0 when all took it, 1 when one refused, 4 when time was up.
    """
    answer = client.call(
        "GET",
        f"{_OURS}/distribution",
        params={"revision": str(revision), "timeoutSeconds": str(timeout)},
        seconds=timeout + 10.0,
    )
    touched, acknowledged = answer["touched"], answer["acknowledged"]
    if not touched:
        connected = client.get(f"{_OURS}/proxies")["items"]
        out.print(
            "no proxy is affected"
            if connected
            else "no proxy is connected: each gets it when it connects"
        )
        return 0
    proxies = "proxy" if touched == 1 else "proxies"
    took = f"{answer['milliseconds']} ms"
    line = f"{acknowledged} of {touched} {proxies} acknowledged in {took}"
    out.print(f"[green]{line}[/]" if acknowledged == touched else f"[yellow]{line}[/]")
    for rejection in answer.get("rejected", ()):
        show_rejection(rejection)
    for name in answer.get("pending", ()):
        err.print(f"[yellow]pending:[/] {escape(str(name))} has not answered within {timeout:g} s")
    sys.stdout.flush()
    if answer.get("rejected"):
        return 1
    return 0 if acknowledged == touched else 4


def show_rejection(rejection: Json) -> None:
    """Which proxy refused what, in Envoy's words, and which object and line caused it."""
    err.print(
        f"[red]rejected:[/] {escape(rejection['proxy'])} ({escape(rejection['type'])}): "
        f"{escape(rejection['message'])}"
    )
    for cause in rejection.get("causes", ()):
        place = ":".join(str(cause[key]) for key in ("file", "line") if cause.get(key))
        err.print(f"       caused by {escape(cause['object'])}" + (f" at {place}" if place else ""))


def _problems_of(results: Iterable[Json]) -> list[Json]:
    return [
        {"kind": r["kind"], "namespace": r.get("namespace"), "name": r["name"], **p}
        for r in results
        if not _is_gone(r)
        for p in r.get("problems", ())
    ]


def _is_gone(result: Json) -> bool:
    """Whether it was to be deleted and is not there."""
    return any(problem.get("code") == "NotFound" for problem in result.get("problems", ()))


def _exists(client: ApiClient, result: Json) -> bool:
    try:
        client.get(kind_named(result["kind"]).path(result.get("namespace"), result["name"]))
    except CliError:
        return False
    return True


def _take_passing(answer: Json) -> list[Json]:
    """Take the passing warnings out of an answer that starts workloads."""
    results: list[Json] = answer.get("results", [])
    if not any(
        r["kind"] in ("Deployment", "StatefulSet", "Pod") and r["action"] == "created"
        for r in results
    ):
        return []
    passing = [p for p in _problems_of(results) if p.get("code") in _PASSING]
    for result in results:
        kept = [p for p in result.get("problems", ()) if p.get("code") not in _PASSING]
        result["problems"] = kept
    return passing


def _take_coming(answer: Json) -> list[tuple[str, str, str]]:
    """The objects of an answer that may lack a credential; the answer tells nothing of it any more."""
    found = []
    for result in answer.get("results", []):
        if result["kind"] not in ("Gateway", "DestinationRule") or result["action"] == "invalid":
            continue
        kept = [p for p in result.get("problems", ()) if p.get("code") != _COMING]
        result["problems"] = kept
        found.append((result["kind"], result.get("namespace") or "", result["name"]))
    return found


def _come(client: ApiClient, awaited: list[tuple[str, str, str]]) -> list[Json]:
    """What they lack now. It may still be made, so it is a warning."""
    return [
        {**message, "severity": "Warning", "kind": kind, "namespace": namespace, "name": name}
        for kind, namespace, name in awaited
        for message in _messages(client, kind, namespace, name)
        if message["type"]["name"] == _COMING
    ]


def _still_there(client: ApiClient, passing: list[Json]) -> list[Json]:
    """Those of the warnings that are still true in a moment."""
    deadline = time.monotonic() + _PASSING_SECONDS
    while passing:
        told = {about: _codes(client, *about) for about in {_about(p) for p in passing}}
        passing = [p for p in passing if (p["code"], p.get("field")) in told[_about(p)]]
        if time.monotonic() >= deadline:
            break
        time.sleep(0.1 if passing else 0)
    return passing


def _about(problem: Json) -> tuple[str, str, str]:
    return problem["kind"], problem.get("namespace") or "", problem["name"]


def _codes(client: ApiClient, kind: str, namespace: str, name: str) -> set[tuple[str, str]]:
    """The problems that the object has now: code and field."""
    messages = _messages(client, kind, namespace, name)
    return {(m["type"]["name"], m.get("field", "")) for m in messages}


def _messages(client: ApiClient, kind: str, namespace: str, name: str) -> list[Json]:
    try:
        item = client.get(kind_named(kind).path(namespace, name))
    except NotFoundError:
        return []
    found: list[Json] = (item.get("status") or {}).get("validationMessages", [])
    return found
