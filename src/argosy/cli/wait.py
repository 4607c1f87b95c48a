"""``argosy wait``: until objects are as they should be."""

import time
from typing import Annotated

import typer
from rich.markup import escape

from argosy.cli import complete
from argosy.cli.client import ApiClient, CliError, Json, NotFoundError, name_of
from argosy.cli.get import fetch
from argosy.cli.kinds import Kind, Wanted, wanted
from argosy.cli.options import (
    AllNamespacesOption,
    MeshOption,
    NamespaceOption,
    SelectorOption,
    TimeoutOption,
)
from argosy.cli.output import err, out

_INTERVAL_SECONDS = 0.2
_READY = "condition=Ready"
_ACCEPTED = "condition=Accepted"
_WORDS = ("available", "create", "delete")


def wait(
    objects: Annotated[
        list[str],
        typer.Argument(
            help="KIND/NAME ... or KIND NAME ...; KIND alone with --all or -l.",
            metavar="KIND [NAME]...",
            autocompletion=complete.objects,
        ),
    ],
    for_: Annotated[
        str,
        typer.Option(
            "--for",
            help="condition=NAME[=VALUE], available, ready, create or delete; without it pods are "
            "to be ready, deployments available, rules accepted, all else created.",
        ),
    ] = "",
    every: Annotated[bool, typer.Option("--all", help="All objects of the kind.")] = False,
    selector: SelectorOption = "",
    timeout: TimeoutOption = 60.0,
    all_namespaces: AllNamespacesOption = False,
    namespace: NamespaceOption = "default",
    mesh: MeshOption = "default",
) -> None:
    """Wait for a condition, for a deployment to be available, or for a deletion."""
    asked = wanted(objects)
    if not (asked[0].name or every or selector):
        raise CliError("say which: KIND/NAME, --all or -l LABELS", code=2)
    deadline = time.monotonic() + timeout
    place = None if all_namespaces else namespace
    with ApiClient(mesh) as client, err.status("waiting ..."):
        for item in asked:
            goal = _goal(for_, item.kind)
            while (missing := _missing(_items(client, item, place, selector), goal)) is not None:
                if time.monotonic() >= deadline:
                    raise CliError(f"{_named(item)} after {timeout:g} s: {missing}", code=4)
                time.sleep(_INTERVAL_SECONDS)
            out.print(f"{escape(_named(item))} {escape(goal)}: met")


def _named(item: Wanted) -> str:
    return f"{item.kind.singular}/{item.name}" if item.name else item.kind.plural


def _goal(for_: str, kind: Kind) -> str:
    """What to wait for, in one spelling; ``available`` is about replicas."""
    if for_ in ("", "ready", _READY) and kind.kind in ("Deployment", "StatefulSet"):
        return "available"
    if not for_ and kind.kind != "Pod":
        return _ACCEPTED if kind.group.endswith("istio.io") else "create"
    goal = _READY if for_ in ("", "ready") else for_
    what = goal.removeprefix("condition=").partition("=")[0]
    if goal not in _WORDS and (not goal.startswith("condition=") or not what):
        known = f"condition=NAME[=VALUE], ready, {', '.join(_WORDS)}"
        raise CliError(f"--for={for_} is not known", f"Use {known}", code=2)
    return goal


def _items(client: ApiClient, item: Wanted, namespace: str | None, selector: str) -> list[Json]:
    try:
        return fetch(client, item, namespace, selector)
    except NotFoundError:
        return []


def _missing(items: list[Json], goal: str) -> str | None:
    """What is not yet so, or None when all is."""
    if goal == "delete":
        return f"{', '.join(map(name_of, items))} still there" if items else None
    if not items:
        return "not found"
    if goal == "create":
        return None
    late = [(name_of(item), why) for item in items if (why := _late(item, goal)) is not None]
    if not late:
        return None
    name, why = late[0]
    if len(items) == 1:
        return why
    return f"{name}: {why}" + (f" (and {len(late) - 1} more)" if len(late) > 1 else "")


def _late(item: Json, goal: str) -> str | None:
    """Why one object is not there yet."""
    status: Json = item.get("status") or {}
    if goal == "available":
        want, ready = item["spec"].get("replicas", 1), status.get("readyReplicas", 0)
        return f"{ready} of {want} replicas are ready" if ready < want else None
    what, _, value = goal.removeprefix("condition=").partition("=")
    conditions = status.get("conditions", ())
    found = next((c for c in conditions if c["type"].lower() == what.lower()), None)
    state = found["status"] if found else "unknown"
    if state.lower() == (value or "True").lower():
        return None
    why = (found or {}).get("message") or (found or {}).get("reason") or ""
    return f"{what} is {state}" + (f" ({why})" if why else "")
