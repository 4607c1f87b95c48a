import msgspec
import pytest

from argosy.api import registry


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [
        ("v1", "Service"),
        ("apps/v1", "Deployment"),
        ("networking.istio.io/v1", "VirtualService"),
        ("networking.istio.io/v1beta1", "DestinationRule"),
        ("networking.istio.io/v1alpha3", "Gateway"),
        ("security.istio.io/v1beta1", "PeerAuthentication"),
    ],
)
def test_kinds_are_found_in_every_version_that_istio_serves(api_version: str, kind: str) -> None:
    entry = registry.get_kind(api_version, kind)
    assert entry is not None
    assert entry.kind == kind
    assert registry.require_struct(entry.struct) is entry


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [
        ("v2", "Service"),
        ("apps/v1", "Service"),
        ("security.istio.io/v1alpha3", "PeerAuthentication"),
        ("gateway.networking.k8s.io/v1", "Gateway"),
        ("", "Service"),
    ],
)
def test_other_versions_and_groups_are_not(api_version: str, kind: str) -> None:
    assert registry.get_kind(api_version, kind) is None


def test_paths_name_kinds() -> None:
    entry = registry.get_resource("networking.istio.io", "v1beta1", "virtualservices")
    assert entry is registry.BY_KIND["VirtualService"]
    assert registry.get_resource("", "v1", "virtualservices") is None


@pytest.mark.parametrize("entry", registry.KINDS, ids=lambda entry: entry.kind)
def test_every_struct_knows_its_own_kind(entry: registry.Registered) -> None:
    obj = entry.struct()
    assert (obj.api_version, obj.kind) == (entry.api_version, entry.kind)
    assert msgspec.structs.fields(entry.struct)[2].encode_name == "metadata"


def test_names_of_kinds_are_distinct() -> None:
    names = [
        name.lower()
        for entry in registry.KINDS
        for name in {entry.kind.lower(), entry.plural, *entry.short_names}
    ]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("entry", registry.KINDS, ids=lambda entry: entry.kind)
def test_every_kind_has_rules_or_types_that_say_everything(entry: registry.Registered) -> None:
    lenient = entry.validate is registry.nothing_to_check
    assert lenient == (entry.kind in {"Namespace", "ServiceAccount"})
