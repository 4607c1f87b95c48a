"""Expected values are Istio's: its API reference and its validation."""

from typing import Any

import pytest

from argosy.api.decode import decode_json
from argosy.api.validate import validate
from argosy.base.problems import Problem, Severity


def problems(spec: dict[str, Any]) -> tuple[Problem, ...]:
    decoded = decode_json(
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "DestinationRule",
            "metadata": {"name": "a"},
            "spec": {"host": "reviews", **spec},
        }
    )
    assert decoded.problems == ()
    return validate(decoded.objects[0])


def policy(policy: dict[str, Any]) -> list[tuple[str, str, Severity]]:
    found = problems({"trafficPolicy": policy})
    return [(p.field.removeprefix("spec.trafficPolicy."), p.code, p.severity) for p in found]


@pytest.mark.parametrize(
    "traffic_policy",
    [
        {"loadBalancer": {"simple": "ROUND_ROBIN", "warmup": {"duration": "30s", "minimumPercent": 10, "aggression": 1.5}}},
        {"loadBalancer": {"consistentHash": {"httpHeaderName": "x-user"}}},
        {"loadBalancer": {"consistentHash": {"httpCookie": {"name": "user", "ttl": "0s"}, "maglev": {"tableSize": 65537}}}},
        {"loadBalancer": {"consistentHash": {"useSourceIp": True, "ringHash": {"minimumRingSize": 1024}}}},
        {"loadBalancer": {"localityLbSetting": {"distribute": [{"from": "a/*", "to": {"a/b/*": 70, "c/*": 30}}]}}},
        {"loadBalancer": {"localityLbSetting": {"failover": [{"from": "a", "to": "b"}]}}, "outlierDetection": {}},
        {"connectionPool": {"tcp": {"maxConnections": 1}, "http": {"http1MaxPendingRequests": 1, "maxRequestsPerConnection": 1, "idleTimeout": "0s"}}},
        {"outlierDetection": {"consecutive5xxErrors": 1, "interval": "1s", "baseEjectionTime": "3m", "maxEjectionPercent": 100}},
        {"tls": {"mode": "ISTIO_MUTUAL"}},
        {"tls": {"mode": "SIMPLE", "sni": "a.example.com"}},
        {"tls": {"mode": "MUTUAL", "clientCertificate": "/a", "privateKey": "/b", "caCertificates": "/c"}},
        {"tls": {"mode": "MUTUAL", "credentialName": "a"}},
        {"tunnel": {"protocol": "POST", "targetHost": "a.example.com", "targetPort": 443}},
        {"portLevelSettings": [{"port": {"number": 80}, "tls": {"mode": "DISABLE"}}]},
        {"retryBudget": {"percent": 25, "minRetryConcurrency": 5}},
        {"proxyProtocol": {"version": "V2"}},
    ],
)  # fmt: skip
def test_what_istio_admits(traffic_policy: dict[str, Any]) -> None:
    assert policy(traffic_policy) == []


