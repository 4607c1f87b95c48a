"""Where keys may come from: the addresses that are dialled, whatever they are called."""

from ipaddress import ip_address

import pytest

from argosy.server.jwks.addresses import AddressRules, RulesError, address_rules

MESH = ("10.244.0.0/16", "10.96.0.0/16")
USUAL = address_rules(MESH, "", "")
HOST = "keys.example.com"


def refusal(rules: AddressRules, address: str, host: str = HOST) -> str:
    return rules.refusal(host, ip_address(address))


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "10.0.0.7", "192.168.1.1", "172.16.0.1", "2606:2800:220:1::1"]
)
def test_the_internet_and_private_networks_are_reached(address: str) -> None:
    """As with Istio: issuers often are in a private network."""
    assert refusal(USUAL, address) == ""


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("127.0.0.1", "the machine itself"),
        ("127.255.0.3", "the machine itself"),
        ("0.0.0.0", "the machine itself"),
        ("::1", "the machine itself"),
        ("::", "the machine itself"),
        ("::ffff:127.0.0.1", "the machine itself"),
        ("::127.0.0.1", "the machine itself"),
        ("64:ff9b::7f00:1", "the machine itself"),
        ("2002:7f00:1::", "the machine itself"),
        ("169.254.169.254", "the metadata service"),
        ("::ffff:169.254.169.254", "the metadata service"),
        ("fd00:ec2::254", "the metadata service"),
        ("100.100.100.200", "the metadata service"),
        ("168.63.129.16", "the metadata service"),
        ("169.254.1.1", "a link-local address"),
        ("fe80::1", "a link-local address"),
        ("224.0.0.251", "a multicast address"),
        ("ff02::1", "a multicast address"),
        ("255.255.255.255", "a reserved address"),
        ("240.240.0.1", "a reserved address"),
        ("10.244.0.1", "inside the mesh"),
        ("10.96.0.10", "inside the mesh"),
        ("::ffff:10.96.0.10", "inside the mesh"),
    ],
)
def test_what_is_refused_unasked(address: str, why: str) -> None:
    assert why in refusal(USUAL, address)


def test_a_name_lifts_what_its_owner_may_be_and_nothing_else() -> None:
    rules = address_rules(MESH, f" {HOST.upper()} ,", "")
    for address in ("127.0.0.1", "10.244.0.9", "::1"):
        assert refusal(rules, address) == ""
        assert refusal(rules, address, HOST + ".") == ""
        assert HOST not in rules.allowed
        assert refusal(rules, address, "other.example.com")
    for address in ("169.254.169.254", "fe80::1", "224.0.0.1", "::ffff:169.254.169.254"):
        assert refusal(rules, address)


def test_a_block_lifts_everything_but_what_is_blocked() -> None:
    rules = address_rules(MESH, "127.0.0.0/8, 169.254.169.254, fd00::/8", "127.0.0.9/32,8.8.0.0/16")
    for address in ("127.0.0.1", "169.254.169.254", "fd00:ec2::254"):
        assert refusal(rules, address) == ""
    assert "BLOCKED_CIDRS_IN_JWKS_URIS" in refusal(rules, "127.0.0.9")
    assert "BLOCKED_CIDRS_IN_JWKS_URIS" in refusal(rules, "8.8.8.8")
    assert "BLOCKED_CIDRS_IN_JWKS_URIS" in refusal(rules, "::ffff:8.8.8.8")
    # What only stands for an allowed address is not it.
    assert refusal(rules, "::ffff:127.0.0.1")


@pytest.mark.parametrize(
    ("allowed", "blocked"), [("10.0.0.0/33", ""), ("a:b", ""), ("...", ""), ("", "example.com")]
)
def test_lists_that_cannot_be_read(allowed: str, blocked: str) -> None:
    with pytest.raises(RulesError):
        address_rules(MESH, allowed, blocked)
