"""Each of Istio's own sample files applies clean, and those on traffic do what their tasks say.

https://github.com/istio/istio/tree/master/samples
"""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from external import Internet, Site, internet
from inside import Inside, inside
from manifests import deployment, service
from mesh import ISTIO_SAMPLES, SAMPLES, Mesh, eventually
from rules import Rules

pytestmark = pytest.mark.e2e

NETWORKING = "bookinfo/networking"
PLATFORM = "bookinfo/platform/kube"
ALL = (f"{NETWORKING}/bookinfo-gateway.yaml", f"{NETWORKING}/destination-rule-all.yaml")
GOOGLE = "www.googleapis.com"
SYSTEM = "istio-system"
RATINGS = SAMPLES / "bookinfo" / "ratings.py"
IMAGES = f"""
images:
  - match: ".*examples-bookinfo-ratings-v2(:.*)?"
    command: ["${{PYTHON}}", "{RATINGS}", "9080"]
"""
"""Those versions keep their ratings in databases; here what matters is who is asked."""

TRAFFIC_KINDS = frozenset(
    {"VirtualService", "DestinationRule", "ServiceEntry", "Ingress", "EnvoyFilter"}
)

LATER = {
    "gateway.networking.k8s.io": "Gateway API",
    "telemetry.istio.io": "telemetry",
    "install.istio.io": "istioctl's own installation",
    "certmanager.k8s.io": "cert-manager's, which it reads itself",
}
"""Groups of kinds that may be unknown, and what they are."""

BROKEN_IN_ISTIO = {"mtls-echo/mtls-echo.yaml": "UnknownVolume"}
"""Kubernetes refuses it too."""

RATE_LIMIT_SERVICE = Path(__file__).with_name("rate_limit_service.py")

ELSEWHERE = {
    "tcp-echo/tcp-echo-all-v1.yaml": "test_httpbin_tasks.py",
    "tcp-echo/tcp-echo-20-v2.yaml": "test_httpbin_tasks.py",
    "websockets/route.yaml": "test_protocol_matrix.py",
    "ratelimit/local-rate-limit-service.yaml": "test_envoy_filters.py",
}
"""Files whose tasks are shown by another module, which applies them."""

NOT_ON_TRAFFIC = frozenset({"extauthz/local-ext-authz.yaml"})
"""ServiceEntries too, for external authorization."""


@dataclass(frozen=True)
class World:
    mesh: Mesh
    rules: Rules
    net: Internet
    curl: Inside
    anyone: httpx.Client


@pytest.fixture(scope="module")
def world(
    mesh: Mesh, tmp_path_factory: pytest.TempPathFactory, istio_samples: Path
) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("samples")
    (directory / "images.yaml").write_text(IMAGES)
    more = ("details-v2", "ratings-v2", "ratings-v2-mysql", "ratings-v2-mysql-vm")
    names = [f"{PLATFORM}/bookinfo.yaml", *(f"{PLATFORM}/bookinfo-{name}.yaml" for name in more)]
    names += ["httpbin/httpbin.yaml", "helloworld/helloworld.yaml", "curl/curl.yaml"]
    files = [istio_samples / name for name in names]
    with internet(mesh, directory, Site(GOOGLE)) as net:
        mesh.up(*files, net.manifest, options=("--images", str(directory / "images.yaml")))
        net.connect()
        options: dict[str, Any] = {"base_url": mesh.url, "timeout": 30, "follow_redirects": True}
        with (
            Rules(mesh) as rules,
            inside(mesh, "deploy/curl") as curl,
            httpx.Client(**options) as anyone,
        ):
            yield World(mesh, rules, net, curl, anyone)


def stars(page: httpx.Response) -> str:
    colors = [color for color in ("black", "red") if f'color="{color}"' in page.text]
    return colors[0] if colors else "none"


