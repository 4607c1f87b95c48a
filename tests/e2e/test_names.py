"""Names: every form of a service's, its address, headless services, DNS as a real client asks it.

https://github.com/kubernetes/dns/blob/master/docs/specification.md
"""

import socket
import threading
from collections.abc import Iterator

import dns.message
import dns.rcode
import dns.rrset
import pytest
from inside import Inside, InsideError, inside
from manifests import account, deployment, namespace, server, service
from mesh import Mesh, eventually

pytestmark = pytest.mark.e2e

SPIFFE = "spiffe://cluster.local/ns"
LONG_FORMS = ("reviews.default", "reviews.default.svc", "reviews.default.svc.cluster.local")

WORKLOADS = (
    namespace("other")
    + account("reviews")
    + account("client", "other")
    + deployment("curl", image="curlimages/curl")
    + deployment("curl", image="curlimages/curl", namespace="other", account="client")
    + deployment("reviews", *server("any", "9080,9090"), port=9080, account="reviews")
    + service("reviews", "reviews", {"name": "http", "port": 9080})
    + service("reviews-80", "reviews", {"name": "http", "port": 80, "targetPort": 9080})
    + deployment("replica", *server("any", "7000,7001"), port=7000, replicas=2)
    + service(
        "replicas",
        "replica",
        {"name": "http", "port": 7000},
        {"name": "tcp", "port": 7001},
        headless=True,
    )
    + service("nobody", "nobody", {"name": "http", "port": 80}, headless=True)
)


class Resolver:
    """Stands in for the machine's resolver: knows one name, and remembers what it was asked."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.asked: list[str] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                query, client = self._socket.recvfrom(4096)
            except OSError:
                return
            message = dns.message.from_wire(query)
            name = message.question[0].name.to_text()
            self.asked.append(name)
            answer = dns.message.make_response(message)
            if name == "www.example.com.":
                answer.answer.append(dns.rrset.from_text(name, 60, "IN", "A", "192.0.2.80"))
            else:
                answer.set_rcode(dns.rcode.NXDOMAIN)
            self._socket.sendto(answer.to_wire(), client)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(scope="module")
def resolver() -> Iterator[Resolver]:
    resolver = Resolver()
    yield resolver
    resolver.close()


@pytest.fixture(scope="module")
def named(mesh: Mesh, resolver: Resolver, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    file = tmp_path_factory.mktemp("yaml") / "workloads.yaml"
    file.write_text(WORKLOADS)
    mesh.environment["ARGOSY_NAMESERVERS"] = resolver.address
    mesh.up(file)
    return mesh


@pytest.fixture(scope="module")
def near(named: Mesh) -> Iterator[Inside]:
    """A client in the namespace of the services."""
    with inside(named, "deploy/curl") as clients:
        yield clients


@pytest.fixture(scope="module")
def far(named: Mesh) -> Iterator[Inside]:
    """A client in another namespace."""
    with inside(named, "deploy/curl", "other") as clients:
        yield clients


def pod_addresses(mesh: Mesh, app: str) -> list[str]:
    return sorted(pod["status"]["podIP"] for pod in mesh.get("pods", "-l", f"app={app}"))


def cluster_ip(mesh: Mesh, name: str) -> str:
    (found,) = mesh.get(f"service/{name}")
    address: str = found["spec"]["clusterIP"]
    return address


# HTTP by every form.


def test_every_form_of_a_name_reaches_the_service(named: Mesh, near: Inside, far: Inside) -> None:
    address = cluster_ip(named, "reviews")
    for client, forms in ((near, ("reviews", *LONG_FORMS, address)), (far, (*LONG_FORMS, address))):
        for form in forms:
            answer = client.get(f"http://{form}:9080/path")
            assert answer.status == 200, (form, answer)
            assert answer.json["headers"]["host"] == f"{form}:9080"
            assert f"{SPIFFE}/default/sa/reviews" in xfcc(answer.json), form
            assert answer.headers["server"] == "envoy", "the sidecar answers"


def xfcc(described: dict[str, dict[str, str]]) -> str:
    return described["headers"].get("x-forwarded-client-cert", "")


def test_the_identity_of_the_caller_is_seen(near: Inside, far: Inside) -> None:
    assert f"URI={SPIFFE}/default/sa/default" in xfcc(near.get("http://reviews:9080/").json)
    assert f"URI={SPIFFE}/other/sa/client" in xfcc(far.get("http://reviews.default:9080/").json)


def test_a_short_name_is_of_the_callers_namespace(far: Inside) -> None:
    with pytest.raises(InsideError, match=r"gaierror|Name or service"):
        far.call("addresses", name="reviews")


def test_a_host_with_and_without_port(named: Mesh, near: Inside) -> None:
    """The Host header decides; its port, right, absent or of another listener, does not."""
    for host in ("reviews", "reviews:9080", "reviews:80", "REVIEWS.default.svc.cluster.local:9080"):
        answer = near.get("http://reviews:9080/", headers={"host": host})
        assert answer.status == 200, (host, answer)
        assert f"By={SPIFFE}/default/sa/reviews" in xfcc(answer.json), host
    for form in (
        "reviews-80",
        "reviews-80.default",
        "reviews-80:80",
        cluster_ip(named, "reviews-80"),
    ):
        answer = near.get(f"http://{form}/")
        assert f"By={SPIFFE}/default/sa/reviews" in xfcc(answer.json), form


def test_a_pod_calls_itself_through_its_service(named: Mesh) -> None:
    """In mutual TLS, as to any other: it sees its own identity as the caller's."""
    with inside(named, "deploy/reviews") as itself:
        answer = itself.get("http://reviews:9080/")
        assert answer.status == 200
        seen = xfcc(answer.json)
        assert f"By={SPIFFE}/default/sa/reviews" in seen
        assert f"URI={SPIFFE}/default/sa/reviews" in seen
        assert itself.call("exchange", host="127.0.0.1", port=9080, text="hi") == "raw:hi"


