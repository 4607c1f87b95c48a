"""Envoy's access log entries → records. Pure. What may hold secrets is dropped here.

The messages: https://www.envoyproxy.io/docs/envoy/latest/api-v3/data/accesslog/v3/accesslog.proto
"""

import re
from collections.abc import Mapping
from itertools import islice
from typing import Final

from envoy.config.core.v3 import address_pb2, base_pb2
from envoy.data.accesslog.v3 import accesslog_pb2
from google.protobuf import duration_pb2
from msgspec import structs

from argosy.mixer.caller import Caller, Stated
from argosy.mixer.records.record import TCP, Record, Reporter
from argosy.model import records as names
from argosy.model.records import Direction

MAX_TEXT = 512
"""Characters of a path or of any other text that is kept."""

MAX_LABELS = 128
"""Of one workload: whoever has more is known by the first of them."""

FLAG_NAMES: Final = {
    "failed_local_healthcheck": "LH",
    "no_healthy_upstream": "UH",
    "upstream_request_timeout": "UT",
    "local_reset": "LR",
    "upstream_remote_reset": "UR",
    "upstream_connection_failure": "UF",
    "upstream_connection_termination": "UC",
    "upstream_overflow": "UO",
    "no_route_found": "NR",
    "delay_injected": "DI",
    "fault_injected": "FI",
    "rate_limited": "RL",
    "unauthorized_details": "UAEX",
    "rate_limit_service_error": "RLSE",
    "downstream_connection_termination": "DC",
    "upstream_retry_limit_exceeded": "URX",
    "stream_idle_timeout": "SI",
    "invalid_envoy_request_headers": "IH",
    "downstream_protocol_error": "DPE",
    "upstream_max_stream_duration_reached": "UMSDR",
    "response_from_cache_filter": "RFCF",
    "no_filter_config_found": "NFCF",
    "duration_timeout": "DT",
    "upstream_protocol_error": "UPE",
    "no_cluster_found": "NC",
    "overload_manager": "OM",
    "dns_resolution_failure": "DF",
    "downstream_remote_reset": "DR",
}
"""Fields of ``ResponseFlags`` and their short names."""

HEADERS: Final = ("content-type", "grpc-status", "retry-after", "traceparent")
"""What is kept of requests' and answers' headers, whatever a proxy sends."""

_VERSIONS: Final = {1: "HTTP/1.0", 2: "HTTP/1.1", 3: "HTTP/2", 4: "HTTP/3"}
_METHODS: Final = {number: name for name, number in base_pb2.RequestMethod.items() if number}
_CONFIG_PARTS: Final = 8
_POD_SUFFIX: Final = re.compile(
    r"(-\d+|(-[bcdfghjklmnpqrstvwxz2456789]{0,10})?-[bcdfghjklmnpqrstvwxz2456789]{5})?"
)
"""What Kubernetes adds to the name of a StatefulSet, a Deployment, a DaemonSet, or a bare pod."""


class ContradictionError(Exception):
    """A proxy says that it is another one than its certificate says; the message says which."""


def reporter_of(node: base_pb2.Node, caller: Caller) -> Reporter:
    """The proxy by its certificate, and what it says of itself where that says nothing.

    Its word alone are the pod, which must be one that its workload may have, and labels that no
    certificate knows. A certificate without facts proves namespace and account alone. Labels
    that the certificate knows are the certificate's: those of a living pod may have changed since
    its proxy began. Raises ``ContradictionError``.
    """
    identity, stated = caller.identity, caller.stated
    if _namespace_of(node) != identity.namespace:
        raise ContradictionError(f"{identity} may not speak for {_short(node.id)}")
    fields = node.metadata.fields
    told = fields["LABELS"].struct_value.fields if "LABELS" in fields else {}
    labels = {
        _short(key): _short(told[key].string_value) for key in islice(sorted(told), MAX_LABELS)
    }
    workload, pod = (
        _short(fields[key].string_value) if key in fields else ""
        for key in ("WORKLOAD_NAME", "NAME")
    )
    if stated:
        if workload not in ("", stated.workload):
            raise ContradictionError(f"{identity} is {stated.workload} and not {workload}")
        workload = stated.workload
        pod = pod if _may_have(workload, pod) else ""
        labels = _corrected(labels, stated)
    return Reporter(identity.namespace, identity.service_account, workload, pod, labels)


def _may_have(workload: str, pod: str) -> bool:
    """Whether a pod is named as Kubernetes names those of this workload."""
    if not pod.startswith(workload):
        return False
    return _POD_SUFFIX.fullmatch(pod, len(workload)) is not None


def _corrected(labels: dict[str, str], stated: Stated) -> dict[str, str]:
    known = {
        "app": stated.app,
        "version": stated.version,
        "service.istio.io/canonical-name": stated.canonical_service,
        "service.istio.io/canonical-revision": stated.canonical_revision,
    }
    others = {key: value for key, value in labels.items() if key not in known}
    return others | {key: value for key, value in known.items() if value}


