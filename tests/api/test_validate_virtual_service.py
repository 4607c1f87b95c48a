"""Expected values are Istio's: its API reference and its validation's tests."""

from typing import Any

import pytest

from argosy.api.decode import decode_json
from argosy.api.validate import validate
from argosy.base.problems import Problem, Severity

ROUTE = [{"destination": {"host": "reviews"}}]


def problems(spec: dict[str, Any]) -> tuple[Problem, ...]:
    decoded = decode_json(
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {"name": "a"},
            "spec": spec,
        }
    )
    assert decoded.problems == ()
    return validate(decoded.objects[0])


def http(route: dict[str, Any], **spec: Any) -> list[tuple[str, str]]:
    """Field (without ``spec.http[0].``) and code of what is wrong with one route."""
    found = problems({"hosts": ["reviews"], "http": [route], **spec})
    return [(p.field.removeprefix("spec.http[0]").removeprefix("."), p.code) for p in found]


@pytest.mark.parametrize(
    "route",
    [
        {"route": ROUTE},
        {"route": [{"destination": {"host": "a.b.svc.cluster.local", "subset": "v1", "port": {"number": 80}}}]},
        {"route": [{"destination": {"host": "a"}, "weight": 80}, {"destination": {"host": "b"}, "weight": 20}]},
        {"route": [{"destination": {"host": "a"}, "weight": 0}, {"destination": {"host": "b"}, "weight": 1}]},
        {"redirect": {"uri": "/v1", "authority": "new.example.com", "redirectCode": 308}},
        {"redirect": {"scheme": "https", "derivePort": "FROM_PROTOCOL_DEFAULT"}},
        {"directResponse": {"status": 503, "body": {"string": "later"}}},
        {"delegate": {"name": "child", "namespace": "other"}, "match": [{"uri": {"prefix": "/a"}}]},
        {"route": ROUTE, "rewrite": {"uriRegexRewrite": {"match": "^/a/(.*)", "rewrite": "/\\1"}}},
        {"route": ROUTE, "rewrite": {"uri": "/", "authority": "b.example.com"}},
        {"route": ROUTE, "headers": {"request": {"set": {":authority": "b", "x": "%START_TIME%"}}}},
        {"route": ROUTE, "timeout": "0s"},
        {"route": ROUTE, "retries": {"attempts": 0}},
        {"route": ROUTE, "retries": {"attempts": 3, "perTryTimeout": "2s", "retryOn": "5xx,gateway-error,503"}},
        {"route": ROUTE, "fault": {"delay": {"percentage": {"value": 0.1}, "fixedDelay": "5s"}}},
        {"route": ROUTE, "fault": {"abort": {"httpStatus": 555, "percentage": {"value": 100}}}},
        {"route": ROUTE, "fault": {"abort": {"grpcStatus": "UNAVAILABLE"}}},
        {"route": ROUTE, "mirror": {"host": "b"}, "mirrorPercentage": {"value": 50}},
        {"route": ROUTE, "corsPolicy": {"allowOrigins": [{"regex": "https://.*"}], "allowMethods": ["GET", "*"], "maxAge": "24h"}},
        {"route": ROUTE, "match": [{"headers": {"x-present": {}}, "queryParams": {"q": {}}}]},
        {"route": ROUTE, "match": [{"uri": {"regex": "/(a|b)+"}, "method": {"exact": "GET"}, "sourceNamespace": "foo", "gateways": ["mesh", "ns/gw"]}]},
    ],
)  # fmt: skip
def test_what_istio_admits(route: dict[str, Any]) -> None:
    assert http(route) == []


