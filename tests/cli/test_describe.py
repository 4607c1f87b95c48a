"""``argosy describe``: what an object means, computed as the control plane computes it."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from argosy.cli import describe_rules
from argosy.cli.output import as_yaml
from argosy.server.http.services import ProxyCertificate, ProxyStatus, TypeState

Argosy = Callable[..., Any]

MESH = """
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec:
  ports: [{name: http, port: 9080, targetPort: web}, {name: tcp-x, port: 7000}]
  selector: {app: reviews}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: reviews-v1}
spec:
  selector: {matchLabels: {app: reviews}}
  template:
    metadata: {labels: {app: reviews, version: v1}}
    spec: {serviceAccountName: critics, containers: [{name: web, image: reviews:1}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: reviews-v1-a
  labels: {app: reviews, version: v1, security.istio.io/tlsMode: istio}
  ownerReferences: [{kind: Deployment, name: reviews-v1}]
spec:
  serviceAccountName: critics
  containers: [{name: web, image: "reviews:1", ports: [{name: web, containerPort: 8080}]}]
status:
  phase: Running
  podIP: 10.244.0.7
  conditions: [{type: Ready, status: "True"}]
  containerStatuses: [{name: web, ready: true, restartCount: 1, state: {running: {}}}]
---
apiVersion: v1
kind: Pod
metadata: {name: gateway-a, namespace: istio-system, labels: {istio: ingressgateway}}
spec: {containers: [{name: istio-proxy, image: auto}]}
status: {phase: Running, podIP: 10.244.0.9, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Service
metadata: {name: istio-ingressgateway, namespace: istio-system}
spec: {ports: [{name: http2, port: 80, targetPort: 8080}], selector: {istio: ingressgateway}}
---
apiVersion: argosy.dev/v1alpha1
kind: RateLimit
metadata: {name: critics}
spec:
  selector: {matchLabels: {app: reviews}}
  rules:
  - {name: all, keys: [{source: PRINCIPAL}], limit: {requests: 60, unit: MINUTE, burst: 5}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: door}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*.example.com"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - match: [{headers: {end-user: {exact: jason}}}, {uri: {prefix: /admin}}]
    fault: {delay: {fixedDelay: 7s, percentage: {value: 50}}}
    route: [{destination: {host: reviews, subset: v2}}]
  - timeout: 3s
    retries: {attempts: 2}
    route:
    - {destination: {host: reviews, subset: v1}, weight: 80}
    - {destination: {host: reviews, subset: v2}, weight: 20}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: outside}
spec:
  hosts: [reviews.example.com]
  gateways: [door]
  http: [{route: [{destination: {host: reviews, port: {number: 9080}}}]}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: reviews}
spec:
  selector: {matchLabels: {app: reviews}}
  portLevelMtls: {8080: {mode: DISABLE}}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: readers}
spec:
  selector: {matchLabels: {app: reviews}}
  jwtRules: [{issuer: "https://readers.example.com"}]
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: others}
spec:
  selector: {matchLabels: {app: others}}
  jwtRules: [{issuer: "https://others.example.com"}]
