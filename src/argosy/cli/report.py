"""``argosy report``: whether the mesh keeps what it promises, with a score for each namespace."""

import json
import re
from collections.abc import Sequence
from enum import StrEnum
from itertools import groupby
from typing import Annotated

import typer
from rich.markup import escape

from argosy.cli.client import ApiClient, CliError
from argosy.cli.durations import seconds_of
from argosy.cli.mesh_facts import gather
from argosy.cli.options import MeshOption
from argosy.cli.output import err, out, outlive_readers, show_table
from argosy.cli.snapshot import Snapshot
from argosy.mixer.report import documents
from argosy.mixer.report.findings import Found, Rule, Severity, by_rule
from argosy.mixer.report.measured import Share
from argosy.mixer.report.page import page
from argosy.mixer.report.report import Report
from argosy.mixer.report.report import report as make_report

FAILED = 79
"""The exit code of a mesh that is worse than --fail-on; ``argosy analyze`` has the same."""

_SCORE = re.compile(r"score\s*<\s*(\d{1,3})")
_STYLES = {
    Severity.CRITICAL: "bold red",
    Severity.HIGH: "red",
    Severity.MEDIUM: "yellow",
    Severity.LOW: "cyan",
    Severity.INFO: "dim",
}


class ReportFormat(StrEnum):
    TEXT = "text"
    JSON = "json"
    HTML = "html"
    SARIF = "sarif"


def report(
    namespace: Annotated[
        str,
        typer.Option(
            "--namespace", "-n", envvar="ARGOSY_NAMESPACE", help="Of one namespace; without: all."
        ),
    ] = "",
    output: Annotated[
        ReportFormat, typer.Option("--output", "-o", help="How to show it.")
    ] = ReportFormat.TEXT,
    fail_on: Annotated[
        str,
        typer.Option(
            "--fail-on",
            help="Exit with 79 for a finding of this severity or a graver one (critical, high, "
            "medium, low, info), or for a score: 'score<90'.",
        ),
    ] = "",
    since: Annotated[
        str, typer.Option("--since", help="The traffic of the last 30m, 6h ...; a day at most.")
    ] = "1h",
    mesh: MeshOption = "default",
) -> None:
    """Check the running mesh and its configuration: encryption, permissions, certificates, exits.

    Each finding says why it matters and what to do. Works without Mixer too, and says what then could
    not be measured.
    """
    condition = Condition(fail_on)
    seconds = seconds_of(since, "--since")
    with ApiClient(mesh) as client:
        snapshot = Snapshot.read(client)
        found = make_report(gather(client, snapshot, seconds), namespace)
    outlive_readers()
    match output:
        case ReportFormat.JSON:
            typer.echo(json.dumps(documents.as_json(found), indent=2))
        case ReportFormat.SARIF:
            typer.echo(json.dumps(documents.as_sarif(found), indent=2))
        case ReportFormat.HTML:
            typer.echo(page(found), nl=False)
        case ReportFormat.TEXT:
            _show(found)
    why = condition.failed_by(found)
    if why:
        err.print(f"[red]Error:[/] {escape(why)}")
        raise typer.Exit(FAILED)


class Condition:
    """What ``--fail-on`` says. Raises CliError for what it cannot mean."""

    def __init__(self, text: str) -> None:
        self._severity: Severity | None = None
        self._score = 0
        if not text:
            return
        score = _SCORE.fullmatch(text.strip())
        if score:
            self._score = int(score[1])
            return
        try:
            self._severity = Severity(text.strip().lower())
        except ValueError:
            known = ", ".join(one.value for one in Severity)
            raise CliError(
                f"--fail-on {text!r} is neither a severity nor score<N",
                f"Severities: {known}",
                code=2,
            ) from None

    def failed_by(self, found: Report) -> str:
        """Why, or nothing."""
        if self._severity is not None:
            bad = [f for f in found.findings if f.finding.severity.is_at_least(self._severity)]
            if bad:
                return f"{len(bad)} findings are {self._severity.value} or graver"
        low = [one for one in found.namespaces if one.score < self._score]
        if found.score < self._score:
            return f"the score is {found.score}, less than {self._score}"
        if low:
            names = ", ".join(f"{one.namespace or 'the whole mesh'} {one.score}" for one in low)
            return f"scores less than {self._score}: {names}"
        return ""


def _show(found: Report) -> None:
    out.print(f"Score: [bold]{found.score}[/] of 100, {found.checked} checks")
    out.print(f"Traffic with mutual TLS: {_share(found.mutual_tls)}")
    out.print()
    rows = [
        (
            one.namespace or "(whole mesh)",
            str(one.score),
            _share(one.mutual_tls, short=True),
            *(str(one.count(severity) or "-") for severity in Severity),
        )
        for one in found.namespaces
    ]
    severities = [severity.value.upper() for severity in Severity]
    show_table(("NAMESPACE", "SCORE", "MTLS", *severities), rows)
    for rule, members in by_rule(found.findings):
        _show_rule(rule, members)
    if found.unmeasured:
        out.print("\nNot measured:")
        for what in found.unmeasured:
            out.print(f"  {escape(what)}")


def _show_rule(rule: Rule, members: Sequence[Found]) -> None:
    """What is wrong, then once for those that have it in common why it matters and what to do."""
    out.print(f"\n[bold]{escape(rule.title)}[/] \\[{rule.id}]")
    for remedy, alike in groupby(members, key=lambda one: one.finding.remedy):
        for one in alike:
            finding = one.finding
            style = _STYLES[finding.severity]
            place = f" ({finding.place})" if finding.place.file else ""
            out.print(
                f"  [{style}]{finding.severity.value:8}[/] {escape(one.object)}{escape(place)}: "
                f"{escape(finding.message)}"
            )
        out.print(f"    → {escape(remedy)}")
    out.print(f"    [dim]{escape(rule.why)}[/]")


def _share(share: Share | None, *, short: bool = False) -> str:
    if share is None:
        return "-" if short else "not measured"
    counts = "" if short else f" ({share.mutual_tls} of {share.total})"
    return f"{share.percent:g} %{counts}"