def _namespace_of(node: base_pb2.Node) -> str:
    """The one that a proxy says it is in: ``type~ip~name.namespace~domain`` is its node id."""
    parts = node.id.split("~")
    return parts[2].rpartition(".")[2] if len(parts) == 4 else ""


def is_gateway(node: base_pb2.Node) -> bool:
    return str(node.id).startswith("router~")


def http_record(
    entry: accesslog_pb2.HTTPAccessLogEntry, direction: Direction, reporter: Reporter
) -> Record:
    request, response = entry.request, entry.response
    headers = dict(response.response_headers)
    grpc = response.response_trailers.get("grpc-status") or headers.get("grpc-status", "")
    method = _METHODS.get(request.request_method, "")
    told = {**request.request_headers, **headers}
    return structs.replace(
        _common(entry.common_properties, direction, reporter),
        protocol=_VERSIONS.get(entry.protocol_version, "HTTP"),
        request_id=_short(request.request_id),
        method=method,
        authority=_short(request.authority),
        path=_short((request.original_path or request.path).partition("?")[0]),
        status=response.response_code.value,
        grpc_status=int(grpc) if grpc.isdecimal() and len(grpc) < 4 else None,
        details=_short(response.response_code_details),
        received=request.request_body_bytes,
        sent=response.response_body_bytes,
        headers={key: _short(told[key]) for key in HEADERS if key in told},
    )


def tcp_record(
    entry: accesslog_pb2.TCPAccessLogEntry, direction: Direction, reporter: Reporter
) -> Record:
    return structs.replace(
        _common(entry.common_properties, direction, reporter),
        details=_short(_tag(entry.common_properties.custom_tags, names.DETAILS_TAG)),
        received=entry.connection_properties.received_bytes,
        sent=entry.connection_properties.sent_bytes,
    )


def flags_of(flags: accesslog_pb2.ResponseFlags) -> tuple[str, ...]:
    """Short names, sorted."""
    return tuple(sorted(FLAG_NAMES[field.name] for field, _ in flags.ListFields()))


def _common(
    common: accesslog_pb2.AccessLogCommon, direction: Direction, reporter: Reporter
) -> Record:
    """What requests and connections have in common; it is a connection's."""
    tags = common.custom_tags
    port, subset, host = _destination(common.upstream_cluster)
    peer = common.tls_properties.peer_certificate_properties.subject_alt_name
    has_duration = common.HasField("duration")
    return Record(
        direction=direction,
        protocol=TCP,
        reporter=reporter,
        time=common.start_time.seconds + common.start_time.nanos / 1e9,
        duration=_milliseconds(
            common.duration if has_duration else common.time_to_last_downstream_tx_byte
        ),
        source_address=_address(
            common.downstream_direct_remote_address
            if common.HasField("downstream_direct_remote_address")
            else common.downstream_remote_address
        ),
        source_principal=_short(next((one.uri for one in peer if one.uri), "")),
        server_address=_address(common.downstream_local_address),
        upstream_address=_address(common.upstream_remote_address),
        upstream_local_address=_address(common.upstream_local_address),
        destination_principal=_short(_tag(tags, names.PRINCIPAL_TAG)),
        destination_workload=_tag(tags, names.WORKLOAD_TAG).partition(";")[0][:MAX_TEXT],
        cluster=_short(common.upstream_cluster),
        host=host,
        port=port,
        subset=subset,
        flags=flags_of(common.response_flags),
        transport_failure=_short(common.upstream_transport_failure_reason),
        tls_failure=_short(common.downstream_transport_failure_reason),
        termination=_short(common.connection_termination_details),
        route=_short(common.route_name),
        virtual_service=_object(_tag(tags, names.ROUTE_TAG)),
        destination_rule=_object(_tag(tags, names.CLUSTER_TAG)),
        attempts=common.upstream_request_attempt_count,
        server_name=_short(common.tls_properties.tls_sni_hostname),
    )


def _tag(tags: Mapping[str, str], name: str) -> str:
    found = tags.get(name, "")
    return "" if found == "-" else found


def _destination(cluster: str) -> tuple[int, str, str]:
    """Port, subset and host of Istio's cluster name ``outbound|9080|v1|reviews.default...``."""
    parts = cluster.split("|")
    if len(parts) != 4 or not parts[1].isdecimal() or len(parts[1]) > 5:
        return 0, "", ""
    return int(parts[1]), parts[2][:MAX_TEXT], parts[3][:MAX_TEXT]


def _object(path: str) -> str:
    """``namespace/name`` of ``/apis/networking.istio.io/v1/namespaces/NS/virtual-service/NAME``."""
    parts = path.split("/")
    if len(parts) != _CONFIG_PARTS:
        return ""
    return _short(f"{parts[5]}/{parts[7]}")


def _address(address: address_pb2.Address) -> str:
    socket = address.socket_address
    if not socket.address:
        return ""
    text = _short(socket.address)
    host = f"[{text}]" if ":" in text else text
    return f"{host}:{socket.port_value}"


def _milliseconds(duration: duration_pb2.Duration) -> float:
    return round(duration.seconds * 1e3 + duration.nanos / 1e6, 3)


def _short(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."
