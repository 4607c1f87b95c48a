"""Istio's annotations about captured traffic, and the rules that follow from them.

https://istio.io/latest/docs/reference/config/annotations/
"""

import pytest

from argosy.proxy import capture
from argosy.proxy.capture import EVERYTHING, Interception
from argosy.proxy.interception import PREFIX, interception


def rules(chain: str, **wanted: object) -> list[str]:
    """What follows the chain's own rules for the proxy, as ``nft`` reads it."""
    text = capture.text(capture.sidecar(Interception(**wanted)))  # type: ignore[arg-type]  # by name
    block = text[text.index(f"chain {chain} ") :]
    return [line.strip() for line in block[: block.index("  }")].splitlines()[2:]]


@pytest.mark.parametrize("annotations", [{}, {f"{PREFIX}includeOutboundIPRanges": "*"}])
def test_everything_is_captured_unless_told_otherwise(annotations: dict[str, str]) -> None:
    assert interception(annotations) == (EVERYTHING, ())
    assert not EVERYTHING.is_partial_outbound


def test_all_annotations() -> None:
    found, mistakes = interception(
        {
            f"{PREFIX}includeOutboundIPRanges": "10.0.0.1/8, fd00::/8",
            f"{PREFIX}excludeOutboundIPRanges": "10.1.2.3/32",
            f"{PREFIX}includeOutboundPorts": "9000",
            f"{PREFIX}excludeOutboundPorts": "3306,6379",
            f"{PREFIX}includeInboundPorts": "80, 443",
            f"{PREFIX}excludeInboundPorts": "8081",
            f"{PREFIX}excludeInterfaces": "eth1",
        }
    )
    assert mistakes == ()
    assert found == Interception(
        outbound_networks=("10.0.0.0/8", "fd00::/8"),
        outbound_networks_excluded=("10.1.2.3/32",),
        outbound_ports=(9000,),
        outbound_ports_excluded=(3306, 6379),
        inbound_ports=(80, 443),
        inbound_ports_excluded=(8081,),
        interfaces_excluded=("eth1",),
    )


def test_an_empty_list_captures_nothing() -> None:
    """ "An empty list will disable all outbound redirection", and so inbound."""
    empty = {f"{PREFIX}includeOutboundIPRanges": "", f"{PREFIX}includeInboundPorts": ""}
    found, _ = interception(empty)
    assert (found.outbound_networks, found.inbound_ports) == ((), ())
    assert not any("to :15001" in rule for rule in rules("outbound", outbound_networks=()))
    assert not any("to :15006" in rule for rule in rules("inbound", inbound_ports=()))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("includeOutboundIPRanges", "10.0.0.0/8,everything"),
        ("includeOutboundIPRanges", "10.0.0.1"),
        ("excludeOutboundIPRanges", "*"),
        ("excludeOutboundPorts", "http"),
        ("includeInboundPorts", "80,0"),
        ("excludeInboundPorts", "65536"),
        ("excludeInterfaces", "an-interface-with-a-long-name"),
    ],
)
def test_a_mistake_is_said_and_lets_nothing_past_the_proxy(name: str, text: str) -> None:
    found, (mistake,) = interception({PREFIX + name: text})
    assert found == EVERYTHING
    assert mistake.startswith(PREFIX + name)


def test_what_is_excluded_precedes_what_is_captured() -> None:
    found = rules(
        "outbound",
        outbound_networks_excluded=("10.1.2.3/32",),
        outbound_ports_excluded=(3306,),
        interfaces_excluded=("eth1",),
    )
    assert found[:2] == ['oifname "eth1" return', "meta l4proto tcp th dport 3306 return"]
    assert found[-2:] == [
        "ip daddr 10.1.2.3/32 meta l4proto tcp return",
        "meta l4proto tcp redirect to :15001",
    ]


def test_included_networks_and_ports_are_all_that_is_captured() -> None:
    found = rules("outbound", outbound_networks=("10.0.0.0/8",), outbound_ports=(9000,))
    assert [rule for rule in found if "15001" in rule] == [
        "meta l4proto tcp th dport 9000 redirect to :15001",
        "ip daddr 10.0.0.0/8 meta l4proto tcp redirect to :15001",
    ]
    assert found[-1].startswith("ip daddr")


def test_inbound_ports() -> None:
    assert rules("inbound", inbound_ports=(80,))[-1] == (
        "meta l4proto tcp th dport 80 redirect to :15006"
    )
    assert rules("inbound", inbound_ports_excluded=(8081,))[-2:] == [
        "meta l4proto tcp th dport 8081 return",
        "meta l4proto tcp redirect to :15006",
    ]
    only = rules("inbound", inbound_ports=(80,), inbound_ports_excluded=(8081,))
    assert not any("8081" in rule for rule in only), "a meaning only where all are captured"


def test_what_is_left_alone_finds_services_by_their_addresses() -> None:
    target = capture.ServiceTarget("10.96.0.9", 80, (("10.244.0.2", 8080),))
    beside, own = capture.beside_sidecar((target,)), capture.sidecar()
    assert "dnat ip to 10.244.0.2:8080" in capture.text(beside)
    assert beside.table != own.table
    assert beside.chains[0].priority > own.chains[1].priority