def test_a_pod_is_called_by_its_address(named: Mesh, near: Inside) -> None:
    """The mesh has no service of that address: the connection goes through as it is."""
    (address,) = pod_addresses(named, "reviews")
    answer = near.get(f"http://{address}:9080/")
    assert answer.status == 200
    assert "x-forwarded-client-cert" not in answer.json["headers"]
    assert near.call("exchange", host=address, port=9090, text="some text") == "raw:some text"


# Headless services.


def test_a_headless_service_is_its_pods(named: Mesh, near: Inside, far: Inside) -> None:
    addresses = pod_addresses(named, "replica")
    assert len(addresses) == 2
    assert near.call("addresses", name="replicas") == addresses
    assert near.call("lookup", name="replicas.default.svc.cluster.local")["answers"] == addresses
    for client, host in ((near, "replicas"), (far, "replicas.default")):
        answers = client.requests(f"http://{host}:7000/", count=10, fresh=True)
        assert [answer.status for answer in answers] == [200] * 10
        assert all(f"By={SPIFFE}/default/sa/default" in xfcc(answer.json) for answer in answers)
        assert client.call("exchange", host=host, port=7001, text="bytes") == "raw:bytes"
    for address in addresses:
        assert near.call("exchange", host=address, port=7001, text="bytes") == "raw:bytes"


def test_a_headless_service_follows_its_pods(named: Mesh, near: Inside) -> None:
    more = deployment("replica", *server("any", "7000,7001"), port=7000, replicas=3)
    named.apply(more)
    eventually(lambda: len(near.call("addresses", name="replicas")) == 3, "three addresses")
    addresses = pod_addresses(named, "replica")

    def handshakes() -> int:
        return named.stat(
            "deploy/curl", "outbound|7001||replicas.default.svc.cluster.local;.ssl.hand"
        )

    before = handshakes()
    for address in addresses:
        assert near.call("exchange", host=address, port=7001, text="bytes") == "raw:bytes"
    assert handshakes() == before + 3, "all of them in mutual TLS"


# DNS.


def test_dns_of_services(named: Mesh, near: Inside) -> None:
    address = cluster_ip(named, "reviews")
    for name in ("reviews", *LONG_FORMS, "Reviews.Default.SVC.cluster.local"):
        for tcp in (False, True):
            found = near.call("lookup", name=f"{name}.", tcp=tcp)
            assert found["rcode"] == "NOERROR"
            assert found["answers"] == [address], (name, tcp)


def test_dns_says_no_data_and_no_such_name(near: Inside) -> None:
    """No data for what exists without such records: else clients give up on IPv4 too."""
    full = "reviews.default.svc.cluster.local."
    for kind in ("AAAA", "MX", "TXT"):
        found = near.call("lookup", name=full, kind=kind)
        assert (found["rcode"], found["answers"], found["authority"]) == ("NOERROR", [], ["SOA"])
    empty = near.call("lookup", name="nobody.default.svc.cluster.local.")
    assert (empty["rcode"], empty["answers"]) == ("NOERROR", [])
    for name in ("absent.default.svc.cluster.local.", "reviews.nowhere.svc.cluster.local."):
        for tcp in (False, True):
            found = near.call("lookup", name=name, tcp=tcp)
            assert (found["rcode"], found["answers"]) == ("NXDOMAIN", []), name
            assert found["authority"] == ["SOA"]


def test_dns_of_other_names_is_forwarded(near: Inside, resolver: Resolver) -> None:
    for tcp in (False, True):
        found = near.call("lookup", name="www.example.com.", tcp=tcp)
        assert (found["rcode"], found["answers"]) == ("NOERROR", ["192.0.2.80"])
    assert near.call("addresses", name="www.example.com") == ["192.0.2.80"]
    assert near.call("lookup", name="absent.example.com.")["rcode"] == "NXDOMAIN"
    assert "www.example.com." in resolver.asked
    assert not [name for name in resolver.asked if name.endswith("cluster.local.")], (
        "names of the cluster are never asked outside"
    )


def test_dns_of_any_server_is_the_meshs(named: Mesh, near: Inside) -> None:
    """Whatever resolver an application has built in, mesh names are known."""
    found = near.call("lookup", name="reviews.default.svc.cluster.local.", server="192.0.2.53")
    assert found["answers"] == [cluster_ip(named, "reviews")]
