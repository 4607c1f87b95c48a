"""Istio's proxy annotations."""

import pytest

from argosy.proxy.annotations import PROXY_CONFIG, proxy_settings
from argosy.proxy.bootstrap import StatsInclusion


def test_nothing_said_is_the_default() -> None:
    settings = proxy_settings({})
    assert (settings.concurrency, settings.stats, settings.mistakes) == (1, StatsInclusion(), ())


def test_the_annotation_of_istios_fortio_sample() -> None:
    text = 'proxyStatsMatcher:\n  inclusionPrefixes:\n  - "cluster.outbound"\n  - "server"\n'
    settings = proxy_settings({PROXY_CONFIG: text})
    assert settings.stats == StatsInclusion(prefixes=("cluster.outbound", "server"))


def test_the_annotations_of_their_own() -> None:
    settings = proxy_settings(
        {
            "sidecar.istio.io/statsInclusionRegexps": "a.*,b",
            "sidecar.istio.io/logLevel": "debug",
            PROXY_CONFIG: "concurrency: 2",
        }
    )
    assert settings.stats.regexps == ("a.*", "b")
    assert (settings.log_level, settings.concurrency) == ("debug", 2)


def test_mistakes_are_said_and_change_nothing() -> None:
    for annotations, what in (
        ({PROXY_CONFIG: "concurrency: many"}, "concurrency"),
        ({PROXY_CONFIG: "[1"}, "not YAML"),
        ({PROXY_CONFIG: "text"}, "not a map"),
        ({PROXY_CONFIG: "proxyStatsMatcher: {inclusionPrefixes: a}"}, "inclusionPrefixes"),
        ({"sidecar.istio.io/logLevel": "loud"}, "logLevel"),
    ):
        settings = proxy_settings(annotations)
        assert (settings.concurrency, settings.log_level) == (1, "warning")
        assert len(settings.mistakes) == 1
        assert what in settings.mistakes[0]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("concurrency: 1", None),
        ('runtimeValues: {overload.global_downstream_max_connections: "7"}', 7),
        (
            'proxyMetadata: {ISTIO_META_GLOBAL_DOWNSTREAM_MAX_CONNECTIONS: "8"}\n'
            'runtimeValues: {overload.global_downstream_max_connections: "7"}',
            8,
        ),
        (
            'proxyMetadata: {ISTIO_META_GLOBAL_DOWNSTREAM_MAX_CONNECTIONS: "8"}\n'
            "connectionSettings: {globalDownstreamConnectionLimit: 9}",
            9,
        ),
    ],
)
def test_the_limit_of_all_connections(config: str, expected: int | None) -> None:
    """https://istio.io/latest/docs/ops/configuration/traffic-management/edge-proxy/"""
    assert proxy_settings({PROXY_CONFIG: config}).connection_limit == expected
