"""``argosy certs``: who has which certificate, the roots, and their rotation."""

import time
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape

from argosy.cli.client import ApiClient, CliError, Json
from argosy.cli.options import DryRunOption, MeshOption, OutputOption
from argosy.cli.output import (
    Format,
    duration,
    err,
    out,
    show_facts,
    show_json,
    show_table,
    show_yaml,
)

app = typer.Typer(
    help="Show certificates; rotate the root.", invoke_without_command=True, no_args_is_help=False
)

_OURS = "/apis/argosy.dev/v1alpha1/certificates"
_POLL_SECONDS = 0.2
_STYLES = {"error": "red", "warning": "yellow", "notice": "cyan"}


@app.callback()
def certs(
    context: typer.Context, output: OutputOption = Format.TABLE, mesh: MeshOption = "default"
) -> None:
    """Show the certificate of each workload: who it is, who signed, until when, and what is next."""
    if context.invoked_subcommand is not None:
        return
    with ApiClient(mesh) as client:
        overview = client.get(_OURS)
    if output in (Format.JSON, Format.YAML):
        (show_json if output is Format.JSON else show_yaml)(overview)
        return
    if output is Format.NAME:
        for one in overview["workloads"]:
            typer.echo(_workload(one["report"]))
        return
    wide = output is Format.WIDE
    columns = ["WORKLOAD", "IDENTITY", "ISSUER", "SERIAL", "EXPIRES", "NEXT RENEWAL"]
    if wide:
        columns += ["ROOT", "NOT BEFORE", "NOT AFTER", "PROVEN", "LAST FAILURE"]
    rows = [_row(one, wide=wide) for one in overview["workloads"]]
    if not show_table(columns, rows):
        err.print("No workload has a certificate.")
    show_warnings(overview)


@app.command()
def root(output: OutputOption = Format.TABLE, mesh: MeshOption = "default") -> None:
    """Show whom the mesh trusts, and who signs. ``-o name`` prints the roots as PEM."""
    with ApiClient(mesh) as client:
        overview = client.get(_OURS)
    if output in (Format.JSON, Format.YAML):
        shown = {key: value for key, value in overview.items() if key != "workloads"}
        (show_json if output is Format.JSON else show_yaml)(shown)
        return
    if output is Format.NAME:
        typer.echo(overview["roots"], nl=False)
        return
    aliases = ", ".join(overview["trustDomainAliases"])
    show_facts(
        [
            ("Trust domain", overview["trustDomain"] + (f" (also {aliases})" if aliases else "")),
            ("Authority", "plugged in" if overview["plugged"] else "made by the mesh"),
            ("Revocation lists", "yes" if overview["revocations"] else "none"),
            ("Certificate service", overview["address"]),
        ]
    )
    typer.echo()
    columns = ["AUTHORITY", "ROLE", "SERIAL", "EXPIRES", "SHA-256"]
    rows = [
        [
            one["subject"],
            _role(one),
            one["serial"],
            _until(one["notAfter"]),
            one["fingerprint"] if output is Format.WIDE else one["fingerprint"][:16],
        ]
        for one in overview["authorities"]
    ]
    show_table(columns, rows)
    show_warnings(overview)


@app.command("rotate-root")
def rotate_root(
    dry_run: DryRunOption = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Begin none: follow the one that is going on.")
    ] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", help="Seconds to wait for the proxies of one step.")
    ] = 300.0,
    mesh: MeshOption = "default",
) -> None:
    """Replace the mesh's root by a new one, without a failed request.

    First every proxy trusts both roots, then each gets a new certificate, then the old root is
    withdrawn. No step begins before every proxy has proven the one before it. A rotation that
    was interrupted goes on by itself; --watch follows it. Exit code 4: a proxy has not proven a
    step in time (the rotation waits for it).
    """
    with ApiClient(mesh) as client:
        if watch:
            _follow(client, client.get(f"{_OURS}/rotation"), timeout)
            return
        begun = client.call("POST", f"{_OURS}/rotation", body={"dryRun": dry_run})
        if dry_run:
            _show_plan(begun)
            return
        _follow(client, begun, timeout)


def show_warnings(overview: Json) -> None:
    """On stderr, as loud as they are."""
    for warning in overview["warnings"]:
        style = _STYLES.get(warning["level"], "yellow")
        err.print(f"[{style}]{warning['level'].capitalize()}:[/] {escape(warning['message'])}")


