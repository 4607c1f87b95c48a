"""Which VirtualService has a host: visibility, precedence, conflicts."""

from dataclasses import replace

from argosy.base.names import Hostname, Namespace, ObjectKey
from argosy.model.route import MESH, Attachment
from argosy.pilot.compile.attachments import in_order, mesh_conflicts, winner

HOST = Hostname("reviews.default.svc.cluster.local")
DEFAULT, OTHER = Namespace("default"), Namespace("other")


def claim(
    name: str,
    created: str = "",
    *,
    hosts: tuple[str, ...] = (HOST,),
    namespace: str = "default",
    export_to: tuple[str, ...] = ("*",),
    gateways: tuple[str, ...] = (MESH,),
) -> Attachment:
    return Attachment(
        ObjectKey("VirtualService", Namespace(namespace), name),
        tuple(Hostname(host) for host in hosts),
        frozenset(gateways),
        frozenset(export_to),
        created,
    )


def test_the_oldest_wins_and_then_the_first_by_name() -> None:
    older, younger = claim("z", "2026-01-01T00:00:00Z"), claim("a", "2026-01-02T00:00:00Z")
    assert winner([younger, older], HOST, DEFAULT) == older
    assert winner([claim("b"), claim("a")], HOST, DEFAULT) == claim("a")
    assert winner([claim("a"), older], HOST, DEFAULT) == older, "an unknown age is no age"


def test_the_most_specific_host_wins_whatever_its_age() -> None:
    wildcard = claim("a", "2026-01-01T00:00:00Z", hosts=("*.default.svc.cluster.local",))
    exact = claim("b", "2026-02-01T00:00:00Z")
    assert winner([wildcard, exact], HOST, DEFAULT) == exact
    assert winner([wildcard], HOST, DEFAULT) == wildcard


def test_what_is_meant_for_a_namespace_goes_before_what_is_public() -> None:
    public = claim("a", "2026-01-01T00:00:00Z")
    private = claim("b", "2026-02-01T00:00:00Z", export_to=("default",))
    assert winner([public, private], HOST, DEFAULT) == private
    assert winner([public, private], HOST, OTHER) == public
    assert mesh_conflicts([public, private]) == ()


def test_nobody_wins_unseen_or_unattached_or_by_the_bare_wildcard() -> None:
    hidden = claim("a", export_to=("elsewhere",))
    gateway = claim("b", gateways=("default/edge",))
    everything = claim("c", hosts=("*",))
    assert winner([hidden, gateway, everything], HOST, DEFAULT) is None


def test_gateways_take_all_in_order() -> None:
    one = claim("one", "2026-01-02T00:00:00Z", gateways=("default/edge",))
    two = claim("two", "2026-01-01T00:00:00Z", gateways=("default/edge", MESH))
    other = claim("three", gateways=("default/other",))
    assert in_order([one, other, two], "default/edge", DEFAULT) == (two, one)


def test_the_loser_is_told_who_won_at_the_host_it_lost() -> None:
    older = claim("older", "2026-01-01T00:00:00Z")
    younger = claim("younger", "2026-01-02T00:00:00Z", hosts=("a.example.com", HOST))
    (problem,) = mesh_conflicts([younger, older])
    assert (problem.object, problem.field) == (younger.object, "spec.hosts[1]")
    assert problem.code == "HostConflict"
    assert "VirtualService default/older" in problem.message


def test_rivals_for_different_namespaces_do_not_meet() -> None:
    one, two = claim("one", export_to=("a",)), claim("two", export_to=("b",))
    assert mesh_conflicts([one, two]) == ()
    assert len(mesh_conflicts([one, claim("two", export_to=("a", "b"))])) == 1


def test_http_and_tcp_rules_of_one_host_are_no_rivals() -> None:
    tcp = replace(claim("a", "2026-01-01T00:00:00Z"), http=False, opaque=True)
    http = claim("b", "2026-02-01T00:00:00Z")
    assert mesh_conflicts([tcp, http]) == ()
    both = replace(http, opaque=True)
    assert [problem.object for problem in mesh_conflicts([tcp, both])] == [both.object]
