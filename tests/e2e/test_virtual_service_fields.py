"""Each field of a VirtualService's HTTP rules, by what a request experiences.

https://istio.io/latest/docs/reference/config/networking/virtual-service/
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from inside import Answer, Inside, inside
from manifests import deployment, namespace, server, service, virtual_service
from mesh import Mesh, eventually
from rules import Rules

pytestmark = pytest.mark.e2e

ANY = server("any", "8000,8001")
WORKLOADS = (
    namespace("other")
    + deployment("curl", image="curlimages/curl")
    + deployment("wget", image="curlimages/curl")
    + deployment("curl", image="curlimages/curl", namespace="other")
    + deployment("echo-v1", *ANY, port=8000, labels={"app": "echo", "version": "v1"})
    + deployment("echo-v2", *ANY, port=8000, labels={"app": "echo", "version": "v2"})
    + service("echo", "echo", {"name": "http", "port": 8000}, {"name": "http-more", "port": 8001})
    + deployment("flaky", *server("flaky", 8080), port=8080)
    + service("flaky", "flaky", {"name": "http", "port": 8000, "targetPort": 8080})
    + """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: echo}
spec:
  host: echo
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
"""
)
URL = "http://echo:8000"


@pytest.fixture(scope="module")
def wget(meshed: Mesh) -> Iterator[Inside]:
    with inside(meshed, "deploy/wget") as clients:
        yield clients


@pytest.fixture(scope="module")
def elsewhere(meshed: Mesh) -> Iterator[Inside]:
    with inside(meshed, "deploy/curl", "other") as clients:
        yield clients


def marked(*matches: str) -> str:
    """Rules that put their number into the answer; the last takes all that is left."""
    found = [
        f"- match: [{match}]\n"
        f"  headers: {{response: {{set: {{x-rule: '{index}'}}}}}}\n"
        "  route: [{destination: {host: echo, port: {number: 8000}}}]"
        for index, match in enumerate(matches)
    ]
    return "\n".join([*found, "- route: [{destination: {host: echo, port: {number: 8000}}}]"])


def rule(answer: Answer) -> str | None:
    assert answer.status == 200, answer
    return answer.headers.get("x-rule")


# Matches.


@pytest.mark.covers(
    "VirtualService.hosts",
    "VirtualService.http[].match[].uri",
    "VirtualService.http[].match[].scheme",
    "VirtualService.http[].match[].method",
    "VirtualService.http[].match[].authority",
    "VirtualService.http[].match[].headers",
    "VirtualService.http[].match[].withoutHeaders",
    "VirtualService.http[].match[].queryParams",
    "VirtualService.http[].match[].ignoreUriCase",
    "VirtualService.http[].match[].port",
)
def test_what_a_request_is_matched_by(rules: Rules, curl: Inside) -> None:
    matches = (
        "{uri: {exact: /exact}}",
        "{uri: {prefix: /prefix}}",
        "{uri: {regex: '/regex/[0-9]+'}}",
        "{uri: {exact: /scheme}, scheme: {exact: http}}",
        "{uri: {exact: /method}, method: {exact: PUT}}",
        "{uri: {exact: /authority}, authority: {prefix: echo.default}}",
        "{uri: {exact: /header}, headers: {x-kind: {regex: 'a|b'}, x-there: {}}}",
        "{uri: {exact: /without}, withoutHeaders: {x-kind: {exact: a}}}",
        "{uri: {exact: /query}, queryParams: {user: {exact: jason}}}",
        "{uri: {exact: /Case}, ignoreUriCase: true}",
        "{uri: {exact: /port}, port: 8001}",
        "{uri: {exact: /scheme}, scheme: {exact: https}}",
    )
    rules.apply("vs", virtual_service("echo", marked(*matches)))
    of_kind_a = {"x-kind": "a", "x-there": "1"}
    expected: list[tuple[str, dict[str, Any], str | None]] = [
        (f"{URL}/exact", {}, "0"),
        (f"{URL}/exact?with=query", {}, "0"),
        (f"{URL}/exact/not", {}, None),
        (f"{URL}/prefixed", {}, "1"),
        (f"{URL}/regex/12", {}, "2"),
        (f"{URL}/regex/12a", {}, None),
        (f"{URL}/scheme", {}, "3"),
        (f"{URL}/method", {"method": "PUT"}, "4"),
        (f"{URL}/method", {}, None),
        ("http://echo.default:8000/authority", {}, "5"),
        (f"{URL}/authority", {}, None),
        (f"{URL}/header", {"headers": of_kind_a}, "6"),
        (f"{URL}/header", {"headers": {"x-kind": "a"}}, None),
        (f"{URL}/header", {"headers": {"x-kind": "c", "x-there": "1"}}, None),
        (f"{URL}/without", {}, "7"),
        (f"{URL}/without", {"headers": {"x-kind": "b"}}, "7"),
        (f"{URL}/without", {"headers": {"x-kind": "a"}}, None),
        (f"{URL}/query?user=jason", {}, "8"),
        (f"{URL}/query?user=jason2", {}, None),
        (f"{URL}/cASE", {}, "9"),
        (f"{URL}/port", {}, None),
        ("http://echo:8001/port", {}, "10"),
    ]
    for url, options, wanted in expected:
        assert rule(curl.get(url, **options)) == wanted, (url, options)


@pytest.mark.covers(
    "VirtualService.http[].match[].sourceLabels",
    "VirtualService.http[].match[].sourceNamespace",
    "VirtualService.http[].match[].gateways",
    "VirtualService.gateways",
)
def test_who_is_matched(
    meshed: Mesh, rules: Rules, curl: Inside, wget: Inside, elsewhere: Inside
) -> None:
    matches = ("{sourceLabels: {app: wget}}", "{sourceNamespace: other}", "{gateways: [edge]}")
    text = virtual_service(
        "echo", marked(*matches), "[echo.default.svc.cluster.local]", gateways="[mesh, edge]"
    )
    rules.apply("vs", text)
    assert rule(curl.get(f"{URL}/")) is None
    assert rule(wget.get(f"{URL}/")) == "0"
    assert rule(elsewhere.get("http://echo.default:8000/")) == "1"
    host = {"host": "echo.default.svc.cluster.local"}
    assert httpx.get(meshed.url, headers=host).headers["x-rule"] == "2"
    assert httpx.get(meshed.url, headers={"host": "other.example.com"}).status_code == 404


@pytest.mark.covers("VirtualService.http[].match[].statPrefix")
def test_a_match_counts_under_its_prefix(meshed: Mesh, rules: Rules, curl: Inside) -> None:
    rules.apply("vs", virtual_service("echo", marked("{uri: {prefix: /}, statPrefix: all-of-it}")))
    assert [rule(answer) for answer in curl.requests(f"{URL}/", count=3)] == ["0"] * 3
    counted = "route.all-of-it.upstream_rq_total"
    eventually(lambda: meshed.stat("deploy/curl", counted) == 3, counted)


# Where requests go, and as what.


@pytest.mark.covers(
    "VirtualService.http[].route[].destination",
    "VirtualService.http[].route[].weight",
    "DestinationRule.subsets[].name",
    "DestinationRule.subsets[].labels",
)
def test_subsets_ports_and_weights(rules: Rules, curl: Inside) -> None:
    rules.apply(
        "vs",
        virtual_service(
            "echo",
            """
