"""What the tests of rate limits apply: routes, a Gateway, Redis, and Istio's own way."""

ROUTES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: echo, namespace: default}
spec:
  hosts: [echo]
  http:
  - name: reports
    match: [{name: big, uri: {prefix: /big}}, {uri: {prefix: /small}}]
    route: [{destination: {host: echo}}]
  - {name: others, route: [{destination: {host: echo}}]}
"""
GATEWAY = """---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.example.com, b.example.com]}]
"""
WHOLE_EDGE = """---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge, namespace: default}
spec:
  hosts: [a.example.com, b.example.com]
  gateways: [edge]
  http: [{route: [{destination: {host: productpage}}]}]
"""
ROUTED_EDGE = """---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge, namespace: default}
spec:
  hosts: [a.example.com, b.example.com]
  gateways: [edge]
  http:
  - {name: checkout, match: [{uri: {prefix: /checkout}}], route: [{destination: {host: productpage}}]}
  - {route: [{destination: {host: productpage}}]}
"""

REDIS = """
apiVersion: v1
kind: Service
metadata: {name: counters}
spec:
  ports: [{name: tcp-redis, port: 6379}]
  selector: {app: counters}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: counters}
spec:
  selector: {matchLabels: {app: counters}}
  template:
    metadata: {labels: {app: counters}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: redis
        image: docker.io/redis:alpine
        readinessProbe: {tcpSocket: {port: 6379}, periodSeconds: 1}
"""
COUNTED_IN_REDIS = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  argosy: |
    rateLimitCounters: redis://counters.default:6379/0
"""

KEYS = """
import redis
print(*(key.decode() for key in redis.Redis().keys()), sep="\\n")
"""
STOP = """
import os, redis, signal
pid = redis.Redis().info()["process_id"]
os.kill(pid, signal.SIGSTOP)
print(pid)
"""

# Istio's own.

RATELIMIT_CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata:
  name: ratelimit-config
data:
  config.yaml: |
    domain: ratelimit
    descriptors:
      - key: PATH
        value: "/productpage"
        rate_limit:
          unit: minute
          requests_per_unit: 1
      - key: PATH
        value: "api"
        rate_limit:
          unit: minute
          requests_per_unit: 2
      - key: PATH
        rate_limit:
          unit: minute
          requests_per_unit: 100
"""
FILTERS = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: filter-ratelimit, namespace: istio-system}
spec:
  workloadSelector: {labels: {istio: ingressgateway}}
  configPatches:
    - applyTo: HTTP_FILTER
      match:
        context: GATEWAY
        listener:
          filterChain:
            filter:
              name: "envoy.filters.network.http_connection_manager"
              subFilter: {name: "envoy.filters.http.router"}
      patch:
        operation: INSERT_BEFORE
        value:
          name: envoy.filters.http.ratelimit
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit
            domain: ratelimit
            failure_mode_deny: true
            timeout: 10s
            rate_limit_service:
              grpc_service:
                envoy_grpc:
                  cluster_name: outbound|8081||ratelimit.default.svc.cluster.local
                  authority: ratelimit.default.svc.cluster.local
              transport_api_version: V3
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: filter-ratelimit-svc, namespace: istio-system}
spec:
  workloadSelector: {labels: {istio: ingressgateway}}
  configPatches:
    - applyTo: VIRTUAL_HOST
      match:
        context: GATEWAY
        routeConfiguration: {vhost: {name: "", route: {action: ANY}}}
      patch:
        operation: MERGE
        value:
          rate_limits:
            - actions:
              - request_headers: {header_name: ":path", descriptor_key: "PATH"}
"""
API_ROUTE = """
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata: {name: bookinfo}
spec:
  gateways: [bookinfo-gateway]
  hosts: ['*']
  http:
  - match:
    - uri: {exact: /productpage}
    - uri: {prefix: /static}
    - uri: {exact: /login}
    - uri: {exact: /logout}
    route: [{destination: {host: productpage, port: {number: 9080}}}]
  - match:
    - uri: {prefix: /api/v1/products}
    route: [{destination: {host: productpage, port: {number: 9080}}}]
    name: api
"""
API_FILTER = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: filter-ratelimit-svc-api, namespace: istio-system}
spec:
  workloadSelector: {labels: {istio: ingressgateway}}
  configPatches:
    - applyTo: HTTP_ROUTE
      match:
        context: GATEWAY
        routeConfiguration: {vhost: {name: "*:8080", route: {name: "api"}}}
      patch:
        operation: MERGE
        value:
          route:
            rate_limits:
            - actions:
              - header_value_match:
                  descriptor_key: "PATH"
                  descriptor_value: "api"
                  headers:
                    - name: ":path"
                      safe_regex_match:
                        google_re2: {}
                        regex: "/api/v1/products/[1-9]{1,2}"
"""
