"""Packed tags, and what their values say. Values as in Istio's page of metrics."""

import pytest

from argosy.model.standard_metrics import (
    WORKLOAD_FACTS,
    joined,
    labels,
    metric_name,
    packed,
    workload_facts,
)


def read(tag: str, value: str) -> dict[str, str]:
    return dict(labels(tag, value))


def test_what_is_packed_comes_out_again() -> None:
    tag = packed(("reporter", "source_workload", "source_app"))
    assert read(tag, joined(("source", "reviews-v1", "reviews"))) == {
        "reporter": "source",
        "source_workload": "reviews-v1",
        "source_app": "reviews",
    }


def test_other_tags_are_one_label() -> None:
    assert read("request_host", "a;b__c") == {"request_host": "a;b__c"}


def test_parts_without_label_are_dropped() -> None:
    assert read(packed(("", "source_app", "")), "x;reviews;y") == {"source_app": "reviews"}


@pytest.mark.parametrize("value", ["", "-", "-;-"])
def test_what_nobody_knows_is_unknown(value: str) -> None:
    tag = packed(("source_workload", "source_app"))
    assert read(tag, value) == {"source_workload": "unknown", "source_app": "unknown"}


def test_more_parts_than_labels_shift_nothing() -> None:
    assert read(packed(("source_workload",)), "a;b;c") == {"source_workload": "a"}


@pytest.mark.parametrize(
    ("label", "value", "shown"),
    [
        ("request_protocol", "", "http"),
        ("request_protocol", "0", "grpc"),
        ("request_protocol", "tcp", "tcp"),
        ("connection_security_policy", "", "none"),
        ("connection_security_policy", "spiffe://cluster.local/ns/a/sa/b", "mutual_tls"),
        ("connection_security_policy", "unknown", "unknown"),
        ("response_flags", "-", "-"),
        ("response_flags", "UF,URX", "UF,URX"),
        ("grpc_response_status", "0", "0"),
        ("grpc_response_status", "", None),
        ("response_code", "200", "200"),
    ],
)
def test_evidence(label: str, value: str, shown: str | None) -> None:
    assert read(packed((label,)), value).get(label) == shown


@pytest.mark.parametrize(
    ("statistic", "name"),
    [
        ("istio.requests_total", "istio_requests_total"),
        ("envoy_istio_requests_total", "istio_requests_total"),
        ("envoy_server_live", None),
        ("server.live", None),
    ],
)
def test_names(statistic: str, name: str | None) -> None:
    assert metric_name(statistic) == name


def test_facts_of_a_workload_begin_as_istios_do() -> None:
    labels_of = {"app": "reviews", "version": "v1"}
    text = workload_facts("reviews-v1", "default", ("reviews", "v1"), "Kubernetes", labels_of)
    assert text == "reviews-v1;default;reviews;v1;Kubernetes;reviews;v1"
    assert len(text.split(";")) == len(WORKLOAD_FACTS)
