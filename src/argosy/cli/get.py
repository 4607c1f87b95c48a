"""``argosy get`` and ``argosy describe``: the objects of a mesh."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from rich.markup import escape

from argosy.cli.client import ApiClient, Json, is_ready, name_of, namespace_of
from argosy.cli.kinds import kind_named
from argosy.cli.options import AllNamespacesOption, MeshOption, NamespaceOption, OutputOption
from argosy.cli.output import Format, age, out, show_json, show_problem, show_table, show_yaml

Column = tuple[str, Callable[[Json], Any]]

KindArgument = Annotated[str, typer.Argument(help="A kind, such as virtualservice or vs.")]


def get(
    kind: KindArgument,
    name: Annotated[str | None, typer.Argument(help="One object's name.")] = None,
    output: OutputOption = Format.TABLE,
    selector: Annotated[str, typer.Option("--selector", "-l", help="Labels, as app=reviews.")] = "",
    all_namespaces: AllNamespacesOption = False,
    namespace: NamespaceOption = "default",
    mesh: MeshOption = "default",
) -> None:
    """Show objects of a kind."""
    word, _, after = kind.partition("/")
    name = name or after or None
    with ApiClient(mesh) as client:
        found = kind_named(client, word)
        if name:
            one = client.get(found.path(namespace, name))
            items = [one]
        else:
            params = {"labelSelector": selector} if selector else {}
            answer = client.get(found.path(None if all_namespaces else namespace), **params)
            items = answer["items"]
    match output:
        case Format.JSON:
            show_json(items[0] if name else {"kind": "List", "apiVersion": "v1", "items": items})
        case Format.YAML:
            show_yaml(items[0] if name else {"kind": "List", "apiVersion": "v1", "items": items})
        case Format.NAME:
            for item in items:
                typer.echo(f"{found.kind.lower()}/{name_of(item)}")
        case Format.TABLE | Format.WIDE:
            columns = columns_of(found.kind, wide=output is Format.WIDE)
            if all_namespaces and found.namespaced:
                columns = [("NAMESPACE", namespace_of), *columns]
            show_table(
                [title for title, _ in columns],
                [[str(value(item)) for _, value in columns] for item in items],
            )


def describe(
    kind: KindArgument,
    name: Annotated[str | None, typer.Argument(help="The object's name.")] = None,
    namespace: NamespaceOption = "default",
    mesh: MeshOption = "default",
) -> None:
    """Show one object, its state in the mesh, and what is wrong with it."""
    word, _, after = kind.partition("/")
    with ApiClient(mesh) as client:
        found = kind_named(client, word)
        item = client.get(found.path(namespace, name or after))
    metadata = item["metadata"]
    out.print(
        f"[bold]{found.kind} {escape(namespace_of(item) + '/' if namespace_of(item) else '')}{escape(name_of(item))}[/]"
    )
    for title, values in (
        ("Labels", metadata.get("labels")),
        ("Annotations", metadata.get("annotations")),
    ):
        for i, (key, value) in enumerate(sorted((values or {}).items())):
            out.print(f"{title + ':' if i == 0 else '':14}{escape(key)}={escape(str(value))}")
    out.print(
        f"{'Created:':14}{metadata.get('creationTimestamp', '')} ({age(metadata.get('creationTimestamp'))} ago)"
    )
    status: Json = item.get("status") or {}
    for condition in status.get("conditions", ()):
        reason = condition.get("message") or condition.get("reason") or ""
        out.print(f"{condition['type'] + ':':14}{condition['status']} {escape(reason)}")
    problems = status.get("problems", ())
    for problem in problems:
        show_problem(
            {"kind": found.kind, "namespace": namespace_of(item), "name": name_of(item), **problem}
        )
    out.print("Spec:")
    show_yaml({key: item[key] for key in ("spec", "data") if item.get(key) is not None})


def columns_of(kind: str, *, wide: bool) -> list[Column]:
    """What people look for in this kind; the same words as kubectl where it has them."""
    columns: list[Column] = [("NAME", name_of), *_COLUMNS.get(kind, [])]
    if wide:
        columns += _WIDE.get(kind, [])
    return [*columns, ("AGE", lambda item: age(item["metadata"].get("creationTimestamp")))]


def _spec(item: Json) -> Json:
    spec: Json = item.get("spec") or {}
    return spec


def _joined(field: str) -> Callable[[Json], str]:
    return lambda item: ",".join(_spec(item).get(field) or ()) or "-"


def _accepted(item: Json) -> str:
    for condition in (item.get("status") or {}).get("conditions", ()):
        if condition["type"] == "Accepted":
            return str(condition["status"])
    return "-"


def _ports(item: Json) -> str:
    ports: Sequence[Json] = _spec(item).get("ports") or ()
    return ",".join(f"{port['port']}/{port.get('protocol', 'TCP')}" for port in ports) or "-"


def _pod_state(item: Json) -> str:
    status: Json = item.get("status") or {}
    for container in status.get("containerStatuses", ()):
        waiting = (container.get("state") or {}).get("waiting")
        if waiting and waiting.get("reason"):
            return str(waiting["reason"])
    if item["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return str(status.get("phase", "Pending"))


def _restarts(item: Json) -> str:
    statuses = (item.get("status") or {}).get("containerStatuses", ())
    return str(sum(c.get("restartCount", 0) for c in statuses))


def _replicas(item: Json) -> str:
    status = item.get("status") or {}
    return f"{status.get('readyReplicas', 0)}/{_spec(item).get('replicas', 1)}"


def _selector(item: Json) -> str:
    selector = _spec(item).get("selector") or {}
    return ",".join(f"{k}={v}" for k, v in sorted(selector.items())) or "-"


_COLUMNS: dict[str, list[Column]] = {
    "Pod": [
        ("READY", lambda item: "yes" if is_ready(item) else "no"),
        ("STATUS", _pod_state),
        ("RESTARTS", _restarts),
    ],
    "Service": [
        ("TYPE", lambda item: _spec(item).get("type", "ClusterIP")),
        ("CLUSTER-IP", lambda item: _spec(item).get("clusterIP") or "None"),
        ("PORTS", _ports),
    ],
    "Deployment": [("READY", _replicas)],
    "VirtualService": [
        ("GATEWAYS", _joined("gateways")),
        ("HOSTS", _joined("hosts")),
        ("ACCEPTED", _accepted),
    ],
    "DestinationRule": [
        ("HOST", lambda item: _spec(item).get("host", "-")),
        ("ACCEPTED", _accepted),
    ],
    "Gateway": [("ACCEPTED", _accepted)],
    "PeerAuthentication": [
        ("MODE", lambda item: (_spec(item).get("mtls") or {}).get("mode", "-")),
        ("ACCEPTED", _accepted),
    ],
}
_WIDE: dict[str, list[Column]] = {
    "Pod": [
        ("IP", lambda item: (item.get("status") or {}).get("podIP", "-")),
        ("SERVICE-ACCOUNT", lambda item: _spec(item).get("serviceAccountName", "default")),
    ],
    "Service": [("SELECTOR", _selector)],
}
