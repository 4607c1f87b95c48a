"""``argosy why``: why a request failed, where, because of which object, and what to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from argosy.cli.client import ApiClient, CliError, Json, NotFoundError
from argosy.cli.options import (
    AllNamespacesOption,
    MeshOption,
    NamespaceOption,
    OutputOption,
    require_format,
)
from argosy.cli.output import Format, show_json, show_yaml
from argosy.cli.places import Places
from argosy.cli.record_lines import answer, clock, destination, request, source
from argosy.mixer.records.record import Record
from argosy.mixer.records.words import SUCCESS, Blame, Meaning, meaning

if TYPE_CHECKING:
    from argosy.cli.why_suspects import Suspect

_RANK = {
    Blame.NOBODY: 0,
    Blame.CLIENT: 1,
    Blame.RETRIES: 2,
    Blame.APPLICATION: 3,
    Blame.PEER: 5,
}
"""Of several hops, which says most; all that is not here is 4."""


@dataclass(frozen=True, slots=True)
class Place:
    """A suspect, and where it is written: ``file:line``, empty where nobody knows."""

    suspect: "Suspect"
    written: str


@dataclass(frozen=True, slots=True)
class Hop:
    """One record, explained."""

    record: Record
    meaning: Meaning
    places: tuple[Place, ...]


def why(
    request_id: Annotated[
        str | None, typer.Argument(help="The request's x-request-id.", metavar="[REQUEST-ID]")
    ] = None,
    last: Annotated[bool, typer.Option("--last", help="The last request that failed.")] = False,
    workload: Annotated[
        str, typer.Option("--workload", "-w", help="With --last: at this workload's proxy.")
    ] = "",
    all_namespaces: AllNamespacesOption = False,
    output: OutputOption = Format.TABLE,
    namespace: NamespaceOption = "default",
    mesh: MeshOption = "default",
) -> None:
    """Explain why a request failed: the cause, the object with file and line, and what to do.

    Mixer keeps what proxies have told of failures for a while. The id is in the application's
    logs, in access logs and in what `argosy tap` shows.
    """
    require_format(output, Format.JSON, Format.YAML)
    last = last or bool(workload)
    if last == bool(request_id):
        raise CliError("say which: a REQUEST-ID, or --last", code=2)
    where = "" if all_namespaces else namespace
    with ApiClient(mesh) as client:
        if request_id:
            records = of_request(client, request_id)
        else:
            records = last_failure(client, where, workload)
        hops = explained(client, records, namespace)
    cause = cause_of(hops)
    if output in (Format.JSON, Format.YAML):
        show = show_json if output is Format.JSON else show_yaml
        show(_document(hops, cause))
        return
    _show(hops, cause)


def of_request(client: ApiClient, request_id: str) -> list[Record]:
    records = _records(client.get(f"/mixer/records/requests/{request_id}"))
    if not records:
        raise NotFoundError(
            f"nothing is known of request {request_id}",
            "Failures alone are kept, and only the last ones; proxies tell of them within a second."
            " To see requests that succeed: argosy tap WORKLOAD",
        )
    return records


def last_failure(client: ApiClient, namespace: str, workload: str) -> list[Record]:
    """The request that failed last, where it was seen last, with all its hops."""
    name = workload.rpartition("/")[2]
    query = {"failures": "true", "limit": "1", "namespace": namespace, "workload": name}
    found = _records(client.get("/mixer/records", **query))
    if not found:
        of = f"workload {name}" if name else "any workload"
        where = f" in namespace {namespace}" if namespace else ""
        raise NotFoundError(f"no failure of {of}{where} is known", "All namespaces: -A")
    (newest,) = found
    return of_request(client, newest.request_id) if newest.request_id else found


def explained(client: ApiClient, records: Sequence[Record], namespace: str) -> list[Hop]:
    """``namespace`` is the one whose objects are looked at if the role holds in one alone."""
    # Imported here: the compilers are large, and only failures need them.
    from argosy.cli.snapshot import Snapshot
    from argosy.cli.why_objects import suspects

    snapshot, places = Snapshot.readable(client, namespace), Places(client)
    hops = []
    for record in records:
        found = meaning(record)
        suspected = tuple(
            Place(one, str(places.of(one.kind, one.namespace, one.name, one.field)))
            for one in suspects(record, found.blame, snapshot)
        )
        hops.append(Hop(record, found, suspected))
    return hops


def cause_of(hops: Sequence[Hop]) -> Hop:
    """The hop where it went wrong first: the deepest at which a proxy was the one who refused.

    Of clients that went away it is the first, since the next one's client is its proxy.
    """

    def order(hop: Hop) -> tuple[int, float]:
        away = hop.meaning.blame is Blame.CLIENT
        return _RANK.get(hop.meaning.blame, 4), -hop.record.time if away else hop.record.time

    return max(hops, key=order)


def _show(hops: Sequence[Hop], cause: Hop) -> None:
    for number, hop in enumerate(hops, 1):
        record = hop.record
        flags = f"  {','.join(record.flags)}" if record.flags else ""
        typer.echo(
            f"{number}. {clock(record.time)} {record.direction.value}: {source(record)} → "
            f"{destination(record)}  {request(record)}  {answer(record)}{flags}"
        )
        if hop.meaning is not SUCCESS:
            typer.echo(f"   {hop.meaning.words}")
    typer.echo()
    where = f" (at {hops.index(cause) + 1})" if len(hops) > 1 else ""
    typer.echo(f"Cause{where}: {cause.meaning.words}")
    for fact in _facts(cause.record):
        typer.echo(f"  {fact}")
    for place in cause.places:
        typer.echo(f"  {_named(place)}")
    if cause.meaning is not SUCCESS:
        typer.echo(f"What to do: {_todo(cause)}")


def _todo(hop: Hop) -> str:
    """With the workload that is meant, as commands take it."""
    reporter = hop.record.reporter
    of = "" if reporter.namespace == "default" else f" -n {reporter.namespace}"
    return hop.meaning.todo.replace("WORKLOAD", f"{reporter.workload or reporter.pod}{of}")


def _named(place: Place) -> str:
    """``VirtualService default/reviews spec.http[0].timeout (reviews.yaml:12): it took 2.0 s``."""
    suspect = place.suspect
    about = [f"{suspect.kind} {suspect.namespace}/{suspect.name}"]
    if suspect.field:
        about.append(suspect.field)
    if place.written:
        about.append(f"({place.written})")
    return " ".join(about) + (f": {suspect.note}" if suspect.note else "")


def _facts(record: Record) -> list[str]:
    """What Envoy itself says of it."""
    details = record.details
    if record.transport_failure and record.transport_failure.replace(" ", "_") in details:
        details = details.partition("|")[0] + "}"
    found = (
        ("Envoy says", details),
        ("Connection", record.termination),
        ("Transport", record.transport_failure),
        ("Client's TLS", record.tls_failure),
        ("Called by", record.source_principal),
        ("Endpoint", record.upstream_address),
    )
    return [f"{name}: {text}" for name, text in found if text]


def _document(hops: Sequence[Hop], cause: Hop) -> Json:
    def document(hop: Hop) -> Json:
        places = [
            {
                "kind": place.suspect.kind,
                "namespace": place.suspect.namespace,
                "name": place.suspect.name,
                "field": place.suspect.field,
                "place": place.written,
                "note": place.suspect.note,
            }
            for place in hop.places
        ]
        found: Json = msgspec.to_builtins(hop.record)
        return {
            "record": found,
            "cause": hop.meaning.words,
            "remedy": _todo(hop),
            "blame": hop.meaning.blame.value,
            "objects": places,
        }

    return {"hops": [document(hop) for hop in hops], "cause": hops.index(cause)}


def _records(answer: Json) -> list[Record]:
    return msgspec.convert(answer["items"], list[Record])
