"""What one NetworkPolicy alone shows to be wrong."""

import json

import pytest

from argosy.api.decode import decode_yaml
from argosy.api.networking_network_policy import NetworkPolicy
from argosy.api.validate import validate


def read(spec: object) -> NetworkPolicy:
    metadata = {"name": "x", "namespace": "default"}
    text = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata}
    decoded = decode_yaml(json.dumps({**text, "spec": spec}).encode(), "x.yaml")
    assert not decoded.errors, decoded.errors
    (found,) = decoded.objects
    assert isinstance(found, NetworkPolicy)
    return found


def test_the_policy_of_kubernetes_documentation_is_valid() -> None:
    block = {"cidr": "172.17.0.0/16", "except": ["172.17.1.0/24"]}
    peers = [
        {"ipBlock": block},
        {"namespaceSelector": {"matchLabels": {"project": "myproject"}}},
        {"podSelector": {"matchExpressions": [{"key": "role", "operator": "Exists"}]}},
    ]
    ports = [{"protocol": "TCP", "port": 32000, "endPort": 32768}, {"port": "http"}, {}]
    found = read(
        {
            "podSelector": {"matchLabels": {"role": "db"}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": peers, "ports": ports}],
            "egress": [{"to": peers[:1], "ports": [{"protocol": "UDP", "port": 53}]}],
        }
    )
    assert list(validate(found)) == []
    assert found.spec.ingress[0].from_[0].ip_block is not None
    assert found.spec.ingress[0].from_[0].ip_block.except_ == ("172.17.1.0/24",)


@pytest.mark.parametrize(
    ("spec", "types"),
    [
        ({}, {"Ingress"}),
        ({"ingress": [{}]}, {"Ingress"}),
        ({"egress": [{}]}, {"Ingress", "Egress"}),
        ({"policyTypes": ["Egress"]}, {"Egress"}),
    ],
)
def test_types_have_a_default(spec: object, types: set[str]) -> None:
    assert read(spec).spec.types == types


@pytest.mark.parametrize(
    ("spec", "field", "code"),
    [
        ({"egress": [{"to": [{}]}]}, "spec.egress[0].to[0]", "MissingField"),
        (
            {"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}]},
            "spec.ingress[0].from[0]",
            "NotAllowed",
        ),
        (
            {"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.1"}}]}]},
            "spec.ingress[0].from[0].ipBlock.cidr",
            "InvalidValue",
        ),
        (
            {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/9"]}}]}]},
            "spec.egress[0].to[0].ipBlock.except[0]",
            "InvalidValue",
        ),
        (
            {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}}]}]},
            "spec.egress[0].to[0].ipBlock.except[0]",
            "InvalidValue",
        ),
        ({"ingress": [{"ports": [{"port": 0}]}]}, "spec.ingress[0].ports[0].port", "InvalidPort"),
        (
            {"ingress": [{"ports": [{"port": "80"}]}]},
            "spec.ingress[0].ports[0].port",
            "InvalidPort",
        ),
        (
            {"ingress": [{"ports": [{"port": 80, "endPort": 79}]}]},
            "spec.ingress[0].ports[0].endPort",
            "InvalidPort",
        ),
        (
            {"ingress": [{"ports": [{"port": "http", "endPort": 79}]}]},
            "spec.ingress[0].ports[0].endPort",
            "NotAllowed",
        ),
        (
            {"podSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}},
            "spec.podSelector.matchExpressions[0].operator",
            "InvalidValue",
        ),
        ({"policyTypes": ["Egress"], "ingress": [{}]}, "spec.ingress", "NoEffect"),
    ],
)
def test_mistakes(spec: object, field: str, code: str) -> None:
    (problem,) = validate(read(spec))
    assert (problem.field, problem.code) == (field, code)


def test_protocols_and_types_are_known_ones() -> None:
    for spec, field in (
        ({"policyTypes": ["egress"]}, "spec.policyTypes[0]"),
        ({"ingress": [{"ports": [{"protocol": "ICMP"}]}]}, "spec.ingress[0].ports[0].protocol"),
    ):
        metadata = {"name": "x", "namespace": "default"}
        text = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}
        whole = json.dumps({**text, "metadata": metadata, "spec": spec})
        assert [p.field for p in decode_yaml(whole.encode(), "x.yaml").problems] == [field]
