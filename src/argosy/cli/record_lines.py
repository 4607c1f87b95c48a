"""A record as a line for people."""

from datetime import datetime

from argosy.mixer.records.record import Record
from argosy.mixer.records.words import Blame, meaning
from argosy.model.records import Direction

GRPC_STATUS = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
    "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",
    "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
_CLUSTER = ".svc.cluster.local"


def line(record: Record) -> str:
    """``15:16:44.795 inbound  web → reviews-v3  GET /reviews/0  503 in 0.3 ms  ID  UH: ...``."""
    parts = [
        f"{clock(record.time)} {record.direction.value:8}",
        f"{source(record)} → {destination(record)}",
        request(record),
        answer(record),
        record.request_id,
        failure(record),
    ]
    return "  ".join(part for part in parts if part)


def clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%H:%M:%S.%f")[:-3]


def source(record: Record) -> str:
    """Who called: by its certificate, its workload, or its address if it is nobody of the mesh."""
    if record.direction is Direction.OUTBOUND:
        return workload(record)
    account = record.source_principal.partition("/ns/")[2].replace("/sa/", "/")
    return account.removeprefix("default/") or record.source_address.rpartition(":")[0] or "?"


def destination(record: Record) -> str:
    if record.direction is Direction.INBOUND:
        port = record.server_address.rpartition(":")[2]
        return f"{workload(record)}:{port}" if port else workload(record)
    host = record.host.removesuffix(_CLUSTER)
    shown = f"{host}:{record.port}" if host else record.authority or record.server_address or "?"
    if record.subset:
        shown += f" subset {record.subset}"
    return f"{shown} ({record.destination_workload})" if record.destination_workload else shown


def workload(record: Record) -> str:
    reporter = record.reporter
    name = reporter.workload or reporter.service_account
    return name if reporter.namespace == "default" else f"{name}.{reporter.namespace}"


def request(record: Record) -> str:
    if not record.is_http:
        return f"TCP {record.received} bytes in, {record.sent} out"
    return f"{record.method or '?'} {record.path}"


def answer(record: Record) -> str:
    time = f"{record.duration:.1f} ms"
    if not record.is_http:
        return time
    status = str(record.status) if record.status else "no answer"
    if record.grpc_status is not None:
        known = record.grpc_status < len(GRPC_STATUS)
        status += f" {GRPC_STATUS[record.grpc_status] if known else record.grpc_status}"
    return f"{status} in {time}"


def failure(record: Record) -> str:
    """What went wrong, in Envoy's letters and in words; nothing where nothing did."""
    if not record.is_failure:
        return ""
    found = meaning(record)
    if found.blame is Blame.NOBODY:
        return ",".join(record.flags)
    letters = ",".join(record.flags)
    return f"{letters}: {found.words}" if letters else found.words