@pytest.mark.parametrize(
    ("route", "field", "code"),
    [
        ({}, "", "MissingField"),
        ({"route": ROUTE, "redirect": {"uri": "/"}}, "", "ConflictingFields"),
        ({"route": ROUTE, "directResponse": {"status": 200}}, "", "ConflictingFields"),
        ({"route": ROUTE, "delegate": {"name": "a"}}, "", "ConflictingFields"),
        ({"redirect": {"uri": "/"}, "fault": {"abort": {"httpStatus": 500}}}, "fault", "ConflictingFields"),
        ({"redirect": {"uri": "/"}, "rewrite": {"uri": "/"}}, "rewrite", "ConflictingFields"),
        ({"redirect": {}}, "redirect", "MissingField"),
        ({"redirect": {"uri": "/", "redirectCode": 200}}, "redirect.redirectCode", "InvalidValue"),
        ({"redirect": {"scheme": "ftp"}}, "redirect.scheme", "InvalidValue"),
        ({"redirect": {"port": 80, "derivePort": "FROM_REQUEST_PORT"}}, "redirect", "ConflictingFields"),
        ({"redirect": {"port": 70000}}, "redirect.port", "InvalidPort"),
        ({"directResponse": {"status": 99}}, "directResponse.status", "OutOfRange"),
        ({"directResponse": {"status": 200, "body": {}}}, "directResponse.body", "MissingField"),
        ({"directResponse": {"status": 200, "body": {"string": "a", "bytes": "YQ=="}}}, "directResponse.body", "ConflictingFields"),
        ({"directResponse": {"status": 200, "body": {"string": "a" * 2**21}}}, "directResponse.body", "TooLong"),
        ({"delegate": {}}, "delegate.name", "MissingField"),
        ({"delegate": {"name": "a", "namespace": "A"}}, "delegate.namespace", "InvalidName"),
        ({"delegate": {"name": "a"}, "match": [{"uri": {"regex": ".*"}}]}, "match[0].uri.regex", "NotAllowed"),
        ({"route": [{"destination": {"host": "*"}}]}, "route[0].destination.host", "InvalidHost"),
        ({"route": [{"destination": {"host": "a b"}}]}, "route[0].destination.host", "InvalidHost"),
        ({"route": [{"destination": {"host": ""}}]}, "route[0].destination.host", "InvalidHost"),
        ({"route": [{"destination": {"host": "a", "subset": "V 1"}}]}, "route[0].destination.subset", "InvalidName"),
        ({"route": [{"destination": {"host": "a", "port": {"number": 0}}}]}, "route[0].destination.port.number", "InvalidPort"),
        ({"route": [*ROUTE, *ROUTE]}, "route", "InvalidWeight"),
        ({"route": [{"destination": {"host": "a"}, "weight": -1}]}, "route[0].weight", "InvalidWeight"),
        ({"route": [{"destination": {"host": "a"}, "headers": {"response": {"add": {"a b": "c"}}}}]}, "route[0].headers.response.add[\"a b\"]", "InvalidHeader"),
        ({"route": ROUTE, "headers": {"response": {"set": {":status": "200"}}}}, 'headers.response.set[":status"]', "InvalidHeader"),
        ({"route": ROUTE, "headers": {"response": {"set": {"host": "a"}}}}, "headers.response.set.host", "InvalidHeader"),
        ({"route": ROUTE, "headers": {"request": {"remove": ["Host"]}}}, "headers.request.remove[0]", "InvalidHeader"),
        ({"route": ROUTE, "headers": {"request": {"set": {"x": "a\r\nb: c"}}}}, "headers.request.set.x", "InvalidHeader"),
        ({"route": ROUTE, "headers": {"request": {"set": {"Host": "a"}}}, "rewrite": {"authority": "b"}}, "rewrite", "ConflictingFields"),
        ({"route": ROUTE, "rewrite": {}}, "rewrite", "MissingField"),
        ({"route": ROUTE, "rewrite": {"uri": "/", "uriRegexRewrite": {"match": "a", "rewrite": "b"}}}, "rewrite", "ConflictingFields"),
        ({"route": ROUTE, "rewrite": {"uriRegexRewrite": {"match": "(", "rewrite": "b"}}}, "rewrite.uriRegexRewrite.match", "InvalidRegex"),
        ({"route": ROUTE, "rewrite": {"uriRegexRewrite": {"match": "a"}}}, "rewrite.uriRegexRewrite.rewrite", "MissingField"),
        ({"route": ROUTE, "timeout": "-1s"}, "timeout", "InvalidDuration"),
        ({"route": ROUTE, "retries": {"attempts": -1}}, "retries.attempts", "OutOfRange"),
        ({"route": ROUTE, "retries": {"perTryTimeout": "1s"}}, "retries.attempts", "ConflictingFields"),
        ({"route": ROUTE, "retries": {"attempts": 1, "retryOn": "5xx,gateway-eror"}}, "retries.retryOn", "InvalidValue"),
        ({"route": ROUTE, "retries": {"attempts": 1, "retryOn": "5xx, reset"}}, "retries.retryOn", "InvalidValue"),
        ({"route": ROUTE, "retries": {"attempts": 1, "retryOn": "999"}}, "retries.retryOn", "InvalidValue"),
        ({"route": ROUTE, "retries": {"attempts": 1, "backoff": "0s"}}, "retries.backoff", "InvalidDuration"),
        ({"route": ROUTE, "fault": {}}, "fault", "MissingField"),
        ({"route": ROUTE, "fault": {"delay": {"fixedDelay": "0s"}}}, "fault.delay.fixedDelay", "InvalidDuration"),
        ({"route": ROUTE, "fault": {"delay": {"fixedDelay": "1s", "percentage": {"value": 101}}}}, "fault.delay.percentage.value", "OutOfRange"),
        ({"route": ROUTE, "fault": {"delay": {"exponentialDelay": "1s"}}}, "fault.delay.exponentialDelay", "NotAllowed"),
        ({"route": ROUTE, "fault": {"abort": {"httpStatus": 100}}}, "fault.abort.httpStatus", "OutOfRange"),
        ({"route": ROUTE, "fault": {"abort": {"httpStatus": 500, "grpcStatus": "OK"}}}, "fault.abort", "ConflictingFields"),
        ({"route": ROUTE, "fault": {"abort": {"grpcStatus": "UNAVAILABL"}}}, "fault.abort.grpcStatus", "InvalidValue"),
        ({"route": ROUTE, "fault": {"abort": {"http2Error": "x"}}}, "fault.abort.http2Error", "NotAllowed"),
        ({"route": ROUTE, "mirror": {"host": "*"}}, "mirror.host", "InvalidHost"),
        ({"route": ROUTE, "mirror": {"host": "a"}, "mirrors": [{"destination": {"host": "b"}}]}, "mirror", "ConflictingFields"),
        ({"route": ROUTE, "mirror": {"host": "a"}, "mirrorPercentage": {"value": -1}}, "mirrorPercentage.value", "OutOfRange"),
        ({"route": ROUTE, "mirrors": [{"destination": {"host": "b"}, "percentage": {"value": 200}}]}, "mirrors[0].percentage.value", "OutOfRange"),
        ({"route": ROUTE, "corsPolicy": {"allowOrigins": [{}]}}, "corsPolicy.allowOrigins[0]", "MissingField"),
        ({"route": ROUTE, "corsPolicy": {"allowMethods": ["get"]}}, "corsPolicy.allowMethods[0]", "InvalidValue"),
        ({"route": ROUTE, "corsPolicy": {"allowHeaders": ["a:"]}}, "corsPolicy.allowHeaders[0]", "InvalidHeader"),
        ({"route": ROUTE, "corsPolicy": {"maxAge": "1500ms"}}, "corsPolicy.maxAge", "InvalidDuration"),
        ({"route": ROUTE, "match": [{"uri": {}}]}, "match[0].uri", "MissingField"),
        ({"route": ROUTE, "match": [{"uri": {"exact": "a", "prefix": "b"}}]}, "match[0].uri", "ConflictingFields"),
        ({"route": ROUTE, "match": [{"uri": {"prefix": ""}}]}, "match[0].uri.prefix", "InvalidValue"),
        ({"route": ROUTE, "match": [{"uri": {"regex": ""}}]}, "match[0].uri.regex", "InvalidRegex"),
        ({"route": ROUTE, "match": [{"uri": {"regex": "a" * 1025}}]}, "match[0].uri.regex", "InvalidRegex"),
        ({"route": ROUTE, "match": [{"uri": {"regex": "(?!a)"}}]}, "match[0].uri.regex", "InvalidRegex"),
        ({"route": ROUTE, "match": [{"headers": {"a b": {"exact": "c"}}}]}, 'match[0].headers["a b"]', "InvalidHeader"),
        ({"route": ROUTE, "match": [{"headers": {"@request.auth.claims.sub": {"exact": "c"}}}]}, "match[0].headers", "NotAllowed"),
        ({"route": ROUTE, "match": [{"port": 65536}]}, "match[0].port", "InvalidPort"),
        ({"route": ROUTE, "match": [{"sourceLabels": {"a": "b c"}}]}, "match[0].sourceLabels.a", "InvalidLabel"),
        ({"route": ROUTE, "match": [{"sourceNamespace": "A"}]}, "match[0].sourceNamespace", "InvalidName"),
        ({"route": ROUTE, "match": [{"gateways": ["a/b/c"]}]}, "match[0].gateways[0]", "InvalidValue"),
    ],
)  # fmt: skip
def test_what_istio_refuses(route: dict[str, Any], field: str, code: str) -> None:
    assert http(route) == [(field, code)]


