"""Envoy's entries become records, and secrets are not among them."""

from typing import Any

import msgspec
import pytest
from envoy.config.core.v3 import base_pb2
from envoy.data.accesslog.v3 import accesslog_pb2

from argosy.base.names import TrustDomain
from argosy.citadel.identity import SpiffeId
from argosy.mixer.caller import NOTHING, Caller, Stated
from argosy.mixer.records.entries import (
    MAX_LABELS,
    MAX_TEXT,
    ContradictionError,
    http_record,
    reporter_of,
    tcp_record,
)
from argosy.model.records import Direction

CLUSTER = "outbound|9080|v1|reviews.default.svc.cluster.local"
PATHS = "/apis/networking.istio.io/v1/namespaces/default"


def a_node() -> base_pb2.Node:
    node = base_pb2.Node(id="sidecar~10.0.0.1~web-1.default~default.svc.cluster.local")
    node.metadata["NAME"] = "web-1"
    node.metadata["WORKLOAD_NAME"] = "web"
    node.metadata["LABELS"] = {"app": "web"}
    return node


def a_caller(stated: Stated = NOTHING) -> Caller:
    certificate: Any = object()
    identity = SpiffeId.of(TrustDomain("cluster.local"), "default", "web")
    return Caller(identity, "10.0.0.1", certificate, stated)


REPORTER = reporter_of(a_node(), a_caller())


def an_entry() -> accesslog_pb2.HTTPAccessLogEntry:
    entry = accesslog_pb2.HTTPAccessLogEntry(protocol_version="HTTP2")
    common = entry.common_properties
    common.start_time.FromMilliseconds(1_500_000_000_250)
    common.duration.FromMilliseconds(12)
    common.downstream_direct_remote_address.socket_address.address = "10.0.0.9"
    common.downstream_direct_remote_address.socket_address.port_value = 4000
    common.upstream_local_address.socket_address.address = "fd00::1"
    common.upstream_local_address.socket_address.port_value = 5000
    common.upstream_cluster = CLUSTER
    common.response_flags.upstream_request_timeout = True
    common.response_flags.unauthorized_details.reason = 1
    common.custom_tags["route"] = f"{PATHS}/virtual-service/reviews"
    common.custom_tags["cluster"] = f"{PATHS}/destination-rule/by-version"
    common.custom_tags["workload"] = "reviews-v1;default;reviews;v1;Kubernetes"
    common.custom_tags["principal"] = "-"
    peer = common.tls_properties.peer_certificate_properties.subject_alt_name
    peer.add(dns="web")
    peer.add(uri="spiffe://cluster.local/ns/default/sa/web")
    entry.request.request_method = base_pb2.GET
    entry.request.path = "/reviews/0?access_token=secret"
    entry.request.authority = "reviews:9080"
    entry.request.request_id = "abc"
    entry.request.referer = "http://x/?token=secret"
    entry.request.user_agent = "secret agent"
    entry.request.forwarded_for = "203.0.113.7"
    entry.response.response_code.value = 504
    entry.response.response_code_details = "response_timeout"
    entry.response.response_trailers["grpc-status"] = "4"
    return entry


def test_a_request() -> None:
    record = http_record(an_entry(), Direction.OUTBOUND, REPORTER)
    assert (record.time, record.duration) == (1_500_000_000.25, 12.0)
    assert record.protocol == "HTTP/2"
    assert record.source_address == "10.0.0.9:4000"
    assert record.source_principal == "spiffe://cluster.local/ns/default/sa/web"
    assert record.upstream_local_address == "[fd00::1]:5000"
    assert (record.host, record.port, record.subset) == (
        "reviews.default.svc.cluster.local",
        9080,
        "v1",
    )
    assert record.flags == ("UAEX", "UT")
    assert record.virtual_service == "default/reviews"
    assert record.destination_rule == "default/by-version"
    assert record.destination_workload == "reviews-v1"
    assert record.destination_principal == ""
    assert (record.method, record.status, record.grpc_status) == ("GET", 504, 4)
    assert record.details == "response_timeout"
    assert record.is_failure


def test_what_may_be_secret_is_dropped() -> None:
    record = http_record(an_entry(), Direction.OUTBOUND, REPORTER)
    assert record.path == "/reviews/0"
    assert "secret" not in repr(record)
    assert "203.0.113.7" not in repr(record)


