"""``argosy describe``: one object, what it means for the mesh, and what is wrong with it."""

import textwrap
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from argosy.api.yaml_output import as_yaml
from argosy.cli.client import ApiClient, Json, name_of, namespace_of
from argosy.cli.description import Description, Table, pairs, path_of
from argosy.cli.get import ObjectsArgument, fetch
from argosy.cli.kinds import Kind, wanted
from argosy.cli.options import AllNamespacesOption, MeshOption, NamespaceOption, SelectorOption
from argosy.cli.output import (
    age,
    code_of,
    err,
    out,
    severity_of,
    show_facts,
    show_table,
    style_of,
)

if TYPE_CHECKING:
    from argosy.cli.snapshot import Snapshot

_WITHOUT_SPEC = frozenset({"Pod", "Deployment", "StatefulSet", "Service"})
"""Kinds of which everything that matters here is said in words."""


def describe(
    objects: ObjectsArgument,
    selector: SelectorOption = "",
    all_namespaces: AllNamespacesOption = False,
    namespace: NamespaceOption = "default",
    mesh: MeshOption = "default",
) -> None:
    """Show what an object means for the mesh, and what is wrong with it.

    For pods, deployments and services: what leads there, which rules hold, what is accepted.
    """
    from argosy.cli.snapshot import Snapshot

    with ApiClient(mesh) as client:
        found = [
            (item.kind, one)
            for item in wanted(objects)
            for one in fetch(client, item, None if all_namespaces else namespace, selector)
        ]
        snapshot = Snapshot.read(client)
    for number, (kind, item) in enumerate(found):
        if number:
            typer.echo()
        show(kind, item, snapshot)
    if not found:
        err.print("Nothing found.")


def description(kind: str, item: Json, snapshot: "Snapshot") -> Description:
    """What there is to say of an object of this kind, beside what holds for every object."""
    # Imported here: the compilers are large, and no other command needs them.
    from argosy.cli import (
        describe_rules,
        describe_service,
        describe_telemetry,
        describe_workload,
    )

    match kind:
        case "Pod":
            return describe_workload.pod(item, snapshot)
        case "Deployment" | "StatefulSet":
            return describe_workload.replicated(kind, item, snapshot)
        case "Service":
            return describe_service.service(item, snapshot)
        case "VirtualService":
            return describe_rules.virtual_service(item, snapshot)
        case "DestinationRule":
            return describe_rules.destination_rule(item, snapshot)
        case "Gateway":
            return describe_rules.gateway(item, snapshot)
        case "PeerAuthentication":
            return describe_rules.peer_authentication(item, snapshot)
        case "Telemetry":
            return describe_telemetry.telemetry(item, snapshot)
    return Description()


def show(kind: Kind, item: Json, snapshot: "Snapshot") -> None:
    described = description(kind.kind, item, snapshot)
    out.print(f"[bold]{kind.kind} {escape(path_of(item))}[/]")
    show_facts([*_head(item), *described.facts, *_conditions(kind, item)])
    for table in described.tables:
        _show_table(table)
    _show_problems([*_messages(item), *_findings(kind, item, snapshot)])
    if kind.kind not in _WITHOUT_SPEC:
        _show_content(kind, item)


def _head(item: Json) -> list[tuple[str, str]]:
    metadata = item["metadata"]
    created = metadata.get("creationTimestamp")
    return [
        ("Labels", pairs(metadata.get("labels"), "\n")),
        ("Annotations", pairs(metadata.get("annotations"), "\n")),
        ("Created", f"{created} ({age(created)} ago)" if created else ""),
    ]


def _conditions(kind: Kind, item: Json) -> list[tuple[str, str]]:
    """A pod's are said in one line, its state; what problems say is not said twice."""
    if kind.kind == "Pod":
        return []
    return [
        (c["type"], " ".join((c["status"], _why(c))).strip())
        for c in (item.get("status") or {}).get("conditions", ())
    ]


def _why(condition: Json) -> str:
    reason, message = condition.get("reason") or "", condition.get("message") or ""
    if condition["type"] == "Accepted":
        return (
            message.partition(": ")[0] if reason == "Invalid" else reason.removeprefix("Accepted")
        )
    return "no proxy had to change" if message.startswith("0 of 0 ") else message or reason


def _findings(kind: Kind, item: Json, snapshot: "Snapshot") -> list[Json]:
    """Of kinds without a status that tells: Istio's have one."""
    from argosy.pilot.analyze import codes

    if kind.group.endswith("istio.io"):
        return []
    problems = snapshot.problems(kind.kind, namespace_of(item), name_of(item))
    return [
        {
            "level": problem.severity.value.upper(),
            "field": problem.field,
            "message": problem.message,
            "hint": problem.hint,
            "istioCode": code.id if code else "",
        }
        for problem in problems
        for code in (codes.find(kind.kind, problem.field, problem.code),)
    ]


def _messages(item: Json) -> list[Json]:
    messages: list[Json] = list((item.get("status") or {}).get("validationMessages", ()))
    return messages


def _show_table(table: Table) -> None:
    if not table.rows and not table.empty:
        return
    out.print(f"[bold]{escape(table.title)}:[/]" + ("" if table.rows else f" {table.empty}"))
    show_table([f"  {table.columns[0]}", *table.columns[1:]], _indented(table.rows))


def _indented(rows: tuple[tuple[str, ...], ...]) -> list[list[str]]:
    """Cells may have several lines, which stand below each other."""
    lines = []
    for row in rows:
        cells = [cell.splitlines() or [""] for cell in row]
        for number in range(max(map(len, cells))):
            line = [cell[number] if number < len(cell) else "" for cell in cells]
            lines.append([f"  {line[0]}", *line[1:]])
    return lines


def _show_problems(problems: list[Json]) -> None:
    if not problems:
        return
    out.print("[bold]Problems:[/]")
    for problem in problems:
        severity = severity_of(problem)
        place = ":".join(str(problem[key]) for key in ("file", "line") if problem.get(key))
        parts = [escape(p) for p in (place, problem.get("field"), problem["message"]) if p]
        out.print(f"  [{style_of(severity)}]{severity}:[/] " + ": ".join(parts) + code_of(problem))
        if problem.get("hint"):
            out.print(f"         {escape(problem['hint'])}")


def _show_content(kind: Kind, item: Json) -> None:
    if kind.kind == "Secret":
        data = item.get("data") or {}
        show_facts((key, f"{len(value)} characters of base64") for key, value in data.items())
        return
    for key, title in (("spec", "Spec"), ("data", "Data")):
        if item.get(key) is not None:
            out.print(f"[bold]{title}:[/]")
            typer.echo(textwrap.indent(as_yaml(item[key]), "  "), nl=False)