@pytest.mark.parametrize(
    ("spec", "field", "code"),
    [
        ({"hosts": ["a"]}, "spec", "MissingField"),
        ({"hosts": ["*"], "http": [{"route": ROUTE}]}, "spec.hosts[0]", "InvalidHost"),
        ({"hosts": ["a..b"], "http": [{"route": ROUTE}]}, "spec.hosts[0]", "InvalidHost"),
        ({"hosts": ["a.*.b"], "http": [{"route": ROUTE}]}, "spec.hosts[0]", "InvalidHost"),
        ({"hosts": ["a", "A"], "http": [{"route": ROUTE}]}, "spec.hosts[1]", "DuplicateHost"),
        ({"hosts": ["*.foo.com", "a.foo.com"], "http": [{"route": ROUTE}]}, "spec.hosts[1]", "DuplicateHost"),
        ({"hosts": ["a"], "gateways": ["Gateway"], "http": [{"route": ROUTE}]}, "spec.gateways[0]", "InvalidValue"),
        ({"hosts": ["a"], "exportTo": ["*", "b"], "http": [{"route": ROUTE}]}, "spec.exportTo[0]", "ConflictingFields"),
        ({"hosts": ["a"], "exportTo": [".", "default"], "http": [{"route": ROUTE}]}, "spec.exportTo[1]", "DuplicateValue"),
        ({"hosts": ["a"], "exportTo": ["~x"], "http": [{"route": ROUTE}]}, "spec.exportTo[0]", "InvalidValue"),
        ({"gateways": ["mesh"], "http": [{"route": ROUTE}]}, "spec.gateways", "ConflictingFields"),
        ({"http": [{"delegate": {"name": "a"}}]}, "spec.http[0].delegate", "NotAllowed"),
        ({"hosts": ["a"], "tls": [{"route": ROUTE}]}, "spec.tls[0].match", "MissingField"),
        ({"hosts": ["a"], "tls": [{"match": [{}], "route": ROUTE}]}, "spec.tls[0].match[0].sniHosts", "MissingField"),
        ({"hosts": ["*.foo.com"], "tls": [{"match": [{"sniHosts": ["a.bar.com"]}], "route": ROUTE}]}, "spec.tls[0].match[0].sniHosts[0]", "InvalidHost"),
        ({"hosts": ["a"], "tls": [{"match": [{"sniHosts": ["a"]}]}]}, "spec.tls[0].route", "MissingField"),
        ({"hosts": ["a"], "tcp": [{"match": [{"destinationSubnets": ["10.1"]}], "route": ROUTE}]}, "spec.tcp[0].match[0].destinationSubnets[0]", "InvalidAddress"),
        ({"hosts": ["a"], "tcp": [{}]}, "spec.tcp[0].route", "MissingField"),
    ],
)  # fmt: skip
def test_what_istio_refuses_of_the_rest(spec: dict[str, Any], field: str, code: str) -> None:
    assert [(p.field, p.code, p.severity) for p in problems(spec)] == [
        (field, code, Severity.ERROR)
    ]


