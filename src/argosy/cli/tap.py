"""``argosy tap``: the requests of a workload as they happen."""

import contextlib
from typing import Annotated

import msgspec
import typer

from argosy.cli import complete
from argosy.cli.client import ApiClient, CliError, Json, find_pod, name_of, namespace_of, owner_of
from argosy.cli.options import (
    AllNamespacesOption,
    MeshOption,
    NamespaceOption,
    OutputOption,
    require_format,
)
from argosy.cli.output import Format, err
from argosy.cli.record_lines import line
from argosy.mixer.records.record import Record
from argosy.mixer.records.tap import Watch, WatchError

_PATHS = {"Deployment": "deployments", "StatefulSet": "statefulsets"}


def tap(
    target: Annotated[
        str | None,
        typer.Argument(
            help="deploy/NAME, svc/NAME, or a pod; without: the whole namespace.",
            metavar="[WORKLOAD]",
            autocompletion=complete.workloads,
        ),
    ] = None,
    path: Annotated[str, typer.Option("--path", help="A glob: '/reviews/*'.")] = "",
    status: Annotated[
        list[str] | None, typer.Option("--status", help="404 or 5xx; may be repeated.")
    ] = None,
    method: Annotated[str, typer.Option("--method", help="GET, POST ...")] = "",
    source: Annotated[
        str, typer.Option("--from", help="Who calls: a workload or service account, or NS/NAME.")
    ] = "",
    slower: Annotated[
        float, typer.Option("--slower-than", help="Milliseconds that it took at least.")
    ] = 0.0,
    direction: Annotated[
        str, typer.Option("--direction", help="inbound or outbound; without: both.")
    ] = "",
    failures: Annotated[bool, typer.Option("--failures", help="Failures only.")] = False,
    limit: Annotated[int, typer.Option("--limit", help="End after so many.", min=0)] = 0,
    all_namespaces: AllNamespacesOption = False,
    output: OutputOption = Format.TABLE,
    namespace: NamespaceOption = "default",
    mesh: MeshOption = "default",
) -> None:
    """Watch single requests live, those that a workload gets and those that it makes.

    Its proxies tell of them only while this command runs. Bodies, queries and headers are not
    shown. Needs the role edit.
    """
    require_format(output, Format.JSON)
    watch = Watch(
        namespace="" if all_namespaces and not target else namespace,
        path=path,
        statuses=tuple(one for text in status or () for one in text.split(",")),
        method=method,
        source=source,
        minimum=slower,
        direction=direction,
        failures=failures,
    )
    try:
        watch.check()
    except WatchError as error:
        raise CliError(str(error), code=2) from error
    with ApiClient(mesh) as client:
        if target:
            watch = aimed(client, watch, target, namespace)
        with contextlib.suppress(KeyboardInterrupt):
            _show(client, watch, limit, as_json=output is Format.JSON)


def aimed(client: ApiClient, watch: Watch, target: str, namespace: str) -> Watch:
    """The watch, for one workload: by the labels that its pods have in common."""
    kind, _, name = target.rpartition("/")
    if kind in ("svc", "service", "services"):
        service = client.get(f"/api/v1/namespaces/{namespace}/services/{name}")
        selector = service["spec"].get("selector")
        if not selector:
            raise CliError(f"service {name} selects no workloads", "Name a workload: deploy/NAME")
        return msgspec.structs.replace(watch, labels=selector)
    pod = find_pod(client, target, namespace)
    where = namespace_of(pod)
    owner, workload = owner_of(pod)
    if workload not in (name, name.rpartition(".")[0]):
        labels = pod["metadata"].get("labels") or {}
        return msgspec.structs.replace(watch, namespace=where, labels=labels, pod=name_of(pod))
    found = client.get(f"/apis/apps/v1/namespaces/{where}/{_PATHS[owner]}/{workload}")
    own = pod["metadata"].get("labels") or {}
    labels = found["spec"]["selector"].get("matchLabels") or own
    return msgspec.structs.replace(watch, namespace=where, labels=labels)


def _show(client: ApiClient, watch: Watch, limit: int, *, as_json: bool) -> None:
    """Until the limit is reached or somebody interrupts it; then the proxies tell no more."""
    shown = 0
    body = msgspec.to_builtins(watch)
    with client.stream("/mixer/records/tap", method="POST", body=body) as lines:
        for text in lines:
            news: Json = msgspec.json.decode(text)
            if "began" in news:
                err.print("Watching; Ctrl-C ends it.", style="dim")
            elif "dropped" in news:
                err.print(f"{news['dropped']} more could not be shown: they come too fast.")
            elif "record" in news:
                record = news["record"]
                if as_json:
                    typer.echo(msgspec.json.encode(record).decode())
                else:
                    typer.echo(line(msgspec.convert(record, Record)))
                shown += 1
                if shown == limit:
                    return
    raise CliError("Mixer ended the watch", "It is started again: run the command once more.")
