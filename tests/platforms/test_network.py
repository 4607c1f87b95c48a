import ipaddress

import pytest

from argosy.platforms.local.network import AddressesExhaustedError, AddressPool


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
