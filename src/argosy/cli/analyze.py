"""``argosy analyze``: what is wrong in files, in a running mesh, or in the mesh that files would make.

All is computed here, in this process: the control plane only hands out what it holds.
"""

import gc
import json
import os
import sys
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import resources
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from argosy.api.yaml_output import as_yaml
from argosy.cli.client import ApiClient, CliError, Json
from argosy.cli.options import AllNamespacesOption, MeshOption, NamespaceOption
from argosy.cli.output import Outlet, err, out, show_error, show_problem

if TYPE_CHECKING:
    from argosy.api.meta import Object
    from argosy.base.names import ObjectKey
    from argosy.pilot.analyze.messages import Message, Suppression
    from argosy.sources.files import Reading

FOUND = 79
"""The exit code when something as bad as ``--failure-threshold`` was found: istioctl's."""

_HELP_PAGE = "docs/reference/analysis-messages.md"
_STYLES = {"Error": "red", "Warning": "yellow", "Info": "cyan"}


class Output(StrEnum):
    LOG = "log"
    JSON = "json"
    YAML = "yaml"


class Level(StrEnum):
    INFO = "Info"
    WARNING = "Warning"
    ERROR = "Error"


FilesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[FILE|DIRECTORY|-]...",
        help="Files, directories or standard input that would be applied. None: the mesh as it is.",
    ),
]


@dataclass(slots=True)
class Input:
    """What is analyzed: the mesh that is there, and the objects of files over it."""

    base: "tuple[Object, ...]" = ()
    added: "tuple[Object, ...]" = ()
    messages: "list[Message]" = field(default_factory=list)
    """What was found while the files were read."""

    runs: bool = True
    facts: "Mapping[Hashable, object]" = field(default_factory=dict)
    """What no object says of the running mesh: cells of the engine."""

    files: tuple[str, ...] = ()
    unreadable: bool = False


def analyze(
    files: FilesArgument = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-R", help="Directories with their subdirectories.")
    ] = False,
    use_mesh: Annotated[
        bool,
        typer.Option(
            "--use-mesh/--no-use-mesh",
            "--use-kube/--no-use-kube",
            "-k",
            help="Files over the running mesh, or by themselves.",
        ),
    ] = True,
    all_namespaces: AllNamespacesOption = False,
    failure_threshold: Annotated[
        Level,
        typer.Option(case_sensitive=False, help="The level from which on the exit code is 79."),
    ] = Level.ERROR,
    output_threshold: Annotated[
        Level, typer.Option(case_sensitive=False, help="The level from which on it is shown.")
    ] = Level.INFO,
    output: Annotated[Output, typer.Option("--output", "-o", help="How to show it.")] = Output.LOG,
    suppress: Annotated[
        list[str] | None,
        typer.Option(
            "--suppress",
            "-S",
            help="Leave out a code for an object: IST0103=Pod *.testing. May be repeated.",
        ),
    ] = None,
    alpha: Annotated[
        bool, typer.Option("--alpha", help="Tell annotations of alpha features too.")
    ] = False,
    ignore_unknown: Annotated[
        bool,
        typer.Option("--ignore-unknown", help="Pass over documents and kinds that are not known."),
    ] = False,
    list_analyzers: Annotated[
        bool, typer.Option("--list-analyzers", "-L", help="Show what is looked for, and end.")
    ] = False,
    color: Annotated[
        bool | None, typer.Option("--color/--no-color", help="Colours; on terminals by default.")
    ] = None,
    namespace: NamespaceOption = "default",
    mesh: MeshOption = "default",
) -> None:
    """Find what is wrong in configuration, before or after it is applied.

    Says what is named and not there, contradicts, is never used or will not do what was meant, with
    Istio's codes, and file and line. Exits with 79 when something reached --failure-threshold.
    """
    from argosy.base.problems import Severity
    from argosy.pilot.analyze.messages import in_order, is_at_least

    if list_analyzers:
        _list_analyzers()
        return
    if not use_mesh and not files:
        raise CliError("without a mesh there must be files to analyze", code=2)
    suppressions = _suppressions(suppress or ())
    given = _input(
        files or [], mesh=mesh if use_mesh else None, namespace=namespace, recursive=recursive
    )
    found = in_order(
        message
        for message in _messages(
            given, namespace=None if all_namespaces else namespace, alpha=alpha
        )
        if not any(each.matches(message) for each in suppressions)
        and not (ignore_unknown and _is_unknown(message))
    )
    shown = [m for m in found if is_at_least(m.level, Severity(output_threshold.value))]
    target = "all namespaces" if all_namespaces else f"namespace: {namespace}"
    _show(shown, output, color=color)
    if not shown and not given.unreadable:
        what = ", ".join(given.files) or target
        err.print(f"[green]✔[/] No validation issues found when analyzing {escape(what)}.")
    if any(is_at_least(m.level, Severity(failure_threshold.value)) for m in found):
        show_error(
            f"Analyzers found issues when analyzing {', '.join(given.files) or target}.",
            f"{_HELP_PAGE} tells what the codes mean.",
        )
        raise typer.Exit(FOUND)
    if given.unreadable:
        raise typer.Exit(1)


