"""What rules name and is not there: where it is said, and what is proposed."""

from argosy.base.names import Hostname, Namespace, ObjectKey
from argosy.base.problems import Problem, Severity
from argosy.model.route import (
    ALL_REQUESTS,
    MESH,
    Attachment,
    Destination,
    Forward,
    HashPolicy,
    HttpRule,
    Mirror,
    Origin,
    RuleMatch,
    WeightedDestination,
)
from argosy.model.service import Protocol, Service, ServicePort
from argosy.pilot.compile.references import check_references

KEY = ObjectKey("VirtualService", Namespace("default"), "vs")
ONE = Hostname("one.default.svc.cluster.local")
TWO = Hostname("two.default.svc.cluster.local")


def _service(host: Hostname, *ports: int) -> Service:
    return Service(
        host,
        host.partition(".")[0],
        Namespace("default"),
        tuple(ServicePort(port, f"http-{port}", Protocol.HTTP, port) for port in ports),
    )


class Lookup:
    def service(self, host: Hostname) -> Service | None:
        return {ONE: _service(ONE, 80), TWO: _service(TWO, 80, 81)}.get(host)

    def subsets(self, host: Hostname) -> frozenset[str]:
        return frozenset({"v2", "v1"}) if host == ONE else frozenset()

    def hash_policy(self, host: Hostname, port: int, subset: str) -> HashPolicy | None:
        return None


def problems(
    destination: Destination,
    *matches: RuleMatch,
    host: Hostname = ONE,
    gateways: tuple[str, ...] = (MESH,),
    gateway_ports: frozenset[int] = frozenset(),
    mirror: Destination | None = None,
) -> tuple[Problem, ...]:
    mirrors = () if mirror is None else (Mirror(mirror, ALL_REQUESTS),)
    action = Forward((WeightedDestination(destination, 1),), mirrors=mirrors)
    rule = HttpRule(KEY, Origin(KEY, "spec.http[0]"), matches or (RuleMatch(),), action)
    claim = Attachment(KEY, (host,), frozenset(gateways), frozenset({"*"}), "")
    return check_references(claim, [rule], Lookup(), gateway_ports)


def to(host: str, subset: str = "", port: int | None = None) -> Destination:
    return Destination(Hostname(host), subset, port, "route[0].destination")


def test_what_is_there_is_no_problem() -> None:
    assert problems(to(ONE, "v1", 80)) == ()
    assert problems(to(ONE)) == ()


def test_a_missing_host_with_its_full_name_as_hint() -> None:
    (problem,) = problems(to("one.default"))
    assert problem.code == "HostNotFound"
    assert problem.field == "spec.http[0].route[0].destination.host"
    assert problem.severity is Severity.ERROR
    assert ONE in problem.hint


def test_a_missing_subset_names_those_defined() -> None:
    (problem,) = problems(to(ONE, "v3"))
    assert problem.field == "spec.http[0].route[0].destination.subset"
    assert problem.code == "SubsetNotFound"
    assert problem.hint == "defined subsets: v1, v2"


def test_a_missing_port() -> None:
    (problem,) = problems(to(TWO, port=82))
    assert (problem.code, problem.hint) == ("PortNotFound", "its ports: 80, 81")


def test_an_ambiguous_port_is_one_that_some_client_calls_in_vain() -> None:
    assert problems(to(TWO)) == (), "clients of one call port 80, which two has as well"
    (problem,) = problems(to(TWO), host=Hostname("x.example.com"))[1:]
    assert problem.code == "AmbiguousPort"
    called = frozenset({8443})
    (problem,) = problems(to(TWO), gateways=("a/b",), gateway_ports=called)
    assert problem.code == "AmbiguousPort"
    assert "8443" in problem.message
    assert problems(to(TWO), RuleMatch(port=81), gateways=("a/b",), gateway_ports=called) == ()


def test_a_mirrors_destination_is_looked_at_too() -> None:
    (problem,) = problems(to(ONE), mirror=Destination(Hostname("nobody"), field="mirror"))
    assert problem.field == "spec.http[0].mirror.host"


def test_a_host_without_service_is_a_warning_on_the_mesh_only() -> None:
    (problem,) = problems(to(ONE), host=Hostname("bookinfo.com"))
    assert (problem.severity, problem.field) == (Severity.WARNING, "spec.hosts[0]")
    assert problems(to(ONE), host=Hostname("bookinfo.com"), gateways=("a/b",)) == ()
