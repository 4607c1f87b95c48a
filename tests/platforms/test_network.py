import ipaddress

import pytest
from pyroute2.iproute import IPRoute

from argosy.platforms.local import netns, network
from argosy.platforms.local.network import AddressesExhaustedError, AddressPool
from argosy.testing.namespaces import run_inside


def test_addresses_come_in_turn_and_are_not_reused_soon() -> None:
    pool = AddressPool()
    first, second = pool.take(), pool.take()
    assert (first, second) == ("10.244.0.2", "10.244.0.3")
    pool.give_back(first)
    assert pool.take() == "10.244.0.4"


def test_a_full_subnet_is_an_error_and_recovers() -> None:
    pool = AddressPool(ipaddress.IPv4Network("10.0.0.0/29"))
    taken = [pool.take() for _ in range(5)]
    assert taken == [f"10.0.0.{n}" for n in (2, 3, 4, 5, 6)]
    with pytest.raises(AddressesExhaustedError, match="all 5 pod addresses"):
        pool.take()
    pool.give_back("10.0.0.4")
    assert pool.take() == "10.0.0.4"


def come_and_go() -> None:
    def mac() -> str:
        with IPRoute() as route:
            (link,) = route.link("get", ifname=network.BRIDGE)
            return str(link.get_attr("IFLA_ADDRESS"))

    seen = [mac()]
    for number in range(2, 8):
        network.attach(netns.create(), f"pod{number}", f"10.244.0.{number}")
        seen.append(mac())
    for number in range(2, 8):
        network.detach(f"pod{number}")
        seen.append(mac())
    assert len(set(seen)) == 1, seen


@pytest.mark.e2e
def test_pods_that_come_and_go_do_not_change_the_address_that_others_know_the_bridge_by() -> None:
    """Told once by ARP and remembered for long: with another one they reach nobody for seconds."""
    run_inside(come_and_go)