- match: [{uri: {exact: /v2}}]
  route: [{destination: {host: echo.default.svc.cluster.local, subset: v2}}]
- match: [{uri: {exact: /other-port}}]
  route: [{destination: {host: flaky, port: {number: 8000}}}]
- route:
  - {destination: {host: echo, subset: v1}, weight: 3}
  - {destination: {host: echo, subset: v2}, weight: 1}
  - {destination: {host: flaky, port: {number: 8000}}, weight: 0}
""",
        ),
    )
    assert curl.get(f"{URL}/v2").json["hostname"].startswith("echo-v2-")
    assert curl.get(f"{URL}/other-port").json["hostname"].startswith("flaky-")
    answers = curl.requests(f"{URL}/", count=400)
    found = Counter(answer.json["hostname"][:7] for answer in answers)
    assert found.keys() == {"echo-v1", "echo-v2"}
    assert 240 <= found["echo-v1"] <= 360, found


@pytest.mark.covers(
    "VirtualService.http[].headers",
    "VirtualService.http[].route[].headers",
)
def test_headers_of_requests_and_answers(rules: Rules, curl: Inside) -> None:
    rules.apply(
        "vs",
        virtual_service(
            "echo",
            """
- headers:
    request: {set: {x-set: rule}, add: {x-add: rule}, remove: [x-secret]}
    response: {set: {x-answer: rule}, remove: [content-type]}
  route:
  - destination: {host: echo, subset: v1}
    headers:
      request: {set: {x-where: destination}, remove: [x-hidden]}
      response: {add: {x-more: destination}}
