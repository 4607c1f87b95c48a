"""The workloads that the tests of the edge attack, and what they are attacked with."""

from manifests import deployment, namespace, server, service

HOST = "edge.test"
HTTP = {"name": "http", "port": 8000}
FLOODS = (
    "rapid_reset",
    "continuation",
    "empty_continuation",
    "settings",
    "ping",
    "empty_data",
    "priority",
    "window_update",
    "cookie_bomb",
)
ANSWERED = ("many_headers", "huge_headers", "many_streams")
GATEWAY = f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge, namespace: default}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - {{port: {{number: 80, name: http, protocol: HTTP}}, hosts: ["*"]}}
  - port: {{number: 443, name: https, protocol: HTTPS}}
    hosts: ["{HOST}"]
    tls: {{mode: MUTUAL, credentialName: edge-credential}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: edge, namespace: default}}
spec:
  hosts: ["{HOST}"]
  gateways: [edge]
  http: [{{route: [{{destination: {{host: echo, port: {{number: 8000}}}}}}]}}]
---
"""
WORKLOADS = (
    GATEWAY
    + namespace("bare")
    + deployment("echo", *server("recorder", 8000), port=8000)
    + service("echo", "echo", HTTP)
    + deployment(
        "few",
        *server("recorder", 8000),
        port=8000,
        annotations={
            "proxy.istio.io/config": "connectionSettings: {globalDownstreamConnectionLimit: 4}"
        },
    )
    + service("few", "few", HTTP)
    + deployment("curl", image="curlimages/curl")
    + deployment(
        "stranger",
        image="curlimages/curl",
        namespace="bare",
        labels={"sidecar.istio.io/inject": "false"},
    )
)
CLAIMS = (
    "x-envoy-peer-metadata",
    "x-envoy-peer-metadata-id",
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-original-path",
    "x-envoy-original-host",
    "x-istio-attributes",
    "x-forwarded-client-cert",
)
"""What only proxies of the mesh may say."""

OBEYED = (
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
    "x-envoy-retriable-status-codes",
    "x-envoy-retriable-header-names",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-force-trace",
    "x-envoy-ip-tags",
    "x-envoy-original-url",
    "x-envoy-internal",
)
"""What Envoy obeys, or adds, when it trusts a client."""

AT_THE_GATEWAY = (*CLAIMS, *OBEYED, "x-envoy-cluster", "x-envoy-fault-delay-request", "x-envoy-any")
FORGED = "spiffe://cluster.local/ns/istio-system/sa/forged"

NEXT = f"GET /smuggled HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
START = f"POST /first HTTP/1.1\r\nHost: {HOST}\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"
REFUSED = {
    "length and coding": f"{START}Content-Length: {5 + len(NEXT)}\r\n{CHUNKED}\r\n0\r\n\r\n",
    "coding and length": f"{START}{CHUNKED}Content-Length: 3\r\n\r\n1\r\nZ\r\n0\r\n\r\n",
    "two lengths": f"{START}Content-Length: 0\r\nContent-Length: {len(NEXT)}\r\n\r\n",
    "a list of lengths": f"{START}Content-Length: 0, {len(NEXT)}\r\n\r\n",
    "a length with a sign": f"{START}Content-Length: +0\r\n\r\n",
    "a negative length": f"{START}Content-Length: -1\r\n\r\n",
    "a hexadecimal length": f"{START}Content-Length: 0x0\r\n\r\n",
    "an unknown coding": f"{START}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "two codings": f"{START}{CHUNKED}Transfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "a space before the colon": f"{START}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "another white space": f"{START}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a chunk size that is none": f"{START}{CHUNKED}\r\n0x0\r\n\r\n",
    "a chunk size of 65 bits": f"{START}{CHUNKED}\r\n10000000000000000\r\n\r\n",
    "bare line feeds in chunks": f"{START}{CHUNKED}\r\n1\nZ\n0\n\n",
    "a bare line feed after an extension": f"{START}{CHUNKED}\r\n1;a\nZ\r\n0\r\n\r\n",
    "a null": f"{START}X-A: a\0b\r\nContent-Length: 0\r\n\r\n",
    "no host": "GET /first HTTP/1.1\r\n\r\n",
    "a line without colon": f"{START}nothing\r\n\r\n",
    "a name that is empty": f"{START}: nothing\r\n\r\n",
    "a space in the path": f"GET /first b HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
    "a fragment": f"GET /first#b HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
    "a null in the path": f"GET /first%00 HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
    "hop-by-hop fields of the mesh": f"{START}Connection: close, x-forwarded-for\r\n\r\n",
}
"""Requests after which ``NEXT`` is sent: it must be part of no request."""