def reviewers(world: World, count: int = 20, user: str = "") -> Counter[str]:
    """Which versions of reviews answered."""
    headers = {"end-user": user} if user else {}
    answers = world.curl.requests("http://reviews:9080/reviews/0", headers=headers, count=count)
    assert [answer.status for answer in answers] == [200] * count
    return Counter(answer.json["podname"].split("-")[1] for answer in answers)


def asked(world: World, cluster: str) -> int:
    """Requests that curl's proxy has given to the endpoints of a cluster."""
    text = world.mesh.envoy("deploy/curl", "/clusters")
    lines = [line for line in text.splitlines() if line.startswith(f"{cluster}::")]
    return sum(int(line.rpartition("::")[2]) for line in lines if "::rq_total::" in line)


def is_asked(world: World, service: str, subset: str, path: str) -> None:
    cluster = f"outbound|9080|{subset}|{service}.default.svc.cluster.local"
    before = asked(world, cluster)
    for answer in world.curl.requests(f"http://{service}:9080{path}", count=5):
        assert answer.status == 200
    assert asked(world, cluster) == before + 5


def only(*versions: str, user: str = "") -> Callable[[World], None]:
    def check(world: World) -> None:
        wanted = set(versions)
        eventually(lambda: set(reviewers(world, 30, user)) == wanted, str(versions))

    return check


def shares(**percent: int) -> Callable[[World], None]:
    def check(world: World) -> None:
        eventually(lambda: set(reviewers(world, 60)) == set(percent), str(percent))
        found = reviewers(world, 400)
        for version, wanted in percent.items():
            # Four standard deviations of 400 draws with one half are 40.
            assert abs(found[version] - 4 * wanted) <= 40, found

    return check


def both(*checks: Callable[[World], None]) -> Callable[[World], None]:
    def check(world: World) -> None:
        for each in checks:
            each(world)

    return check


def the_gateway(world: World) -> None:
    eventually(lambda: world.anyone.get("/productpage").status_code == 200, "the page")
    assert world.anyone.get("/headers").status_code == 404


def the_subsets(world: World) -> None:
    the_gateway(world)
    seen: set[str] = set()

    def all_are_seen() -> bool:
        seen.add(stars(world.anyone.get("/productpage")))
        return seen == {"none", "black", "red"}

    eventually(all_are_seen, "pages of all three subsets", seconds=30)
    the_reviews(world)


def the_reviews(world: World) -> None:
    text = world.mesh.envoy("deploy/curl", "/clusters")
    host = "reviews.default.svc.cluster.local"
    names = {line.partition("::")[0] for line in text.splitlines()}
    assert {f"outbound|9080|v{number}|{host}" for number in (1, 2, 3)} <= names


def no_stars(world: World) -> None:
    eventually(lambda: set(reviewers(world)) == {"v1"}, "v1")
    assert {stars(world.anyone.get("/productpage")) for _ in range(5)} == {"none"}


def details_v2(world: World) -> None:
    is_asked(world, "details", "v2", "/details/0")
    the_gateway(world)


def ratings_of(subset: str) -> Callable[[World], None]:
    def check(world: World) -> None:
        only("v3")(world)
        is_asked(world, "ratings", subset, "/ratings/0")
        assert stars(world.anyone.get("/productpage")) == "red"

    return check


def an_abort(world: World) -> None:
    url = "http://ratings:9080/ratings/0"
    eventually(lambda: world.curl.get(url, headers={"end-user": "jason"}).status == 500, "500")
    assert world.curl.get(url).status == 200


def a_delay(world: World) -> None:
    url = "http://ratings:9080/ratings/0"
    started = time.monotonic()
    assert world.curl.get(url, headers={"end-user": "jason"}).status == 200
    assert time.monotonic() - started >= 6.9
    started = time.monotonic()
    assert world.curl.get(url).status == 200
    assert time.monotonic() - started < 6.9


def details_fail(world: World) -> None:
    eventually(lambda: world.curl.get("http://details:9080/details/0").status == 555, "555")