""",
        ),
    )
    sent = {"x-set": "client", "x-secret": "1", "x-hidden": "1"}
    answer = curl.get(f"{URL}/", headers=sent)
    seen = answer.json["headers"]
    assert (seen["x-set"], seen["x-add"], seen["x-where"]) == ("rule", "rule", "destination")
    assert not seen.keys() & {"x-secret", "x-hidden"}
    assert (answer.headers["x-answer"], answer.headers["x-more"]) == ("rule", "destination")


@pytest.mark.covers("VirtualService.http[].rewrite")
def test_rewrites(rules: Rules, curl: Inside) -> None:
    rules.apply(
        "vs",
        virtual_service(
            "echo",
            """
- match: [{uri: {prefix: /old/}}]
  rewrite: {uri: /new/}
  route: [{destination: {host: echo, subset: v1}}]
- match: [{uri: {exact: /authority}}]
  rewrite: {authority: written.example.com}
  route: [{destination: {host: echo, subset: v1}}]
- match: [{uri: {prefix: /regex/}}]
  rewrite: {uriRegexRewrite: {match: '/regex/([a-z]+)/(.*)', rewrite: '/\\2/\\1'}}
  route: [{destination: {host: echo, subset: v1}}]
""",
        ),
    )
    assert curl.get(f"{URL}/old/page?a=b").json["path"] == "/new/page?a=b"
    assert curl.get(f"{URL}/authority").json["headers"]["host"] == "written.example.com"
    assert curl.get(f"{URL}/regex/abc/12").json["path"] == "/12/abc"


@pytest.mark.covers("VirtualService.http[].redirect")
def test_redirects(rules: Rules, curl: Inside) -> None:
    rules.apply(
        "vs",
        virtual_service(
            "echo",
            """
- match: [{uri: {exact: /uri}}]
  redirect: {uri: /elsewhere}
- match: [{uri: {prefix: /prefix}}]
  redirect: {prefixRewrite: /instead}
- match: [{uri: {exact: /authority}}]
  redirect: {authority: www.example.com, redirectCode: 308}
- match: [{uri: {exact: /port}}]
  redirect: {port: 9443, scheme: https, redirectCode: 307}
- match: [{uri: {exact: /derived}}]
  redirect: {authority: www.example.com, derivePort: FROM_REQUEST_PORT}
- match: [{uri: {exact: /default}}]
  redirect: {authority: www.example.com, scheme: https, derivePort: FROM_PROTOCOL_DEFAULT}
""",
        ),
    )
    for path, status, location in (
        ("/uri", 301, "http://echo:8000/elsewhere"),
        ("/prefix/page", 301, "http://echo:8000/instead/page"),
        ("/authority", 308, "http://www.example.com/authority"),
        ("/port", 307, "https://echo:9443/port"),
        ("/derived", 301, "http://www.example.com:8000/derived"),
        ("/default", 301, "https://www.example.com/default"),
    ):
        answer = curl.get(f"{URL}{path}")
        assert (answer.status, answer.headers["location"]) == (status, location), path


@pytest.mark.covers("VirtualService.http[].directResponse")
def test_direct_responses(rules: Rules, curl: Inside) -> None:
    rules.apply(
        "vs",
        virtual_service(
            "echo",
            """
- match: [{uri: {exact: /text}}]
  directResponse: {status: 503, body: {string: closed today}}
- match: [{uri: {exact: /bytes}}]
  directResponse: {status: 418, body: {bytes: aGVsbG8=}}