"""


@pytest.fixture
def bookinfo(mesh: Any) -> Any:
    mesh.put(MESH)
    types = {kind: TypeState("SYNCED") for kind in ("CDS", "EDS", "LDS", "RDS")}
    identity = "spiffe://cluster.local/ns/default/sa/critics"
    certificate = ProxyCertificate("abc", "2999-01-01T00:00:00Z")
    mesh.neighbours.connected = [
        ProxyStatus("reviews-v1-a", "default", "sidecar", identity, True, types, certificate)
    ]
    return mesh


def said(argosy: Argosy, *what: str) -> str:
    answer = argosy("describe", *what)
    assert (answer.code, answer.err) == (0, "")
    assert all(line == line.rstrip() for line in answer.out.splitlines())
    return " ".join(answer.out.split())


def test_a_pod(bookinfo: Any, argosy: Argosy) -> None:
    text = said(argosy, "pod/reviews-v1-a")
    for part in (
        "Pod default/reviews-v1-a ",
        "State: Running, ready",
        "Address: 10.244.0.7",
        "Deployment: reviews-v1",
        "Containers: web (reviews:1): ready, 1 restart",
        "Service account: critics",
        "Identity: spiffe://cluster.local/ns/default/sa/critics",
        "left (serial abc)",
        "Proxy: SYNCED",
        "mTLS: STRICT: accepts mTLS only "
        "(PeerAuthentication istio-system/default, default/reviews) port 8080: DISABLE",
        "Tokens: https://readers.example.com (RequestAuthentication default/readers)",
        "Rate limits: 60/min, 5 at once for each source.principal, of each replica "
        "(RateLimit default/critics, rule all)",
        "default/reviews 9080 http HTTP web default/reviews default/reviews v1",
        "default/reviews 7000 tcp-x TCP 7000",
    ):
        assert part in text
    assert "others.example.com" not in text


def test_a_deployment(bookinfo: Any, argosy: Argosy) -> None:
    text = said(argosy, "deploy", "reviews-v1")
    assert "Pod labels: app=reviews, version=v1" in text
    assert "Containers: web (reviews:1)" in text
    assert "reviews-v1-a yes Running 1 10.244.0.7 SYNCED" in text
    assert "Services that lead here: SERVICE" in text


def test_a_service(bookinfo: Any, argosy: Argosy) -> None:
    text = said(argosy, "svc/reviews")
    for part in (
        "Names: reviews, reviews.default, reviews.default.svc, reviews.default.svc.cluster.local",
        "Selector: app=reviews",
        "Routing: VirtualService default/reviews",
        "Policy: DestinationRule default/reviews (subsets v1, v2)",
        "Named by: VirtualService default/outside, default/reviews",
        "9080 http HTTP web 1 of 1 ready",
        "10.244.0.7:8080 reviews-v1-a yes no DISABLE v1",
        "10.244.0.7:7000 reviews-v1-a yes yes STRICT v1",
    ):
        assert part in text


def test_a_service_without_endpoints(mesh: Any, argosy: Argosy) -> None:
    mesh.put(MESH.split("---")[0])
    text = said(argosy, "svc", "reviews")
    assert "Routing: no VirtualService: requests go to every ready endpoint" in text
    assert "Policy: no DestinationRule: Istio's defaults" in text
    assert "Endpoints: none: no pod has all labels of the selector" in text


def test_a_virtual_service(bookinfo: Any, argosy: Argosy) -> None:
    text = said(argosy, "vs", "reviews")
    for part in (
        "Hosts: reviews.default.svc.cluster.local Gateways: mesh ",
        "Accepted: True Distributed: True 2 of 2 proxies acknowledged",
        "1 HTTP header end-user exact jason reviews subset v2 delay 7s for 50 %",
        "or uri prefix /admin",
        "2 HTTP everything reviews subset v1 80 %, reviews subset v2 20 % timeout 3s, retries 2",
        "Spec: hosts:",
    ):
        assert part in text


def test_a_virtual_service_that_another_one_overrules(bookinfo: Any, argosy: Argosy) -> None:
    rival = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: younger}\n"
    bookinfo.put(
        f"{rival}spec: {{hosts: [reviews], http: [{{directResponse: {{status: 418}}}}]}}\n"
    )
    text = said(argosy, "vs", "younger")
    assert "(callers in default follow VirtualService default/reviews instead)" in text
    assert "Accepted: False HostConflict" in text
    assert "Problems: Error: " in text
    assert "put all rules for one host into one VirtualService" in text


def test_a_destination_rule(bookinfo: Any, argosy: Argosy) -> None:
    text = said(argosy, "dr", "reviews")
    assert "Host: reviews.default.svc.cluster.local In force: yes, for callers in default" in text
    assert "v1 version=v1 1 of 1 ready v2 version=v2 0 of 0 ready" in text
    assert "Warning: stored.yaml:" in text


def test_a_gateway(bookinfo: Any, argosy: Argosy) -> None:
    text = said(argosy, "gw", "door")
    assert "Proxies: istio-system/gateway-a" in text
    assert "Reachable at: http://127.0.0.1:8080 (port 80)" in text
    assert "80 http HTTP *.example.com" in text
    assert "VIRTUALSERVICE HOSTS default/outside reviews.example.com" in text


def test_a_peer_authentication(bookinfo: Any, argosy: Argosy) -> None:
    text = said(argosy, "pa", "reviews")
    assert "Mode: UNSET (as its namespace or the mesh)" in text
    assert "Concerns: workloads with app=reviews in default" in text
    assert "default/reviews-v1-a STRICT 8080: DISABLE" in text
    wide = said(argosy, "pa", "default", "-n", "istio-system")
    assert "Concerns: the whole mesh" in wide
    assert "default/reviews-v1-a" in wide


TELEMETRY = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    defaultProviders: {tracing: [spans]}
    extensionProviders:
    - {name: spans, opentelemetry: {service: reviews.default.svc.cluster.local, port: 9080}}
    - {name: als, envoyHttpAls: {service: reviews.default.svc.cluster.local, port: 9080}}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: mesh, namespace: istio-system}
spec:
  accessLogging: [{providers: [{name: envoy}], filter: {expression: "response.code >= 400"}}]
  tracing: [{randomSamplingPercentage: 12.5}]
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: reviews}
spec:
  selector: {matchLabels: {app: reviews}}
  accessLogging: [{match: {mode: CLIENT}, providers: [{name: als}]}]
  metrics: [{overrides: [{match: {mode: SERVER}, disabled: true}]}]
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: edge}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
"""


