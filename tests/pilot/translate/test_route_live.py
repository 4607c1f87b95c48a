"""What a real Envoy does with requests under the route tables that VirtualServices become.

Expected values are those of Istio's reference of VirtualService, rule by rule.
"""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import pytest
import yaml

from argosy.api.durations import parse_duration
from argosy.api.networking_virtual_service import VirtualService
from argosy.base.names import Hostname, Namespace
from argosy.model.proxy import ProxyType, Scope
from argosy.model.route import HashPolicy, UnknownHosts
from argosy.model.service import Protocol, Service, ServicePort
from argosy.pilot.compile.routes import mesh_table, mesh_virtual_host
from argosy.pilot.compile.virtual_services import compile_virtual_service
from argosy.pilot.translate.route import route_configuration
from argosy.testing.certificates import ScratchAuthority
from argosy.testing.echo_application import echo_application
from argosy.testing.route_listener import route_listener
from argosy.testing.running_envoy import RunningEnvoy, running, static_cluster

pytestmark = pytest.mark.envoy

HOST = Hostname("reviews.default.svc.cluster.local")
SERVICE = Service(
    HOST,
    "reviews",
    Namespace("default"),
    (ServicePort(9080, "http", Protocol.HTTP, 9080),),
    ("10.96.0.1",),
)
SCOPE = Scope(ProxyType.SIDECAR, Namespace("default"))

RULES = r"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews]
  http:
  - match: [{uri: {exact: /exact}}]
    directResponse: {status: 200, body: {string: exact}}
  - match: [{uri: {prefix: /CASE}, ignoreUriCase: true}]
    directResponse: {status: 200, body: {string: case}}
  - match: [{uri: {regex: "/users/[0-9]+"}}]
    directResponse: {status: 200, body: {string: regex}}
  - match: [{uri: {prefix: /h}, headers: {end-user: {exact: jason}, x-any: {}}}]
    directResponse: {status: 200, body: {string: headers}}
  - match: [{uri: {prefix: /without}, withoutHeaders: {x-stage: {prefix: prod}, x-gone: {}}}]
    directResponse: {status: 200, body: {string: without}}
  - match: [{uri: {prefix: /q}, queryParams: {page: {regex: "[0-9]+"}, debug: {}}}]
    directResponse: {status: 200, body: {string: query}}
  - match: [{uri: {prefix: /m}, method: {exact: POST}, scheme: {exact: http}}]
    directResponse: {status: 200, body: {string: method}}
  - match: [{uri: {prefix: /redirect/}}]
    redirect: {prefixRewrite: /new/, authority: new.example.com, port: 81, redirectCode: 308}
  - match: [{uri: {prefix: /moved}}]
    redirect: {uri: /target}
  - match: [{uri: {prefix: /api/}}]
    rewrite: {uri: /, authority: rewritten.example.com}
    headers:
      request: {set: {x-path: "%REQ(:path)%", x-percent: "100%%"}, remove: [x-secret]}
      response: {add: {x-answered-by: mesh}}
    route: [{destination: {host: reviews}}]
  - match: [{uri: {exact: /whole}}]
    rewrite: {uri: /all/of/it}
    route: [{destination: {host: reviews}}]
  - match: [{uri: {prefix: /service/}}]
    rewrite: {uriRegexRewrite: {match: "^/service/([^/]+)(/.*)$", rewrite: '\2/instance/\1'}}
    route: [{destination: {host: reviews}}]
  - match: [{uri: {prefix: /host}}]
    headers: {request: {set: {Host: set.example.com}}}
    route: [{destination: {host: reviews}}]
  - match: [{uri: {prefix: /slow}}]
    fault: {delay: {fixedDelay: 0.3s, percentage: {value: 100}}}
    directResponse: {status: 200, body: {string: slow}}
  - match: [{uri: {prefix: /broken}}]
    fault: {abort: {httpStatus: 418}}
    route: [{destination: {host: reviews}}]
  - match: [{uri: {prefix: /grpc}}]
    fault: {abort: {grpcStatus: UNAVAILABLE}}
    route: [{destination: {host: reviews}}]
  - match: [{uri: {prefix: /missing}}]
    route: [{destination: {host: nobody}}]
  - match: [{uri: {prefix: /cors}}]
    corsPolicy:
      allowOrigins: [{exact: "https://good.example.com"}]
      allowMethods: [GET]
      maxAge: 1h
      unmatchedPreflights: IGNORE
    route: [{destination: {host: reviews}}]
  - match: [{uri: {prefix: /big}}]
    directResponse: {status: 200, body: {string: BIG}}
