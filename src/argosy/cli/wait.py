"""``argosy wait``: until objects are as they should be."""

import time
from typing import Annotated

import typer
from rich.markup import escape

from argosy.cli.client import ApiClient, CliError, Json, NotFoundError, name_of
from argosy.cli.kinds import Kind, kind_named
from argosy.cli.options import MeshOption, NamespaceOption
from argosy.cli.output import out

_INTERVAL_SECONDS = 0.2


def wait(
    target: Annotated[str, typer.Argument(help="KIND/NAME, or KIND with --all or -l.")],
    for_: Annotated[
        str, typer.Option("--for", help="condition=NAME[=VALUE], available or delete.")
    ] = "condition=Ready",
    every: Annotated[bool, typer.Option("--all", help="All objects of the kind.")] = False,
    selector: Annotated[str, typer.Option("--selector", "-l", help="Labels, as app=a.")] = "",
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds at the most.")] = 60.0,
    namespace: NamespaceOption = "default",
    mesh: MeshOption = "default",
) -> None:
    """Wait for a condition, for a deployment to be available, or for a deletion."""
    word, _, name = target.partition("/")
    deadline = time.monotonic() + timeout
    with ApiClient(mesh) as client:
        kind = kind_named(client, word)
        if not (name or every or selector):
            raise CliError("say which: KIND/NAME, --all or -l LABELS", code=2)
        while True:
            items = _items(client, kind, namespace, name, selector)
            missing = _missing(items, for_, kind)
            if missing is None:
                out.print(f"{escape(target)} {escape(for_)}: met")
                return
            if time.monotonic() >= deadline:
                raise CliError(f"{target}: {missing} after {timeout:g} s", code=4)
            time.sleep(_INTERVAL_SECONDS)


def _items(client: ApiClient, kind: Kind, namespace: str, name: str, selector: str) -> list[Json]:
    if not name:
        params = {"labelSelector": selector} if selector else {}
        items: list[Json] = client.get(kind.path(namespace), **params)["items"]
        return items
    try:
        return [client.get(kind.path(namespace, name))]
    except NotFoundError:
        return []


def _missing(items: list[Json], for_: str, kind: Kind) -> str | None:
    """What is not yet so, or None when all is."""
    if for_ == "delete":
        return f"{', '.join(map(name_of, items))} still there" if items else None
    if not items:
        return "not found"
    if for_ == "available" or (kind.kind == "Deployment" and for_ == "condition=Ready"):
        for item in items:
            want = item["spec"].get("replicas", 1)
            ready = (item.get("status") or {}).get("readyReplicas", 0)
            if ready < want:
                return f"{name_of(item)}: {ready} of {want} replicas are ready"
        return None
    what, _, value = for_.removeprefix("condition=").partition("=")
    if not for_.startswith("condition=") or not what:
        raise CliError(f"--for={for_}: use condition=NAME[=VALUE], available or delete", code=2)
    for item in items:
        conditions = (item.get("status") or {}).get("conditions", ())
        found = next((c for c in conditions if c["type"].lower() == what.lower()), None)
        status = found["status"] if found else "unknown"
        if status.lower() != (value or "True").lower():
            return f"{name_of(item)}: {what} is {status}"
    return None
