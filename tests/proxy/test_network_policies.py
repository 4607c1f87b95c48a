"""NetworkPolicies as the rules of one pod.

https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

from typing import Any

import msgspec

from argosy.api.core_container import Container, ContainerPort
from argosy.api.core_pod import Pod, PodSpec, PodStatus
from argosy.api.meta import Metadata
from argosy.api.networking_network_policy import NetworkPolicy, NetworkPolicySpec
from argosy.proxy import capture
from argosy.proxy.network_policies import policy_rules


def a_pod(name: str, address: str, namespace: str = "default", port: int = 8080) -> Pod:
    ports = (ContainerPort(container_port=port, name="http"),)
    return Pod(
        metadata=Metadata(name=name, namespace=namespace, labels={"app": name}),
        spec=PodSpec(containers=(Container(name="c", ports=ports),)),
        status=PodStatus(pod_ip=address),
    )


WEB = a_pod("web", "10.244.0.2")
DB = a_pod("db", "10.244.0.3", port=5432)
OTHER = a_pod("web", "10.244.0.4", "other")
PODS = (WEB, DB, OTHER)
NAMESPACES = {"default": {}, "other": {"team": "a"}}
DROP = "drop"
ALWAYS_IN = ["ct direction reply return", 'iifname "lo" return', "ip saddr 10.244.0.1/32 return"]


def a_policy(name: str = "p", namespace: str = "default", **spec: Any) -> NetworkPolicy:
    return NetworkPolicy(
        metadata=Metadata(name=name, namespace=namespace),
        spec=msgspec.convert(spec, NetworkPolicySpec),
    )


def rules(pod: Pod, *policies: NetworkPolicy, chain: str = "ingress") -> list[str]:
    """Those of a chain, as ``nft`` reads them; none where there is no such chain."""
    text = capture.text(policy_rules(pod, policies, PODS, NAMESPACES))
    if f"chain {chain} " not in text:
        return []
    block = text[text.index(f"chain {chain} ") :]
    return [line.strip() for line in block[: block.index("  }")].splitlines()[2:]]


def test_a_pod_that_no_policy_selects_is_open() -> None:
    of_db = a_policy(podSelector={"matchLabels": {"app": "db"}})
    assert policy_rules(WEB, [of_db], PODS, NAMESPACES).chains == ()
    elsewhere = a_policy(namespace="other")
    assert policy_rules(WEB, [elsewhere], PODS, NAMESPACES).chains == ()


def test_a_policy_without_rules_closes_its_directions() -> None:
    assert rules(WEB, a_policy()) == [*ALWAYS_IN, DROP]
    assert rules(WEB, a_policy(), chain="egress") == []
    closed = a_policy(policyTypes=["Egress"])
    assert rules(WEB, closed) == []
    out = rules(WEB, closed, chain="egress")
    assert out[0] == "ct direction reply return"
    assert "ip daddr 10.244.0.1/32 return" in out
    assert out[-1] == DROP


def test_an_empty_rule_opens_everything() -> None:
    assert rules(WEB, a_policy(ingress=[{}])) == [*ALWAYS_IN, "return", DROP]


def test_peers_are_pods_of_ones_own_namespace_unless_namespaces_are_selected() -> None:
    web = {"matchLabels": {"app": "web"}}
    team = {"matchLabels": {"team": "a"}}
    by_name = {"matchLabels": {"kubernetes.io/metadata.name": "other"}}

    def let_in(**peer: object) -> list[str]:
        found = rules(DB, a_policy(ingress=[{"from": [peer]}]))
        return [rule.split()[2] for rule in found[len(ALWAYS_IN) : -1]]

    assert let_in(podSelector=web) == ["10.244.0.2/32"]
    assert let_in(podSelector={}) == ["10.244.0.2/32", "10.244.0.3/32"]
    assert let_in(namespaceSelector=team) == ["10.244.0.4/32"]
    assert let_in(namespaceSelector=by_name, podSelector=web) == ["10.244.0.4/32"]
    assert let_in(namespaceSelector={}, podSelector=web) == ["10.244.0.2/32", "10.244.0.4/32"]
    assert let_in(podSelector={"matchLabels": {"app": "nobody"}}) == []


def test_ports_by_number_range_and_the_name_that_the_dialled_pod_has() -> None:
    ports = [{"port": 53, "protocol": "UDP"}, {"port": 90, "endPort": 99}, {"port": "http"}]
    found = rules(WEB, a_policy(ingress=[{"ports": ports}]))[len(ALWAYS_IN) : -1]
    assert found == [
        "meta l4proto udp th dport 53 return",
        "meta l4proto tcp th dport 90-99 return",
        "meta l4proto tcp th dport 8080 return",
    ]
    to = [{"podSelector": {"matchLabels": {"app": "db"}}}]
    out = rules(WEB, a_policy(egress=[{"to": to, "ports": [{"port": "http"}]}]), chain="egress")
    assert out[-2] == "ip daddr 10.244.0.3/32 meta l4proto tcp th dport 5432 return"


def test_a_block_without_parts_of_it() -> None:
    block = {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "10.2.0.0/16"]}
    out = rules(WEB, a_policy(egress=[{"to": [{"ipBlock": block}]}]), chain="egress")
    assert out[-2] == ("ip daddr 10.0.0.0/8 ip daddr != 10.1.0.0/16 ip daddr != 10.2.0.0/16 return")


def test_policies_add_up_in_any_order() -> None:
    one = a_policy("one", ingress=[{"ports": [{"port": 1}]}])
    two = a_policy("two", ingress=[{"ports": [{"port": 2}]}, {"ports": [{"port": 1}]}])
    assert rules(WEB, one, two) == rules(WEB, two, one)
    assert [rule for rule in rules(WEB, one, two) if "dport" in rule] == [
        "meta l4proto tcp th dport 1 return",
        "meta l4proto tcp th dport 2 return",
    ]


def test_incoming_is_judged_before_capture_and_outgoing_after_it() -> None:
    found = policy_rules(WEB, [a_policy(egress=[{}])], PODS, NAMESPACES)
    own = {chain.hook: chain.priority for chain in capture.sidecar().chains}
    chains = {chain.hook: chain for chain in found.chains}
    assert chains["prerouting"].priority < own["prerouting"]
    assert chains["output"].priority > own["output"]
    assert {chain.type for chain in found.chains} == {"filter"}
    assert found.table != capture.sidecar().table
