import pytest

from argosy.api.decode import decode_yaml
from argosy.api.networking_service_entry import ServiceEntry
from argosy.pilot.compile.service_entries import services


@pytest.mark.parametrize(
    ("written", "addresses"),
    [
        ("192.0.2.7", ("192.0.2.7",)),
        ("192.0.2.7/32", ("192.0.2.7",)),
        ("192.0.2.7, 192.0.2.7/32", ("192.0.2.7",)),
        ("192.0.2.0/24, 192.0.2.7/32", ("192.0.2.0/24", "192.0.2.7")),
        ("'2001:db8::7/128'", ("2001:db8::7",)),
    ],
)
def test_a_network_of_one_address_is_that_address(written: str, addresses: tuple[str, ...]) -> None:
    text = (
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a}\n"
        f"spec: {{hosts: [a.example.com], addresses: [{written}], resolution: STATIC,\n"
        "  ports: [{number: 80, name: http, protocol: HTTP}]}\n"
    )
    (entry,) = decode_yaml(text, "f").objects
    assert isinstance(entry, ServiceEntry)
    (service,) = services(entry)
    assert service.addresses == addresses