def a_challenge(world: World) -> None:
    """The solver of the VirtualService is not there until cert-manager makes it."""
    path = "/.well-known/acme-challenge/a-token"
    eventually(lambda: world.anyone.get(path).status_code == 503, "no solver")
    assert world.anyone.get("/productpage").status_code == 404
    solver = deployment("resolver", image="mccutchen/go-httpbin", port=8080, namespace=SYSTEM)
    port: dict[str, object] = {"name": "http", "port": 8089, "targetPort": 8080}
    world.rules.apply("pod", solver)
    named = service("cert-manager-resolver", "resolver", port, namespace=SYSTEM)
    world.rules.apply("service", named)
    # httpbin knows no such path, and says so itself.
    eventually(lambda: world.anyone.get(path).status_code == 404, "the solver", 30)


def google(world: World) -> None:
    """TLS to port 443 for who speaks HTTP; the server's authority is not the system's, so it fails."""
    url = f"http://{GOOGLE}/"
    eventually(lambda: world.curl.get(url).status == 503, "not trusted")
    assert world.net.seen(GOOGLE) == []
    name = "bookinfo/networking/egress-rule-google-apis.yaml"
    text = (ISTIO_SAMPLES / name).read_text()
    mode = "mode: SIMPLE"
    assert mode in text
    trusting = text.replace(mode, f"{mode}\n        caCertificates: {world.net.ca}\n       ")
    world.rules.apply(name, trusting)
    eventually(lambda: world.curl.get(url).status == 200, "trusted")
    assert world.curl.get(url).json["port"] == 443


def helloworld(world: World) -> None:
    def hello() -> bool:
        return "Hello version" in world.anyone.get("/hello").text

    eventually(hello, "hello")
    assert world.anyone.get("/other").status_code == 404


def httpbin(world: World) -> None:
    eventually(lambda: world.anyone.get("/status/418").status_code == 418, "httpbin")


def an_ingress(world: World) -> None:
    the_gateway(world)
    assert world.anyone.get("/api/v1/products").status_code == 200
    assert world.anyone.get("/productpage/more").status_code == 404


def a_rate_limit(world: World) -> None:
    """Istio's task: one request a minute for /productpage; without the service all are refused."""
    eventually(lambda: world.anyone.get("/productpage").status_code == 500, "no service")
    argv = (sys.executable, str(RATE_LIMIT_SERVICE), "8081", "/productpage")
    world.rules.apply("pod", deployment("ratelimit", *argv, port=8081))
    port: dict[str, object] = {"name": "grpc-port", "port": 8081}
    world.rules.apply("service", service("ratelimit", "ratelimit", port))

    def statuses(path: str) -> list[int]:
        return [world.anyone.get(path).status_code for _ in range(3)]

    eventually(lambda: statuses("/api/v1/products/0") == [200] * 3, "the service is asked", 30)
    assert statuses("/productpage") == [200, 429, 429]
    assert statuses("/api/v1/products/0") == [200] * 3


@dataclass(frozen=True)
class Task:
    """What a file does, once ``after`` are applied. ``codes`` are warnings that it deserves."""

    check: Callable[[World], None]
    after: tuple[str, ...] = ALL
    codes: frozenset[str] = frozenset()