- directResponse: {status: 204}
""",
        ),
    )
    text, raw, empty = (curl.get(f"{URL}{path}") for path in ("/text", "/bytes", "/"))
    assert (text.status, text.body) == (503, "closed today")
    assert (raw.status, raw.body) == (418, "hello")
    assert (empty.status, empty.body) == (204, "")


@pytest.mark.covers("VirtualService.http[].delegate")
def test_delegates(rules: Rules, curl: Inside) -> None:
    rules.apply(
        "vs",
        virtual_service(
            "echo", "- match: [{uri: {prefix: /team}}]\n  delegate: {name: team, namespace: other}"
        )
        + "---"
        + """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: team, namespace: other}
spec:
  http:
  - match: [{uri: {prefix: /team/a}}]
    directResponse: {status: 200, body: {string: team a}}
  - route: [{destination: {host: echo.default.svc.cluster.local, subset: v2}}]
""",
    )
    assert curl.get(f"{URL}/team/a").body == "team a"
    assert curl.get(f"{URL}/team/b").json["hostname"].startswith("echo-v2-")
    assert curl.get(f"{URL}/").status == 404, "no rule is left for it"


@pytest.mark.covers("VirtualService.exportTo")
def test_rules_that_are_not_exported(rules: Rules, curl: Inside, elsewhere: Inside) -> None:
    text = virtual_service(
        "private",
        marked("{uri: {prefix: /}}"),
        "[echo.default.svc.cluster.local]",
        exportTo="['.']",
    ).replace("{name: private}", "{name: private, namespace: other}")
    rules.apply("vs", text.replace("host: echo,", "host: echo.default.svc.cluster.local,"))
    assert rule(elsewhere.get("http://echo.default:8000/")) == "0"
    assert rule(curl.get(f"{URL}/")) is None


# Browsers.


@pytest.mark.covers("VirtualService.http[].corsPolicy")
def test_cors(rules: Rules, curl: Inside) -> None:
    rules.apply(
        "vs",
        virtual_service(
            "echo",
            """
- match: [{uri: {prefix: /deprecated}}]
  corsPolicy: {allowOrigin: ["http://old.example.com"]}
  route: [{destination: {host: echo, subset: v1}}]
- match: [{uri: {prefix: /ignored}}]
  corsPolicy: {allowOrigins: [{exact: http://a.example.com}], unmatchedPreflights: IGNORE}
  route: [{destination: {host: echo, subset: v1}}]
- corsPolicy:
    allowOrigins: [{exact: http://a.example.com}, {regex: 'http://[bc].example.com'}]
    allowMethods: [GET, PUT]
    allowHeaders: [x-allowed]
    exposeHeaders: [x-exposed]
    maxAge: 2h
    allowCredentials: true
  route: [{destination: {host: echo, subset: v1}}]
""",
        ),
    )

    def preflight(origin: str, path: str = "/") -> Answer:
        headers = {"origin": origin, "access-control-request-method": "PUT"}
        return curl.get(f"{URL}{path}", method="OPTIONS", headers=headers)

    allowed = preflight("http://b.example.com").headers
    assert allowed["access-control-allow-origin"] == "http://b.example.com"
    assert allowed["access-control-allow-methods"] == "GET,PUT"
    assert allowed["access-control-allow-headers"] == "x-allowed"
    assert allowed["access-control-max-age"] == "7200"
    assert allowed["access-control-allow-credentials"] == "true"
    plain = curl.get(f"{URL}/", headers={"origin": "http://a.example.com"}).headers
    assert plain["access-control-expose-headers"] == "x-exposed"
    old = preflight("http://old.example.com", "/deprecated").headers
    assert old["access-control-allow-origin"] == "http://old.example.com"
    stranger = preflight("http://d.example.com")
    assert "access-control-allow-origin" not in stranger.headers
    assert stranger.json["path"] == "/", "the server has answered"
    ignored = preflight("http://d.example.com", "/ignored")
    assert "access-control-allow-origin" not in ignored.headers
    assert (ignored.status, ignored.body) == (200, ""), "the proxy has answered"