@pytest.mark.parametrize(
    "spec",
    [
        {"hosts": ["*"], "gateways": ["gw"], "http": [{"route": ROUTE}]},
        {"hosts": ["*.example.com", "10.1.2.3"], "gateways": ["ns/gw", "mesh"], "http": [{"route": ROUTE}]},
        {"http": [{"route": ROUTE}]},
        {"hosts": ["*.foo.com"], "tls": [{"match": [{"port": 443, "sniHosts": ["a.foo.com"]}], "route": ROUTE}]},
        {"hosts": ["a"], "tcp": [{"match": [{"port": 3306, "destinationSubnets": ["10.0.0.0/8", "::1"]}], "route": ROUTE}]},
        {"hosts": ["a"], "gateways": ["gw"], "http": [{"route": ROUTE, "match": [{"headers": {"@request.auth.claims.sub": {"exact": "c"}}}]}]},
        {"hosts": ["a"], "exportTo": [".", "foo"], "http": [{"route": ROUTE}]},
    ],
)  # fmt: skip
def test_what_istio_admits_of_the_rest(spec: dict[str, Any]) -> None:
    assert problems(spec) == ()


@pytest.mark.parametrize(
    ("spec", "field", "code"),
    [
        ({"hosts": ["a"], "http": [{"route": ROUTE}, {"route": ROUTE}]}, "spec.http[1]", "UnreachableRule"),
        ({"hosts": ["a"], "http": [
            {"name": "x", "match": [{"name": "one", "uri": {"exact": "/"}}], "route": ROUTE},
            {"match": [{"name": "two", "uri": {"exact": "/"}}], "route": ROUTE},
        ]}, "spec.http[1].match[0]", "UnreachableRule"),
        ({"hosts": ["a"], "gateways": ["gw.istio-system.svc.cluster.local"], "http": [{"route": ROUTE}]}, "spec.gateways[0]", "Deprecated"),
        ({"hosts": ["a"], "http": [{"route": ROUTE, "mirror": {"host": "b"}, "mirrorPercent": 5}]}, "spec.http[0].mirrorPercent", "Deprecated"),
        ({"hosts": ["a"], "http": [{"route": ROUTE, "fault": {"abort": {}}}]}, "spec.http[0].fault.abort", "NoEffect"),
        ({"hosts": ["a"], "tcp": [{"match": [{"sourceSubnet": "10.0.0.0/8"}], "route": ROUTE}]}, "spec.tcp[0].match[0].sourceSubnet", "NoEffect"),
    ],
)  # fmt: skip
def test_what_istio_warns_of(spec: dict[str, Any], field: str, code: str) -> None:
    assert [(p.field, p.code, p.severity) for p in problems(spec)] == [
        (field, code, Severity.WARNING)
    ]


def test_all_mistakes_are_told_and_warnings_hide_no_error() -> None:
    routes: list[dict[str, Any]] = [{"route": ROUTE} for _ in range(500)]
    routes += [{"route": ROUTE, "timeout": "-1s"}]
    found = problems({"hosts": ["a"], "exportTo": ["*", "b"], "http": routes})
    assert {p.field for p in found if p.severity is Severity.ERROR} == {
        "spec.http[500].timeout",
        "spec.exportTo[0]",
    }
    assert len(found) == 202
