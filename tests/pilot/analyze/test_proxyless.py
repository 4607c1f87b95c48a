"""What gRPC clients without a proxy do not follow is told, where there are such clients."""

from tests.pilot.analyze.test_cases import analyze

from argosy.base.problems import Severity

RULES = """\
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  selector: {app: echo}
  ports: [{name: grpc, port: 7070}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: echo}
  ports: [{name: http, port: 80}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: echo}
spec:
  hosts: [echo]
  http:
  - match: [{queryParams: {a: {exact: b}}}]
    route: [{destination: {host: echo}, headers: {request: {remove: [x]}}}]
    rewrite: {authority: other}
  - redirect: {authority: elsewhere}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web]
  http:
  - route: [{destination: {host: web}}]
    rewrite: {authority: other}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: echo}
spec:
  host: echo
  trafficPolicy:
    loadBalancer: {consistentHash: {useSourceIp: true}, warmup: {duration: 10s}}
    outlierDetection: {consecutive5xxErrors: 3}
    connectionPool: {http: {http2MaxRequests: 5, maxRetries: 2}, tcp: {connectTimeout: 1s}}
    portLevelSettings:
    - port: {number: 7070}
      loadBalancer: {simple: RANDOM}
      tls: {mode: SIMPLE, caCertificates: /etc/ca.pem}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: heeded}
spec:
  host: "*.default.svc.cluster.local"
  trafficPolicy:
    loadBalancer: {consistentHash: {httpHeaderName: x-user}}
    connectionPool: {http: {http2MaxRequests: 5}}
"""
CLIENT = """\
---
apiVersion: v1
kind: Pod
metadata:
  name: client
  labels: {app: echo}
  annotations: {inject.istio.io/templates: grpc-agent}
spec: {containers: [{name: client, image: client}]}
"""


def told(text: str) -> set[tuple[str, str]]:
    found = [m for m in analyze(text) if m.code == "NotForProxylessGrpc"]
    assert all(m.level is Severity.INFO and m.line for m in found)
    return {(str(m.object), m.field) for m in found}


def test_every_part_that_grpc_does_not_follow_is_told() -> None:
    rule, policy = "VirtualService default/echo", "DestinationRule default/echo"
    assert told(RULES + CLIENT) == {
        (rule, "spec.http[0].match[0].queryParams"),
        (rule, "spec.http[0].route[0].headers"),
        (rule, "spec.http[0].rewrite"),
        (rule, "spec.http[1].redirect"),
        (policy, "spec.trafficPolicy.loadBalancer.consistentHash"),
        (policy, "spec.trafficPolicy.loadBalancer.warmup"),
        (policy, "spec.trafficPolicy.outlierDetection"),
        (policy, "spec.trafficPolicy.connectionPool.http"),
        (policy, "spec.trafficPolicy.connectionPool.tcp"),
        (policy, "spec.trafficPolicy.portLevelSettings[0].loadBalancer.simple"),
        (policy, "spec.trafficPolicy.portLevelSettings[0].tls"),
    }


def test_nothing_is_told_where_nobody_goes_without_a_proxy() -> None:
    assert told(RULES) == set()
    assert told(RULES + CLIENT.replace("grpc-agent", "sidecar")) == set()


def test_nothing_is_told_of_rules_that_such_clients_do_not_see() -> None:
    hidden = RULES.replace("spec:\n  hosts:", "spec:\n  exportTo: [.]\n  hosts:")
    hidden = hidden.replace("spec:\n  host:", "spec:\n  exportTo: [.]\n  host:")
    elsewhere = CLIENT.replace("name: client\n", "name: client\n  namespace: other\n", 1)
    assert told(RULES + elsewhere)
    assert told(hidden + elsewhere) == set()
