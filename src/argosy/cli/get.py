"""``argosy get``: the objects of a mesh, in tables or as they are."""

from typing import Annotated

import typer

from argosy.cli import complete
from argosy.cli.client import ApiClient, CliError, Json, NotFoundError, name_of, namespace_of
from argosy.cli.columns import columns_of
from argosy.cli.kinds import Kind, Wanted, wanted
from argosy.cli.options import (
    AllNamespacesOption,
    MeshOption,
    NamespaceOption,
    OutputOption,
    SelectorOption,
)
from argosy.cli.output import Format, err, show_error, show_json, show_table, show_yaml

ObjectsArgument = Annotated[
    list[str],
    typer.Argument(
        help="KIND, KIND,KIND, KIND NAME ... or KIND/NAME ...; all is what runs and steers.",
        metavar="KIND [NAME]...",
        autocompletion=complete.objects,
    ),
]


def get(
    objects: ObjectsArgument,
    output: OutputOption = Format.TABLE,
    selector: SelectorOption = "",
    all_namespaces: AllNamespacesOption = False,
    namespace: NamespaceOption = "default",
    mesh: MeshOption = "default",
) -> None:
    """Show objects: argosy get vs, argosy get pods -A, argosy get deploy/reviews-v1 -o yaml."""
    asked = wanted(objects)
    one_by_one = bool(asked[0].name)
    if one_by_one and (selector or all_namespaces):
        what = "-l" if selector else "-A"
        raise CliError(f"{what} is for whole kinds: leave out the names", code=2)
    missing: list[NotFoundError] = []
    with ApiClient(mesh) as client:
        found: list[tuple[Kind, list[Json]]] = []
        for item in asked:
            try:
                place = None if all_namespaces else namespace
                items = fetch(client, item, place, selector)
                found.append((item.kind, [shown(item.kind, one) for one in items]))
            except NotFoundError as error:
                missing.append(error)
        if not any(items for _, items in found) and not missing:
            err.print(_nothing(client, asked, None if all_namespaces else namespace), markup=False)
    show(_grouped(found), output, single=one_by_one and len(asked) == 1, spaced=all_namespaces)
    for gone in missing:
        show_error(str(gone), gone.hint)
    if missing:
        raise typer.Exit(missing[0].code)


def fetch(client: ApiClient, item: Wanted, namespace: str | None, selector: str = "") -> list[Json]:
    """The objects that are meant; NotFoundError for a name that is not there."""
    if item.name:
        return [client.get(item.kind.path(namespace, item.name))]
    return client.items(item.kind.path(namespace), selector)


def shown(kind: Kind, item: Json) -> Json:
    """A Secret without its values: they end up on screens and in logs too easily."""
    if kind.kind != "Secret":
        return item
    hidden = {
        field: dict.fromkeys(item[field], "[redacted]")
        for field in ("data", "stringData")
        if item.get(field)
    }
    return {**item, **hidden}


def show(
    found: list[tuple[Kind, list[Json]]], output: Format, *, single: bool, spaced: bool
) -> None:
    """``single``: one object was asked for, so it is shown without a list around it."""
    items = [item for _, of_kind in found for item in of_kind]
    match output:
        case Format.JSON | Format.YAML:
            if single and not items:
                return
            whole: Json = {"apiVersion": "v1", "kind": "List", "items": items}
            (show_json if output is Format.JSON else show_yaml)(items[0] if single else whole)
        case Format.NAME:
            for kind, of_kind in found:
                for item in of_kind:
                    typer.echo(f"{kind.singular}/{name_of(item)}")
        case Format.TABLE | Format.WIDE:
            several = len(found) > 1
            for number, (kind, of_kind) in enumerate(found):
                if number:
                    typer.echo()
                _table(kind, of_kind, output, spaced=spaced, several=several)


def _table(kind: Kind, items: list[Json], output: Format, *, spaced: bool, several: bool) -> None:
    columns = columns_of(kind.kind, wide=output is Format.WIDE)
    if several:
        columns[0] = ("NAME", lambda item: f"{kind.singular}/{name_of(item)}")
    if spaced and kind.namespaced:
        columns = [("NAMESPACE", namespace_of), *columns]
    show_table(
        [title for title, _ in columns],
        [[str(value(item)) for _, value in columns] for item in items],
    )


def _grouped(found: list[tuple[Kind, list[Json]]]) -> list[tuple[Kind, list[Json]]]:
    """One group for each kind that has objects."""
    groups: dict[Kind, list[Json]] = {}
    for kind, items in found:
        groups.setdefault(kind, []).extend(items)
    return [(kind, items) for kind, items in groups.items() if items]


def _nothing(client: ApiClient, asked: list[Wanted], namespace: str | None) -> str:
    """Why a table is empty, as far as that is known."""
    kinds = [item.kind for item in asked]
    what = kinds[0].kind if len(kinds) == 1 else "object"
    if namespace is None or not any(kind.namespaced for kind in kinds):
        return f"Nothing found: there is no {what}."
    try:
        client.get(f"/api/v1/namespaces/{namespace}")
    except NotFoundError:
        return f"Nothing found: there is no namespace {namespace!r}."
    return f"Nothing found: there is no such {what} in namespace {namespace!r} (-A looks in all)."