def _follow(client: ApiClient, status: Json, timeout: float) -> None:
    """Say each step and each proof once, until it has ended."""
    said: set[tuple[str, str]] = set()
    began = status["began"]
    changed = time.monotonic()
    while True:
        before = len(said)
        for step in status["steps"]:
            _show_step(step, status, said)
        if len(said) != before:
            changed = time.monotonic()
        if not status["active"]:
            out.print(f"The root is {escape(status['old'])}, and no proxy trusts another.")
            return
        if time.monotonic() - changed > timeout:
            _give_up(status, timeout)
        time.sleep(_POLL_SECONDS)
        status = client.get(f"{_OURS}/rotation")
        if status["began"] != began and not status["active"]:
            raise CliError("the control plane was started anew; look at argosy certs root")


def _show_step(step: Json, status: Json, said: set[tuple[str, str]]) -> None:
    active = step["step"] == status["step"]
    if not (active or step["done"]):
        return
    if (step["step"], "") not in said:
        said.add((step["step"], ""))
        out.print(f"{_number(step, status)} {escape(step['title'])}")
    for proof in step["proofs"]:
        key = (step["step"], proof["proxy"])
        if not proof["missing"] and key not in said:
            said.add(key)
            serial = f" (serial {proof['serial']})" if proof["serial"] else ""
            out.print(f"    proven: {escape(proof['proxy'])}{serial}")


def _give_up(status: Json, timeout: float) -> None:
    for step in status["steps"]:
        for proof in step["proofs"]:
            if proof["missing"] and step["step"] == status["step"]:
                err.print(f"[yellow]waits for[/] {escape(proof['proxy'])}: {proof['missing']}")
    raise CliError(
        f"not every proxy has proven the step in {timeout:g} s",
        "The rotation waits for them and then goes on by itself; nothing is broken meanwhile. "
        "Mend or remove what is named above; argosy certs rotate-root --watch follows it.",
        code=4,
    )


def _show_plan(status: Json) -> None:
    if status["active"]:
        out.print(f"A rotation is going on: step {status['step'] or 'about to begin'}.")
    out.print(f"The root is {escape(status['old'])}. A rotation would do:")
    for step in status["steps"]:
        out.print(f"{_number(step, status)} {escape(step['title'])}")
    out.print(f"Each step must be proven by {len(status['proxies'])} proxies:")
    for name in status["proxies"]:
        out.print(f"    {escape(name)}")


def _number(step: Json, status: Json) -> str:
    return f"{[one['step'] for one in status['steps']].index(step['step']) + 1}."


def _row(one: Json, *, wide: bool) -> list[str]:
    report = one["report"]
    row = [
        _workload(report),
        report.get("identity") or "-",
        _common_name(one["issuer"]) or report.get("issuer", "")[:16] or "-",
        report.get("serial") or "-",
        _until(report.get("notAfter")),
        _in(report.get("renewAt")),
    ]
    if wide:
        row += [
            _common_name(one["root"]) or "-",
            report.get("notBefore") or "-",
            report.get("notAfter") or "-",
            "yes" if report.get("bundle") and report.get("issuer") else "no",
            report.get("lastFailure") or "-",
        ]
    return row


def _workload(report: Json) -> str:
    return f"{report['pod']}.{report['namespace']}"


def _role(one: Json) -> str:
    role = "root" if one["root"] else "intermediate"
    return f"{role}, signs" if one["signs"] else role


def _common_name(subject: str) -> str:
    """``Argosy root 1a2b3c4d`` of ``CN=Argosy root 1a2b3c4d,O=cluster.local``."""
    for part in subject.split(","):
        if part.startswith("CN="):
            return part.removeprefix("CN=")
    return subject


def _until(timestamp: str | None) -> str:
    if not timestamp:
        return "-"
    left = (datetime.fromisoformat(timestamp) - datetime.now(UTC)).total_seconds()
    return f"in {duration(left)}" if left > 0 else "EXPIRED"


def _in(timestamp: str | None) -> str:
    if not timestamp:
        return "-"
    left = (datetime.fromisoformat(timestamp) - datetime.now(UTC)).total_seconds()
    return f"in {duration(left)}" if left > 0 else "now"