"""


class Lookup:
    def service(self, host: Hostname) -> Service | None:
        return SERVICE if host == HOST else None

    def subsets(self, host: Hostname) -> frozenset[str]:
        return frozenset()

    def hash_policy(self, host: Hostname, port: int, subset: str) -> HashPolicy | None:
        return None


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: str

    @property
    def echoed(self) -> dict[str, str]:
        """The headers that the application got."""
        found: dict[str, str] = json.loads(self.body)["headers"]
        return found

    @property
    def echoed_path(self) -> str:
        return str(json.loads(self.body)["path"])


class Client:
    def __init__(self, port: int) -> None:
        self._port = port

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}{path}", method=method)
        request.add_header("Host", "reviews:9080")
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        opener = urllib.request.build_opener(_KeepRedirects())
        try:
            with opener.open(request, timeout=10) as response:
                return _answer(response.status, response)
        except urllib.error.HTTPError as error:
            with error:
                return _answer(error.code, error)


class _KeepRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def _answer(status: int, response: object) -> Answer:
    headers = {k.lower(): v for k, v in response.headers.items()}  # type: ignore[attr-defined]
    return Answer(status, headers, response.read().decode())  # type: ignore[attr-defined]


def virtual_service(text: str) -> VirtualService:
    return msgspec.convert(
        yaml.safe_load(text), VirtualService, dec_hook=lambda _, value: parse_duration(value)
    )


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    written = virtual_service(RULES.replace("BIG", "x" * 100_000))
    rules = compile_virtual_service(written, lambda _, __: None)
    assert not rules.problems
    host = mesh_virtual_host(SERVICE, SERVICE.ports[0], rules.value, SCOPE, Lookup())
    table = route_configuration(mesh_table("9080", [host], UnknownHosts.BLOCK))
    credential = ScratchAuthority().credential("spiffe://cluster.local/ns/default/sa/a")
    with echo_application() as port:
        envoy: RunningEnvoy
        with running(
            tmp_path_factory.mktemp("envoy"),
            credential,
            listeners=[route_listener("routes", table)],
            clusters=[static_cluster(f"outbound|9080||{HOST}", port)],
        ) as envoy:
            yield Client(envoy.port("routes"))


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        ("/exact", {}, "exact"),
        ("/exact?query=1", {}, "exact"),
        ("/exact/more", {}, None),
        ("/case/any", {}, "case"),
        ("/CASEmore", {}, "case"),
        ("/Exact", {}, None),
        ("/users/42", {}, "regex"),
        ("/users/42?x=y", {}, "regex"),
        ("/users/42/books", {}, None),
        ("/h", {"end_user": "jason", "x_any": ""}, "headers"),
        ("/h", {"end_user": "jason"}, None),
        ("/h", {"end_user": "jasonx", "x_any": "1"}, None),
        ("/without", {}, "without"),
        ("/without", {"x_stage": "test"}, "without"),
        ("/without", {"x_stage": "production"}, None),
        ("/without", {"x_gone": "1"}, None),
        ("/q?page=12&debug=", {}, "query"),
        ("/q?page=12", {}, None),
        ("/q?page=12a&debug=1", {}, None),
    ],
)
def test_matches(client: Client, path: str, headers: dict[str, str], expected: str | None) -> None:
    answer = client.get(path, **headers)
    if expected is None:
        assert answer.status == 404
    else:
        assert (answer.status, answer.body) == (200, expected)


def test_method_and_scheme(client: Client) -> None:
    assert client.get("/m", method="POST").body == "method"
    assert client.get("/m").status == 404


@pytest.mark.parametrize("host", ["reviews", "reviews.default:9080", str(HOST), "10.96.0.1:9080"])
def test_every_name_of_the_service(client: Client, host: str) -> None:
    assert client.get("/exact", Host=host).body == "exact"


def test_unknown_hosts_are_blocked(client: Client) -> None:
    assert client.get("/exact", Host="unknown.example.com").status == 502


def test_redirects(client: Client) -> None:
    answer = client.get("/redirect/a?b=c")
    assert answer.status == 308
    assert answer.headers["location"] == "http://new.example.com:81/new/a?b=c"
    moved = client.get("/moved/a")
    assert moved.status == 301
    assert moved.headers["location"] == "http://reviews:9080/target"


def test_prefix_rewrite_and_headers(client: Client) -> None:
    answer = client.get("/api/v1/books?x=1", x_secret="s")
    assert answer.echoed_path == "/v1/books?x=1"
    assert answer.echoed["host"] == "rewritten.example.com"
    assert answer.echoed["x-percent"] == "100%"
    assert "x-secret" not in answer.echoed
    assert answer.headers["x-answered-by"] == "mesh"


def test_whole_and_regex_rewrites(client: Client) -> None:
    assert client.get("/whole").echoed_path == "/all/of/it"
    assert client.get("/service/foo/v1/api").echoed_path == "/v1/api/instance/foo"


def test_setting_host_rewrites_the_authority(client: Client) -> None:
    assert client.get("/host").echoed["host"] == "set.example.com"


def test_faults(client: Client) -> None:
    start = time.monotonic()
    assert client.get("/slow").body == "slow"
    assert (
        time.monotonic() - start >= 0.25
    )  # of 0.3 s: Envoy counts in whole milliseconds of its own
    assert client.get("/broken").status == 418
    grpc = client.get("/grpc", method="POST", content_type="application/grpc")
    assert grpc.headers["grpc-status"] == "14"


def test_a_missing_cluster_answers_503(client: Client) -> None:
    assert client.get("/missing").status == 503


def test_cors(client: Client) -> None:
    wanted = {"Access_Control_Request_Method": "GET"}
    good = client.get("/cors", method="OPTIONS", Origin="https://good.example.com", **wanted)
    assert good.headers["access-control-allow-origin"] == "https://good.example.com"
    assert good.headers["access-control-max-age"] == "3600"
    bad = client.get("/cors", method="OPTIONS", Origin="https://bad.example.com", **wanted)
    assert "access-control-allow-origin" not in bad.headers
    assert bad.body == ""


def test_bodies_beyond_envoys_own_limit(client: Client) -> None:
    assert len(client.get("/big").body) == 100_000