@pytest.mark.parametrize(
    ("traffic_policy", "field", "code"),
    [
        ({"tunnel": {"targetHost": "a", "targetPort": 1}, "proxyProtocol": {}}, "spec.trafficPolicy", "ConflictingFields"),
        ({"tunnel": {"protocol": "GET", "targetHost": "a", "targetPort": 1}}, "tunnel.protocol", "InvalidValue"),
        ({"tunnel": {"targetHost": "*.a", "targetPort": 1}}, "tunnel.targetHost", "InvalidHost"),
        ({"tunnel": {"targetHost": "a"}}, "tunnel.targetPort", "InvalidPort"),
        ({"loadBalancer": {"simple": "RANDOM", "consistentHash": {"useSourceIp": True}}}, "loadBalancer", "ConflictingFields"),
        ({"loadBalancer": {"consistentHash": {}}}, "loadBalancer.consistentHash", "MissingField"),
        ({"loadBalancer": {"consistentHash": {"useSourceIp": True, "httpHeaderName": "a"}}}, "loadBalancer.consistentHash", "ConflictingFields"),
        ({"loadBalancer": {"consistentHash": {"useSourceIp": True, "ringHash": {}, "maglev": {"tableSize": 7}}}}, "loadBalancer.consistentHash", "ConflictingFields"),
        ({"loadBalancer": {"consistentHash": {"httpCookie": {"ttl": "1s"}}}}, "loadBalancer.consistentHash.httpCookie.name", "MissingField"),
        ({"loadBalancer": {"consistentHash": {"httpHeaderName": "a b"}}}, "loadBalancer.consistentHash.httpHeaderName", "InvalidHeader"),
        ({"loadBalancer": {"consistentHash": {"useSourceIp": True, "maglev": {"tableSize": 0}}}}, "loadBalancer.consistentHash.maglev.tableSize", "OutOfRange"),
        ({"loadBalancer": {"consistentHash": {"useSourceIp": True, "maglev": {"tableSize": 5000011}}}}, "loadBalancer.consistentHash.maglev.tableSize", "OutOfRange"),
        ({"loadBalancer": {"consistentHash": {"useSourceIp": True, "maglev": {"tableSize": 1000}}}}, "loadBalancer.consistentHash.maglev.tableSize", "InvalidValue"),
        ({"loadBalancer": {"warmup": {"duration": "0s"}}}, "loadBalancer.warmup.duration", "InvalidDuration"),
        ({"loadBalancer": {"warmup": {"duration": "1s", "minimumPercent": 101}}}, "loadBalancer.warmup.minimumPercent", "OutOfRange"),
        ({"loadBalancer": {"warmup": {"duration": "1s", "aggression": 0.5}}}, "loadBalancer.warmup.aggression", "OutOfRange"),
        ({"loadBalancer": {"localityLbSetting": {"distribute": [{"from": "a", "to": {"b": 50}}]}}}, "loadBalancer.localityLbSetting.distribute[0].to", "InvalidWeight"),
        ({"loadBalancer": {"localityLbSetting": {"failover": [{"from": "a", "to": "a"}]}}, "outlierDetection": {}}, "loadBalancer.localityLbSetting.failover[0]", "ConflictingFields"),
        ({"connectionPool": {}}, "connectionPool", "MissingField"),
        ({"connectionPool": {"tcp": {"maxConnections": -1}}}, "connectionPool.tcp.maxConnections", "OutOfRange"),
        ({"connectionPool": {"tcp": {"connectTimeout": "0s"}}}, "connectionPool.tcp.connectTimeout", "InvalidDuration"),
        ({"connectionPool": {"http": {"http2MaxRequests": -5}}}, "connectionPool.http.http2MaxRequests", "OutOfRange"),
        ({"connectionPool": {"http": {"h2UpgradePolicy": "UPGRADE", "useClientProtocol": True}}}, "connectionPool.http.useClientProtocol", "ConflictingFields"),
        ({"outlierDetection": {"interval": "0s"}}, "outlierDetection.interval", "InvalidDuration"),
        ({"outlierDetection": {"maxEjectionPercent": 101}}, "outlierDetection.maxEjectionPercent", "OutOfRange"),
        ({"outlierDetection": {"minHealthPercent": -1}}, "outlierDetection.minHealthPercent", "OutOfRange"),
        ({"outlierDetection": {"consecutiveLocalOriginFailures": 5}}, "outlierDetection.consecutiveLocalOriginFailures", "ConflictingFields"),
        ({"tls": {"mode": "MUTUAL", "privateKey": "/b"}}, "tls.clientCertificate", "MissingField"),
        ({"tls": {"mode": "SIMPLE", "credentialName": "a", "caCertificates": "/b"}}, "tls", "ConflictingFields"),
        ({"tls": {"mode": "ISTIO_MUTUAL", "privateKey": "/b"}}, "tls.privateKey", "ConflictingFields"),
        ({"portLevelSettings": [{"tls": {}}]}, "portLevelSettings[0].port", "MissingField"),
        ({"portLevelSettings": [{"port": {"number": 80}}]}, "portLevelSettings[0]", "MissingField"),
        ({"portLevelSettings": [{"port": {"number": 0}, "tls": {}}]}, "portLevelSettings[0].port.number", "InvalidPort"),
        ({"portLevelSettings": [{"port": {"number": 80}, "tls": {}}, {"port": {"number": 80}, "tls": {}}]}, "portLevelSettings[1].port.number", "DuplicateValue"),
        ({"retryBudget": {"percent": 101}}, "retryBudget.percent", "OutOfRange"),
    ],
)  # fmt: skip
def test_what_is_refused(traffic_policy: dict[str, Any], field: str, code: str) -> None:
    assert policy(traffic_policy) == [(field, code, Severity.ERROR)]


@pytest.mark.parametrize(
    ("traffic_policy", "field", "code"),
    [
        ({"loadBalancer": {"simple": "LEAST_CONN"}}, "loadBalancer.simple", "Deprecated"),
        ({"loadBalancer": {"localityLbSetting": {"failover": [{"from": "a", "to": "b"}]}}}, "loadBalancer.localityLbSetting", "NoEffect"),
        ({"outlierDetection": {"consecutiveErrors": 5}}, "outlierDetection.consecutiveErrors", "Deprecated"),
        ({"tls": {"mode": "DISABLE", "sni": "a"}}, "tls.sni", "NoEffect"),
    ],
)  # fmt: skip
def test_what_is_warned_of(traffic_policy: dict[str, Any], field: str, code: str) -> None:
    assert policy(traffic_policy) == [(field, code, Severity.WARNING)]


@pytest.mark.parametrize(
    ("spec", "field", "code"),
    [
        ({"host": ""}, "spec.host", "MissingField"),
        ({"host": "a_b"}, "spec.host", "InvalidHost"),
        ({"trafficPolicy": {}}, "spec.trafficPolicy", "MissingField"),
        ({"subsets": [{"name": "v1"}, {"name": "v1"}]}, "spec.subsets[1].name", "DuplicateName"),
        ({"subsets": [{"name": "V1"}]}, "spec.subsets[0].name", "InvalidName"),
        ({"subsets": [{"name": "v1", "labels": {"a": "b/c"}}]}, "spec.subsets[0].labels.a", "InvalidLabel"),
        ({"subsets": [{"name": "v1", "trafficPolicy": {"connectionPool": {}}}]}, "spec.subsets[0].trafficPolicy.connectionPool", "MissingField"),
        ({"exportTo": ["*"], "workloadSelector": {"matchLabels": {"a": "b"}}}, "spec.exportTo", "ConflictingFields"),
        ({"workloadSelector": {"matchLabels": {"a": "*"}}}, "spec.workloadSelector.matchLabels.a", "InvalidLabel"),
    ],
)  # fmt: skip
def test_what_is_refused_of_the_rest(spec: dict[str, Any], field: str, code: str) -> None:
    assert [(p.field, p.code, p.severity) for p in problems(spec)] == [
        (field, code, Severity.ERROR)
    ]
