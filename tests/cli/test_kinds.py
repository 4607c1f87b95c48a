"""How people name kinds and objects."""

import pytest

from argosy.cli.client import CliError
from argosy.cli.kinds import kind_named, kinds_named, wanted


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("vs", "VirtualService"),
        ("VirtualServices", "VirtualService"),
        ("virtualservice.networking.istio.io", "VirtualService"),
        ("gw", "Gateway"),
        ("pa", "PeerAuthentication"),
        ("deployments.apps", "Deployment"),
        ("po", "Pod"),
    ],
)
def test_a_kind_by_any_of_its_names(word: str, kind: str) -> None:
    assert kind_named(word).kind == kind


def test_several_kinds_each_once() -> None:
    assert [kind.kind for kind in kinds_named("vs,svc,vs")] == ["VirtualService", "Service"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["vs"], [("VirtualService", "")]),
        (["vs", "a", "b"], [("VirtualService", "a"), ("VirtualService", "b")]),
        (["vs,dr", "a"], [("VirtualService", "a"), ("DestinationRule", "a")]),
        (["vs/a", "dr/b"], [("VirtualService", "a"), ("DestinationRule", "b")]),
    ],
)
def test_objects(words: list[str], found: list[tuple[str, str]]) -> None:
    assert [(item.kind.kind, item.name) for item in wanted(words)] == found


@pytest.mark.parametrize("words", [[], ["vs/"], ["/a"], ["vs/a", "b"], [","], ["nothing"]])
def test_what_names_nothing(words: list[str]) -> None:
    with pytest.raises(CliError) as raised:
        wanted(words)
    assert raised.value.code == 2


def test_paths() -> None:
    assert kind_named("vs").path("x", "a") == (
        "/apis/networking.istio.io/v1/namespaces/x/virtualservices/a"
    )
    assert kind_named("pods").path(None) == "/api/v1/pods"
    assert kind_named("ns").path("ignored", "a") == "/api/v1/namespaces/a"