TASKS = {
    f"{NETWORKING}/bookinfo-gateway.yaml": Task(the_gateway, ()),
    f"{NETWORKING}/certmanager-gateway.yaml": Task(a_challenge, (), frozenset({"HostNotFound"})),
    f"{NETWORKING}/destination-rule-all-mtls.yaml": Task(the_subsets, ALL[:1]),
    f"{NETWORKING}/destination-rule-all.yaml": Task(the_subsets, ALL[:1]),
    f"{NETWORKING}/destination-rule-reviews.yaml": Task(the_reviews, ()),
    f"{NETWORKING}/egress-rule-google-apis.yaml": Task(
        google, (), frozenset({"NoServerCertificateVerificationPortLevel"})
    ),
    f"{NETWORKING}/fault-injection-details-v1.yaml": Task(
        details_fail, ALL[:1], frozenset({"UnreachableRule"})
    ),
    f"{NETWORKING}/virtual-service-all-v1.yaml": Task(no_stars),
    f"{NETWORKING}/virtual-service-details-v2.yaml": Task(details_v2),
    f"{NETWORKING}/virtual-service-ratings-db.yaml": Task(ratings_of("v2")),
    f"{NETWORKING}/virtual-service-ratings-mysql-vm.yaml": Task(ratings_of("v2-mysql-vm")),
    f"{NETWORKING}/virtual-service-ratings-mysql.yaml": Task(ratings_of("v2-mysql")),
    f"{NETWORKING}/virtual-service-ratings-test-abort.yaml": Task(an_abort),
    f"{NETWORKING}/virtual-service-ratings-test-delay.yaml": Task(a_delay),
    f"{NETWORKING}/virtual-service-reviews-50-v3.yaml": Task(shares(v1=50, v3=50)),
    f"{NETWORKING}/virtual-service-reviews-80-20.yaml": Task(shares(v1=80, v2=20)),
    f"{NETWORKING}/virtual-service-reviews-90-10.yaml": Task(shares(v1=90, v2=10)),
    f"{NETWORKING}/virtual-service-reviews-jason-v2-v3.yaml": Task(
        both(only("v2", user="jason"), only("v3"))
    ),
    f"{NETWORKING}/virtual-service-reviews-test-v2.yaml": Task(
        both(only("v2", user="jason"), only("v1"))
    ),
    f"{NETWORKING}/virtual-service-reviews-v2-v3.yaml": Task(shares(v2=50, v3=50)),
    f"{NETWORKING}/virtual-service-reviews-v3.yaml": Task(only("v3")),
    f"{PLATFORM}/bookinfo-ingress.yaml": Task(an_ingress, ()),
    "bookinfo/policy/productpage_envoy_ratelimit.yaml": Task(a_rate_limit, ALL[:1]),
    "helloworld/helloworld-gateway.yaml": Task(helloworld, ()),
    "httpbin/httpbin-gateway.yaml": Task(httpbin, ()),
}


@pytest.mark.parametrize("name", TASKS)
def test_a_file_on_traffic_applies_clean_and_does_what_it_says(world: World, name: str) -> None:
    task = TASKS[name]
    try:
        for each in (*task.after, name):
            problems = world.rules.apply(each, (ISTIO_SAMPLES / each).read_text(), quietly=False)
            allowed = task.codes if each == name else frozenset()
            assert {problem["code"] for problem in problems} <= allowed, problems
        task.check(world)
    finally:
        world.rules.clear()


def files() -> list[Path]:
    return sorted(ISTIO_SAMPLES.rglob("*.yaml"))


def test_every_file_applies_clean_but_for_kinds_that_are_named(world: World) -> None:
    """What cannot be applied is said with its line, and of what group its kind is."""
    for file in files():
        name = str(file.relative_to(ISTIO_SAMPLES))
        for problem in world.rules.dry_run(file.read_text()):
            if problem["severity"] != "Error":
                continue
            if problem["code"] == BROKEN_IN_ISTIO.get(name):
                continue
            assert problem["code"] == "UnsupportedKind", (name, problem)
            assert [group for group in LATER if group in problem["message"]], (name, problem)
            assert problem["line"], (name, problem)


def test_every_file_on_traffic_has_its_task() -> None:
    if not ISTIO_SAMPLES.is_dir():
        pytest.skip(f"Istio's samples are not at {ISTIO_SAMPLES}")
    here = Path(__file__).parent
    for name, module in ELSEWHERE.items():
        assert Path(name).name in (here / module).read_text(), (name, module)
    traffic = {
        str(file.relative_to(ISTIO_SAMPLES))
        for file in files()
        if any(
            line.removeprefix("kind:").strip() in TRAFFIC_KINDS
            for line in file.read_text().splitlines()
            if line.startswith("kind:")
        )
    }
    assert traffic - NOT_ON_TRAFFIC == {*TASKS, *ELSEWHERE}