def test_texts_are_bounded() -> None:
    entry = an_entry()
    entry.request.path = "/" + "x" * 10_000
    entry.request.request_headers["content-type"] = "y" * 10_000
    entry.response.response_trailers["grpc-status"] = "9" * 5000
    record = http_record(entry, Direction.OUTBOUND, REPORTER)
    assert len(record.path) == MAX_TEXT
    assert len(record.headers["content-type"]) == MAX_TEXT
    assert record.grpc_status is None


def test_nothing_that_a_proxy_sends_is_kept_without_bound() -> None:
    node, entry, long = a_node(), an_entry(), "z" * 10_000
    node.metadata["WORKLOAD_NAME"] = node.metadata["NAME"] = long
    node.metadata["LABELS"] = {f"label-{number}": long for number in range(1000)}
    common = entry.common_properties
    common.downstream_direct_remote_address.socket_address.address = long
    common.custom_tags["route"] = f"{PATHS}/virtual-service/{long}"
    del common.tls_properties.peer_certificate_properties.subject_alt_name[:]
    common.tls_properties.peer_certificate_properties.subject_alt_name.add(uri=long)
    for number in range(1000):
        entry.response.response_headers[f"x-{number}"] = long
    record = http_record(entry, Direction.INBOUND, reporter_of(node, a_caller()))
    assert len(record.reporter.labels) == MAX_LABELS
    assert len(msgspec.json.encode(record)) < (2 * MAX_LABELS + 30) * MAX_TEXT
    assert "x-1" not in record.headers
    without_labels = msgspec.structs.replace(record, reporter=REPORTER)
    assert len(msgspec.json.encode(without_labels)) < 10 * MAX_TEXT


def test_numbers_that_are_none_break_nothing() -> None:
    entry = an_entry()
    entry.response.response_trailers["grpc-status"] = "\u00b2"
    entry.common_properties.upstream_cluster = "outbound|\u00b2|v1|reviews"
    record = http_record(entry, Direction.INBOUND, REPORTER)
    assert (record.grpc_status, record.port) == (None, 0)


def test_a_connection() -> None:
    entry = accesslog_pb2.TCPAccessLogEntry()
    entry.common_properties.upstream_cluster = "BlackHoleCluster"
    entry.common_properties.connection_termination_details = (
        "rbac_access_denied_matched_policy[none]"
    )
    entry.common_properties.custom_tags["details"] = "-"
    entry.connection_properties.received_bytes = 7
    record = tcp_record(entry, Direction.INBOUND, REPORTER)
    assert (record.protocol, record.host, record.details) == ("TCP", "", "")
    assert record.received == 7
    assert record.is_denied
    assert not record.is_http


def test_who_tells_it() -> None:
    assert (REPORTER.pod, REPORTER.workload, REPORTER.labels) == ("web-1", "web", {"app": "web"})
    bare = reporter_of(base_pb2.Node(id=a_node().id), a_caller())
    assert (bare.pod, bare.labels) == ("", {})
    for strange in ("strange", "sidecar~10.0.0.1~web-1.bank~bank.svc.cluster.local"):
        with pytest.raises(ContradictionError, match="ns/default/sa/web may not speak for"):
            reporter_of(base_pb2.Node(id=strange), a_caller())


STATED = Stated("web", "default", "web", "v1", "Kubernetes", "shop")


def test_what_the_certificate_says_goes_before_what_the_proxy_says() -> None:
    node = a_node()
    node.metadata["LABELS"] = {"app": "db", "version": "v7", "role": "front"}
    told = reporter_of(node, a_caller(STATED))
    assert (told.workload, told.pod) == ("web", "web-1")
    assert told.labels == {
        "app": "shop",
        "role": "front",
        "service.istio.io/canonical-name": "web",
        "service.istio.io/canonical-revision": "v1",
    }
    node.metadata["WORKLOAD_NAME"] = "db"
    with pytest.raises(ContradictionError, match="ns/default/sa/web is web and not db"):
        reporter_of(node, a_caller(STATED))


@pytest.mark.parametrize(
    ("pod", "shown"),
    [
        *((name, True) for name in ("web", "web-0", "web-x2x9z", "web-5d8f9c7b6-x2x9z")),
        *(
            (name, False)
            for name in ("db-0", "web-admin-0", "web-admin-5d8f9c7b6-x2x9z", "website")
        ),
    ],
)
def test_a_pod_is_one_that_the_workload_may_have(pod: str, *, shown: bool) -> None:
    node = a_node()
    node.metadata["NAME"] = pod
    assert reporter_of(node, a_caller(STATED)).pod == (pod if shown else "")
