"""https://istio.io/latest/docs/ops/best-practices/security/#configuration-scope, made a rule."""

from dataclasses import replace

import pytest

from argosy.base.names import Hostname, Namespace, ObjectKey
from argosy.model.route import MESH, Attachment
from argosy.model.service import Service
from argosy.pilot.compile import ownership
from argosy.pilot.compile.mesh import DEFAULT_MESH
from argosy.pilot.compile.ownership import NOBODY

SHOP = Hostname("cart.shop.svc.cluster.local")


def claim(namespace: str, *hosts: str, export_to: tuple[str, ...] = ("*",)) -> Attachment:
    return Attachment(
        object=ObjectKey("VirtualService", Namespace(namespace), "rules"),
        hosts=tuple(map(Hostname, hosts)),
        gateways=frozenset({MESH}),
        export_to=frozenset(export_to),
        created="",
        http=True,
        opaque=False,
    )


@pytest.mark.parametrize(
    ("host", "owner"),
    [
        ("cart.shop.svc.cluster.local", "shop"),
        ("web-0.web.shop.svc.cluster.local", "shop"),
        ("*.shop.svc.cluster.local", "shop"),
        ("*.svc.cluster.local", NOBODY),
        ("*.cluster.local", NOBODY),
        ("*.local", NOBODY),
        ("*", NOBODY),
        ("shop.svc.cluster.local", NOBODY),
        ("api.example.com", None),
        ("*.example.com", None),
        ("svc.cluster.local.example.com", None),
    ],
)
def test_a_cluster_name_says_whose_it_is(host: str, owner: str | None) -> None:
    assert ownership.namespace_in_name(Hostname(host)) == owner


@pytest.mark.parametrize("export_to", [("*",), ("thief", "third"), ("*", "third")])
def test_foreign_rules_hold_at_home(export_to: tuple[str, ...]) -> None:
    found = ownership.limited(
        claim("thief", SHOP, export_to=export_to), Namespace("shop"), DEFAULT_MESH
    )
    assert found.export_to == {"thief"}


def test_foreign_rules_that_do_not_hold_at_home_hold_nowhere() -> None:
    found = ownership.limited(
        claim("thief", SHOP, export_to=("third",)), Namespace("shop"), DEFAULT_MESH
    )
    assert not found.export_to


@pytest.mark.parametrize("namespace", ["shop", "istio-system"])
def test_the_owner_and_the_root_namespace_reach_everybody(namespace: str) -> None:
    written = claim(namespace, SHOP)
    assert ownership.limited(written, Namespace("shop"), DEFAULT_MESH) == written


def test_what_nobody_defines_is_anybodys() -> None:
    written = claim("thief", "api.example.com")
    assert ownership.limited(written, None, DEFAULT_MESH) == written


def test_the_mesh_may_do_as_istio_does() -> None:
    written = claim("thief", SHOP)
    mesh = replace(DEFAULT_MESH, owned_hosts=False)
    assert ownership.limited(written, Namespace("shop"), mesh) == written
    assert not ownership.check_rules(written, lambda _: Namespace("shop"), mesh)


def test_an_address_of_a_service_is_its_namespaces() -> None:
    taken = Service(
        hostname=Hostname("a.example.com"),
        name="a.example.com",
        namespace=Namespace("thief"),
        ports=(),
        addresses=("10.96.0.9",),
    )
    for namespace, reach in (("shop", {"thief"}), ("thief", {"*"})):
        holders = {"10.96.0.9": ObjectKey("Service", Namespace(namespace), "cart")}
        assert ownership.limited_service(taken, holders, DEFAULT_MESH).export_to == reach


def test_only_what_reaches_further_is_told() -> None:
    def owner(_: Hostname) -> Namespace:
        return Namespace("shop")

    (problem,) = ownership.check_rules(claim("thief", SHOP), owner, DEFAULT_MESH)
    assert (problem.field, problem.code) == ("spec.hosts[0]", "ForeignHost")
    assert "namespace shop" in problem.message
    at_home = claim("thief", SHOP, export_to=("thief",))
    assert not ownership.check_rules(at_home, owner, DEFAULT_MESH)
    at_gateway = replace(claim("thief", SHOP), gateways=frozenset({"thief/edge"}))
    assert not ownership.check_rules(at_gateway, owner, DEFAULT_MESH)