def _input(paths: Sequence[str], *, mesh: str | None, namespace: str, recursive: bool) -> Input:
    from argosy.api.decode import decode_files
    from argosy.pilot.analyze.messages import schema_message
    from argosy.sources.files import read_paths

    reading: Reading = read_paths(
        paths if recursive else [each for path in paths for each in _directly_in(path)],
        sys.stdin.buffer,
    )
    for unreadable in reading.unreadable:
        show_problem(
            {"file": unreadable.path, "message": unreadable.message, "hint": unreadable.hint}
        )
    decoded = decode_files([(f.path, f.text) for f in reading.files], namespace=namespace)
    base, facts = (default_mesh(), {}) if mesh is None else _live(mesh)
    return Input(
        base=base,
        facts=facts,
        added=decoded.objects,
        runs=mesh is not None,
        messages=[schema_message(problem) for problem in decoded.problems],
        files=tuple(file.path for file in reading.files),
        unreadable=bool(reading.unreadable),
    )


def _directly_in(path: str) -> list[str]:
    """The configuration files of a directory, without its subdirectories; else the path itself."""
    from argosy.sources.files import SUFFIXES

    if path == "-" or not os.path.isdir(path):
        return [path]
    with os.scandir(path) as entries:
        found = sorted(
            entry.path
            for entry in entries
            if entry.name.lower().endswith(SUFFIXES)
            and not entry.name.startswith(".")
            and entry.is_file()
        )
    if not found:
        err.print(f"{path} holds no .yaml, .yml or .json file (-R looks deeper)", markup=False)
    return found


def _live(mesh: str) -> "tuple[tuple[Object, ...], dict[Hashable, object]]":
    from argosy.api.registry import KINDS
    from argosy.store.codec import MsgpackCodec
    from argosy.store.transfer import joined

    with ApiClient(mesh) as client:
        body = client.content("/apis/argosy.dev/v1alpha1/snapshot")
        failing = client.get("/apis/argosy.dev/v1alpha1/status").get("keysFailing", ())
    try:
        objects = joined(body, MsgpackCodec({entry.kind: entry.struct for entry in KINDS}))
    except ValueError as error:
        raise CliError(
            f"the mesh runs another version of argosy: {error}", "Start it anew, or use that one."
        ) from error
    return objects, dict(_failure(one) for one in failing)


def _failure(told: Json) -> "tuple[Hashable, object]":
    """The cell of keys, or of a bundle, that the control plane could not fetch."""
    from argosy.model.request_authn import KeySource
    from argosy.pilot.compile.request_authn import KeysFailure
    from argosy.pilot.graph.request_authn import FetchFailure

    source = KeySource(told.pop("url"), told.pop("discovery"), told.pop("bundle", False))
    return FetchFailure(source), KeysFailure(**told)


def default_mesh() -> "tuple[Object, ...]":
    """What every mesh has: its first namespaces, and the ingress gateway of ``argosy up``."""
    from argosy.api.core import Namespace
    from argosy.api.decode import decode_yaml
    from argosy.api.meta import Metadata

    text = (resources.files("argosy.platforms.local") / "ingress_gateway.yaml").read_text()
    gateway = decode_yaml(text, "").objects
    return (Namespace(metadata=Metadata(name="default")), *gateway)


def _messages(given: Input, *, namespace: str | None, alpha: bool) -> "list[Message]":
    """Of the objects of the namespace (None: of all), of those without one, and of the files'."""
    from argosy.pilot.analyze.messages import message
    from argosy.pilot.analyze.trial import TrialMesh

    added = {value.key for value in given.added}
    # Nothing that is made here becomes garbage before the end, and looking for it takes as long
    # again in a large mesh.
    gc.disable()
    try:
        trial = TrialMesh(given.base, given.added, runs=given.runs, facts=given.facts)
        keys: list[ObjectKey] = [
            value.key
            for value in trial.objects
            if value.key in added or namespace is None or value.key.namespace in ("", namespace)
        ]
        found = trial.analyze(keys, alpha=alpha)
    finally:
        gc.enable()
    return [*given.messages, *(message(each, trial.written) for each in found)]


def _suppressions(texts: Iterable[str]) -> "list[Suppression]":
    from argosy.pilot.analyze import codes
    from argosy.pilot.analyze.messages import suppression

    found = []
    for text in texts:
        parsed = suppression(text)
        if parsed is None:
            raise CliError(f"{text!r} is not CODE=KIND NAME.NAMESPACE", code=2)
        if parsed.code != "*" and not codes.is_known(parsed.code):
            err.print(f"Warning: {parsed.code} is not a known code, so it suppresses nothing.")
        found.append(parsed)
    return found


def _is_unknown(message: "Message") -> bool:
    """A document that is no object, or an object of a kind that is not read."""
    return message.object is None or message.field in ("kind", "apiVersion")


def _show(messages: "Sequence[Message]", output: Output, *, color: bool | None) -> None:
    if output is Output.JSON:
        sys.stdout.write(json.dumps([m.as_json() for m in messages], indent=2) + "\n")
    elif output is Output.YAML:
        sys.stdout.write(as_yaml([m.as_json() for m in messages]))
    else:
        console = out if color is None else _console(color=color)
        for message in messages:
            level = message.level.value
            rest = escape(str(message).removeprefix(level))
            console.print(f"[{_STYLES[level]}]{level}[/]{rest}")
            if message.hint:
                console.print(f"       {escape(message.hint)}")


def _console(*, color: bool) -> Outlet:
    return Outlet(
        highlight=False,
        soft_wrap=True,
        force_terminal=True if color else None,
        no_color=not color,
        color_system="standard" if color else None,
    )


def _list_analyzers() -> None:
    from argosy.pilot.analyze.analyzers import ANALYZERS, COMPILERS

    rows = sorted([*((a.name, a.description) for a in ANALYZERS), *COMPILERS])
    for name, description in rows:
        sys.stdout.write(f"* {name}:\n    {description}\n")
