"""``argosy suggest authz``: policies that allow what was seen, and nothing else."""

import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import Progress

from argosy.base.names import Namespace
from argosy.cli.authz import role
from argosy.cli.client import ApiClient, CliError, Json, name_of, namespace_of, owner_of
from argosy.cli.durations import seconds_of
from argosy.cli.mesh_facts import MIXER, recording_of, workloads_of
from argosy.cli.options import AllNamespacesOption, MeshOption, NamespaceOption
from argosy.cli.output import err, out, outlive_readers
from argosy.cli.snapshot import Snapshot
from argosy.mixer.report.facts import Call, Workload
from argosy.mixer.report.policies import moment, policies_yaml
from argosy.mixer.report.proof import Proof, proof
from argosy.mixer.report.suggest import Suggestion, suggestions
from argosy.model.authz import Action, Authorization
from argosy.pilot.compile import endpoints

app = typer.Typer(help="Rules made from what was seen.", no_args_is_help=True)

BROKEN = 1
"""The exit code of a dry run that finds calls which would be denied."""

_LISTED = 20


@app.callback()
def of_what_was_seen() -> None:
    """Rules made from what was seen."""


class SuggestFormat(StrEnum):
    YAML = "yaml"
    JSON = "json"


@app.command("authz")
def authz(
    record: Annotated[
        str,
        typer.Option(
            "--record", help="First record what happens, for 60s, 10m, 2h ..., a day at most."
        ),
    ] = "",
    window: Annotated[
        str, typer.Option("--window", help="What was seen in the last 30m, 6h ..., a day at most.")
    ] = "24h",
    include_plaintext: Annotated[
        bool,
        typer.Option(
            "--include-plaintext", help="Callers without identity keep what they did, too."
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Write no policy: judge by them what was seen, and what was not."
        ),
    ] = False,
    output: Annotated[
        SuggestFormat, typer.Option("--output", "-o", help="How to write it.")
    ] = SuggestFormat.YAML,
    all_namespaces: AllNamespacesOption = False,
    namespace: NamespaceOption = "default",
    mesh: MeshOption = "default",
) -> None:
    """Write the tightest AuthorizationPolicies that allow what was seen in a recording.

    One for each workload, with what it rests on in comments: who calls, at which port, with which
    methods and paths. Needs a recording: --record makes one, and returns when it ends. --dry-run exits
    with 1 when something that was seen would be denied.
    """
    where = "" if all_namespaces else namespace
    seconds = seconds_of(window, "--window")
    with ApiClient(mesh) as client:
        if record:
            _record(client, where, seconds_of(record, "--record"))
        recording, calls = recording_of(client, where)
        if recording is None:
            raise CliError(
                "nothing was recorded yet",
                "Record while the mesh does all that it should: argosy suggest authz --record 60s",
            )
        snapshot = Snapshot.read(client)
    outlive_readers()
    since = time.time() - seconds
    calls = tuple(one for one in calls if one.last >= since)
    workloads, root = workloads_of(snapshot), snapshot.root_namespace
    found = suggestions(
        [
            one
            for one in workloads
            if one.namespace == where or (not where and one.namespace != root)
        ],
        calls,
        plaintext=include_plaintext,
    )
    _warn(found, recording)
    if dry_run:
        _prove(snapshot, workloads, found, calls)
    elif output is SuggestFormat.JSON:
        items = [one.policy for one in found]
        sys.stdout.write(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=2))
        sys.stdout.write("\n")
    else:
        gateways = [one for one in workloads if one.gateway]
        sys.stdout.write(policies_yaml(found, gateways, _about(recording, calls, where)))


def _record(client: ApiClient, namespace: str, seconds: float) -> None:
    """Switches the recording on, and waits for its end with a bar on a terminal."""
    body = {"namespace": namespace, "seconds": seconds}
    client.call("POST", f"{MIXER}/records/record", body=body)
    err.print(f"Recording for {seconds:g} s: let the mesh do all that it should.", style="dim")
    end = time.monotonic() + seconds
    with Progress(console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("Recording", total=seconds)
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.5))
            bar.update(task, completed=seconds - left)
    # Envoys send what they have each second.
    time.sleep(_FLUSH_SECONDS)


_FLUSH_SECONDS = 1.5


def _about(recording: Json, calls: Sequence[Call], namespace: str) -> list[str]:
    where = f"namespace {namespace}" if namespace else "the mesh"
    total = sum(one.count for one in calls)
    began, ends = recording["began"], min(recording["ends"], time.time())
    return [
        f"What {where} was seen to do: {total} calls, recorded from {moment(began)} to {moment(ends)}.",
        f"Written {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}. Whatever is not named here is denied: what "
        "happens rarely may be missing.",
        "Try it before: argosy suggest authz --dry-run, or the annotation istio.io/dry-run.",
    ]


def _warn(found: Sequence[Suggestion], recording: Json) -> None:
    if not recording["complete"]:
        err.print(
            "[yellow]Warning:[/] the recording is not complete: a share only was counted, or there "
            "was too much"
        )
    if recording["active"]:
        err.print("[yellow]Warning:[/] the recording goes on; this is what it has seen by now")
    for one in found:
        broad = [
            policy.object.name
            for policy in one.workload.policies
            if policy.action is Action.ALLOW
            and not policy.dry_run
            and policy.object.name != one.name
        ]
        if broad:
            err.print(
                f"[yellow]Warning:[/] {escape(one.workload.title)} keeps what "
                f"{escape(', '.join(broad))} allow: delete them when they are not needed"
            )


def _prove(
    snapshot: Snapshot,
    workloads: Sequence[Workload],
    found: Sequence[Suggestion],
    calls: Sequence[Call],
) -> None:
    """Raises typer.Exit when a call that went through would be denied."""
    after = snapshot.with_items(one.policy for one in found)
    pods = {(namespace_of(p), owner_of(p)[1] or name_of(p)): p for p in snapshot.all("Pod")}

    def authorization(workload: Workload) -> Authorization:
        return after.authorization(role(pods[workload.namespace, workload.name]))

    callers = {
        endpoints.identity(snapshot.trust_domain, Namespace(one.namespace), one.account)
        for one in workloads
        if one.proxy
    }
    shown = proof([one.workload for one in found], callers, calls, authorization)
    _show(shown)
    if shown.broken:
        raise typer.Exit(BROKEN)


def _show(shown: Proof) -> None:
    total = sum(one.call.count for one in shown.judged)
    out.print(f"{shown.allowed} of {total} calls that were seen would be allowed.")
    for one in shown.broken[:_LISTED]:
        call = one.call
        what = f"{call.method} {call.path}".strip() or "connections"
        who = call.principal or "plaintext"
        out.print(
            f"  [red]denied:[/] {call.count} × {escape(what)} at {call.namespace}/{call.workload}:"
            f"{call.port} from {escape(who)}"
        )
    denied = len(shown.edges) - len(shown.open)
    out.print(f"{denied} of {len(shown.edges)} ways that nobody took would be closed.")
    for edge in shown.open[:_LISTED]:
        target = f"{edge.workload.namespace}/{edge.workload.name}:{edge.port}"
        out.print(
            f"  [yellow]open:[/] {escape(edge.principal)} → {target}, by a policy there was before"
        )
