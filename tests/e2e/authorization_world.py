"""Workloads for tests of authorization: who calls, what is called, and who is asked about it.

``foo`` has httpbin, tcp-echo, an external authorizer and curl; ``bar`` and ``legacy`` have curl,
``legacy`` without a sidecar.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inside import Inside, InsideError, inside
from manifests import account, deployment, mesh_config, namespace, service
from mesh import SAMPLES, Mesh, eventually
from rules import Rules

CALLERS = ("foo", "bar", "legacy")
HTTPBIN = "http://httpbin.foo:8000"
PROVIDERS = """extensionProviders:
- name: http
  envoyExtAuthzHttp:
    service: foo/ext-authz.foo.svc.cluster.local
    port: 8000
    timeout: 5s
    pathPrefix: /check
    includeRequestHeadersInCheck: [x-ext-authz, "x-more-*"]
    includeAdditionalHeadersInCheck: {x-mesh: argosy}
    includeRequestBodyInCheck: {maxRequestBytes: 100, allowPartialMessage: true}
    headersToUpstreamOnAllow: [x-ext-authz-check-result, x-ext-authz-check-received]
    headersToDownstreamOnDeny: [x-ext-authz-check-result]
    headersToDownstreamOnAllow: [x-ext-authz-check-result]
- name: grpc
  envoyExtAuthzGrpc: {service: ext-authz.foo.svc.cluster.local, port: 9000, timeout: 5s}
- name: http-as-before
  envoyExtAuthzHttp:
    service: ext-authz.foo.svc.cluster.local
    port: 8000
    includeHeadersInCheck: [x-ext-authz]
    headersToUpstreamOnAllow: [x-ext-authz-check-result]
    headersToDownstreamOnDeny: [x-ext-authz-check-result]
- name: impatient
  envoyExtAuthzHttp: &impatient
    service: ext-authz.foo.svc.cluster.local
    port: 8000
    timeout: 1s
    includeRequestHeadersInCheck: [x-ext-authz, x-ext-authz-delay]
    headersToUpstreamOnAllow: [x-ext-authz-check-result]
- name: impatient-and-open
  envoyExtAuthzHttp: {<<: *impatient, failOpen: true}
- name: rerouting
  envoyExtAuthzHttp: {<<: *impatient, timeout: 5s, clearRouteCache: true}
- name: grpc-impatient
  envoyExtAuthzGrpc: &grpc {service: ext-authz.foo.svc.cluster.local, port: 9000, timeout: 1000ms}
- name: grpc-impatient-and-open
  envoyExtAuthzGrpc: {<<: *grpc, failOpen: true}
- name: grpc-rerouting
  envoyExtAuthzGrpc: {<<: *grpc, timeout: 5s, clearRouteCache: true}
- name: grpc-body
  envoyExtAuthzGrpc:
    <<: *grpc
    timeout: 5s
    includeRequestBodyInCheck: {maxRequestBytes: 100, allowPartialMessage: true}
- name: grpc-bytes
  envoyExtAuthzGrpc:
    <<: *grpc
    timeout: 5s
    includeRequestBodyInCheck:
      {maxRequestBytes: 100, allowPartialMessage: true, packAsBytes: true}
- name: grpc-down
  envoyExtAuthzGrpc: {service: nobody.foo.svc.cluster.local, port: 9000, statusOnError: "401"}
- name: grpc-down-and-open
  envoyExtAuthzGrpc: {service: nobody.foo.svc.cluster.local, port: 9000, failOpen: true}
- name: down
  envoyExtAuthzHttp: {service: nobody.foo.svc.cluster.local, port: 8000, statusOnError: "503"}
- name: down-by-default
  envoyExtAuthzGrpc: {service: nobody.foo.svc.cluster.local, port: 9000}
- name: down-and-open
  envoyExtAuthzHttp: {service: nobody.foo.svc.cluster.local, port: 8000, failOpen: true}"""

EDGE = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: foo}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge, namespace: foo}
spec:
  hosts: ["*"]
  gateways: [edge]
  http:
  - match: [{headers: {x-ext-authz-check-result: {exact: allowed}}}]
    route: &httpbin [{destination: {host: httpbin, port: {number: 8000}}}]
    headers: {response: {set: {x-route: checked}}}
  - route: *httpbin
    headers: {response: {set: {x-route: usual}}}
"""
"""The ingress gateway leads to httpbin, by another route if the authorizer has added its header."""