def test_telemetry(bookinfo: Any, argosy: Argosy) -> None:
    bookinfo.put(TELEMETRY)
    text = said(argosy, "telemetry", "reviews")
    assert "Concerns: workloads with app=reviews in default" in text
    assert (
        "default/reviews-v1-a client reviews.default.svc.cluster.local:9080 12.5 % yes "
        "server /dev/stdout if response.code >= 400 12.5 % - " in text
    )
    wide = said(argosy, "telemetry", "mesh", "-n", "istio-system")
    assert "Concerns: the whole mesh" in wide
    assert "istio-system/gateway-a client /dev/stdout if response.code >= 400 12.5 % yes" in wide
    target = said(argosy, "telemetry", "edge")
    assert "Concerns: Gateway edge in default" in target
    assert "Workloads: none at present" in target
    for workload in ("pod/reviews-v1-a", "deploy/reviews-v1"):
        assert "Telemetry: istio-system/mesh, default/reviews " in said(argosy, workload)


def test_a_secret_is_kept(mesh: Any, argosy: Argosy) -> None:
    mesh.put("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {key: c2VjcmV0}\n")
    text = said(argosy, "secret", "a")
    assert "key: 8 characters of base64" in text
    assert "c2VjcmV0" not in text


def test_several_objects_and_none(bookinfo: Any, argosy: Argosy) -> None:
    text = said(argosy, "vs,dr")
    assert "VirtualService default/reviews" in text
    assert "DestinationRule default/reviews" in text
    assert argosy("describe", "vs", "none").code == 3
    nothing = argosy("describe", "vs", "-n", "istio-system")
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "Nothing found.\n")


@pytest.mark.parametrize(
    ("rule", "match", "target", "extras"),
    [
        ("{redirect: {uri: /new, authority: a}}", [], "redirect to a/new", []),
        ("{directResponse: {status: 404}}", [], "answer 404", []),
        ("{delegate: {name: x, namespace: y}}", [], "VirtualService y/x", []),
        ("{match: [{port: 80, method: {exact: GET}}]}", ["port 80 and method exact GET"], "-", []),
        ("{match: [{withoutHeaders: {x: {}}}]}", ["not header x present"], "-", []),
        ("{match: [{sourceLabels: {a: b}}]}", ["from a=b"], "-", []),
        ("{match: [{name: n, sniHosts: [a, b]}]}", ["sniHosts a, b"], "-", []),
        (
            "{mirror: {host: c}, rewrite: {uri: /}, fault: {abort: {httpStatus: 500}}}",
            [],
            "-",
            ["abort 500 for 100 %", "mirror to c", "rewrite"],
        ),
        ("{route: [{destination: {host: d, port: {number: 9}}}]}", [], "d:9", []),
    ],
)
def test_rules_in_words(rule: str, match: list[str], target: str, extras: list[str]) -> None:
    written = yaml.safe_load(rule)
    assert describe_rules._matches(written) == match, as_yaml(written)
    assert describe_rules._target(written) == target
    assert list(describe_rules._extras(written)) == extras
