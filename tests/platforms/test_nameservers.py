"""Which resolvers are asked for names that are not its own."""

from pathlib import Path

import pytest

from argosy.platforms.local.nameservers import addresses, nameservers


def test_the_machines_resolvers_are_those_of_its_resolv_conf(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text(
        "# nameserver 1.1.1.1\nsearch example.com\nnameserver 192.0.2.1\nnameserver ::1\n"
        "nameserver\nnameserver nonsense\nnameserver 192.0.2.2 # second\n"
    )
    assert nameservers(file) == ("192.0.2.1", "192.0.2.2")
    assert nameservers(tmp_path / "absent") == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("192.0.2.1", (("192.0.2.1", 53),)),
        (" 127.0.0.1:5300 , 192.0.2.1", (("127.0.0.1", 5300), ("192.0.2.1", 53))),
        ("resolver.example.com,127.0.0.1:x,192.0.2.3", (("192.0.2.3", 53),)),
    ],
)
def test_chosen_resolvers_may_have_ports(text: str, expected: tuple[tuple[str, int], ...]) -> None:
    assert addresses(text) == expected