@dataclass(frozen=True)
class World:
    mesh: Mesh
    rules: Rules
    clients: dict[str, Inside]

    def status(self, caller: str, path: str = "/ip", **options: Any) -> int:
        return self.clients[caller].get(f"{HTTPBIN}{path}", **options).status

    def allowed(self, path: str = "/ip", **options: Any) -> set[str]:
        """The callers who get an answer of httpbin."""
        return {caller for caller in CALLERS if self.status(caller, path, **options) == 200}

    def echoes(self, caller: str, port: int, host: str = "tcp-echo.foo") -> bool:
        """Whether tcp-echo answers."""
        try:
            answer: str = self.clients[caller].call(
                "exchange", host=host, port=port, text=f"port {port}\n", timeout=5
            )
        except InsideError:
            return False
        return answer == f"hello port {port}\n"

    def policy(self, name: str, spec: object, where: str = "foo", **metadata: object) -> None:
        """Every proxy has it afterwards."""
        self.rules.apply(name, policy(name, spec, where, **metadata))

    def wait(self, condition: Any, what: str) -> None:
        """Envoy's threads have the newest configuration a moment after it is acknowledged."""
        eventually(condition, what, seconds=20)


def policy(name: str, spec: object, where: str = "foo", **metadata: object) -> str:
    document = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": where, **metadata},
        "spec": spec,
    }
    return json.dumps(document)


def manifests() -> str:
    curl = (sys.executable, "-c", "import time; time.sleep(1e9)")
    echo = (sys.executable, str(SAMPLES / "tcp-echo" / "tcp_echo.py"), "9000,9001,9002", "hello")
    authorizer = (sys.executable, str(SAMPLES / "ext-authz" / "ext_authz.py"))
    texts = [namespace("foo"), namespace("bar")]
    texts += [namespace("legacy", {"istio-injection": "disabled"})]
    for where in CALLERS:
        texts += [
            account("curl", where),
            deployment("curl", *curl, namespace=where, account="curl"),
        ]
    image = "mccutchen/go-httpbin"
    texts += [
        account("httpbin", "foo"),
        deployment("httpbin", image=image, port=8080, namespace="foo", account="httpbin"),
        service(
            "httpbin",
            "httpbin",
            {"name": "http", "port": 8000, "targetPort": 8080},
            namespace="foo",
        ),
        deployment("tcp-echo", *echo, port=9000, namespace="foo"),
        service(
            "tcp-echo",
            "tcp-echo",
            {"name": "tcp", "port": 9000},
            {"name": "tcp-other", "port": 9001},
            namespace="foo",
        ),
        deployment("ext-authz", *authorizer, port=9000, namespace="foo"),
        service(
            "ext-authz",
            "ext-authz",
            {"name": "http", "port": 8000},
            {"name": "grpc", "port": 9000},
            namespace="foo",
        ),
        service(
            "nobody",
            "nobody",
            {"name": "http", "port": 8000},
            {"name": "grpc", "port": 9000},
            namespace="foo",
        ),
    ]
    return "".join(texts)


@contextmanager
def authorization_world(mesh: Mesh, directory: Path, *more: str) -> Iterator[World]:
    """Up, and everybody reaches httpbin. ``more`` YAML is applied from the beginning."""
    file = directory / "world.yaml"
    file.write_text(manifests() + mesh_config(PROVIDERS) + "\n---\n" + "\n---\n".join(more))
    mesh.up(file)
    with ExitStack() as stack:
        clients = {
            caller: stack.enter_context(inside(mesh, "deploy/curl", caller)) for caller in CALLERS
        }
        world = World(mesh, stack.enter_context(Rules(mesh)), clients)
        eventually(lambda: world.allowed() == set(CALLERS), "everybody reaches httpbin", 30)
        yield world
