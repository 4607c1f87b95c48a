"""What of the rules for gRPC services means nothing to clients without a proxy.

Nobody can tell from a pod which services it calls, so each proxyless pod counts as a client of all
gRPC services that it may see. docs/tasks/proxyless-grpc.md has the whole table.
"""

from collections.abc import Iterable, Iterator

from argosy.api.core_pod import TEMPLATES_ANNOTATION, Pod
from argosy.api.networking_destination_rule import (
    DestinationRule,
    LoadBalancerSettings,
    PortTrafficPolicy,
    TrafficPolicy,
)
from argosy.api.networking_virtual_service import HTTPRoute
from argosy.base.names import Hostname, Namespace, ObjectKey
from argosy.base.problems import Problem, Severity
from argosy.derive import Reader, formula
from argosy.model.proxy import ProxyType
from argosy.model.route import MESH
from argosy.pilot.compile.hostnames import covers
from argosy.pilot.compile.roles import proxy_type
from argosy.pilot.graph import destinations, rules
from argosy.pilot.graph.world import all_services, annotated, read

_NO_SUCH_THING = "gRPC has no such thing and goes on without it"
_FAILS = "gRPC cannot follow it: such calls fail"
_PASSED_OVER = "gRPC sees no query, so this rule is not for its calls"
_ROUND_ROBIN = "gRPC takes turns instead"

Part = tuple[str, str]
"""A field, and what gRPC does about it."""


@formula
def proxyless_namespaces(get: Reader) -> frozenset[Namespace]:
    """Where pods run that a gRPC library configures instead of a proxy."""
    pods = (read(get, key, Pod) for key in annotated(get, "Pod", TEMPLATES_ANNOTATION))
    return frozenset(
        Namespace(pod.metadata.namespace)
        for pod in pods
        if pod is not None and proxy_type(pod) is ProxyType.GRPC
    )


@formula
def grpc_hosts(get: Reader) -> tuple[Hostname, ...]:
    """The services that gRPC clients can call."""
    found = {
        service.hostname
        for service in get(all_services)
        if any(port.protocol.is_http2 for port in service.ports)
    }
    return tuple(sorted(found))


@formula
def ignored_routing(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    written = get(rules.virtual_service, key.namespace, key.name)
    attachment = get(rules.compiled_attachment, key.namespace, key.name)
    if written is None or attachment is None or MESH not in attachment.value.gateways:
        return ()
    if not _concerns_clients(get, attachment.value.export_to, attachment.value.hosts):
        return ()
    parts = (
        part
        for index, route in enumerate(written.spec.http)
        for part in _of_route(route, f"spec.http[{index}]")
    )
    return _problems(key, parts)


@formula
def ignored_policies(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    written = get(destinations.destination_rule, key.namespace, key.name)
    compiled = get(destinations.compiled_destination, key.namespace, key.name)
    if written is None or compiled is None:
        return ()
    if not _concerns_clients(get, compiled.value.export_to, (compiled.value.host,)):
        return ()
    return _problems(key, _of_rule(written))


def _concerns_clients(get: Reader, export_to: frozenset[str], hosts: Iterable[Hostname]) -> bool:
    clients = get(proxyless_namespaces)
    if not clients or ("*" not in export_to and clients.isdisjoint(export_to)):
        return False
    called = get(grpc_hosts)
    return any(covers(host, service) for host in hosts for service in called)


def _problems(key: ObjectKey, parts: Iterable[Part]) -> tuple[Problem, ...]:
    return tuple(
        Problem(
            key,
            field,
            "NotForProxylessGrpc",
            f"pods with the template grpc-agent have no proxy: {consequence}",
            "give clients that need it a sidecar, or do without",
            Severity.INFO,
        )
        for field, consequence in parts
    )


def _of_route(route: HTTPRoute, path: str) -> Iterator[Part]:
    for index, match in enumerate(route.match):
        if match.query_params:
            yield f"{path}.match[{index}].queryParams", _PASSED_OVER
    for index, destination in enumerate(route.route):
        if destination.headers is not None:
            yield f"{path}.route[{index}].headers", _NO_SUCH_THING
    ignored = {
        "rewrite": route.rewrite,
        "mirror": route.mirror,
        "mirrors": route.mirrors,
        "corsPolicy": route.cors_policy,
        "headers": route.headers,
    }
    yield from ((f"{path}.{name}", _NO_SUCH_THING) for name, value in ignored.items() if value)
    failing = {"redirect": route.redirect, "directResponse": route.direct_response}
    yield from ((f"{path}.{name}", _FAILS) for name, value in failing.items() if value)


def _of_rule(rule: DestinationRule) -> Iterator[Part]:
    policies = [("spec.trafficPolicy", rule.spec.traffic_policy)]
    policies += [
        (f"spec.subsets[{index}].trafficPolicy", subset.traffic_policy)
        for index, subset in enumerate(rule.spec.subsets)
    ]
    for path, policy in policies:
        if policy is None:
            continue
        yield from _of_policy(policy, path)
        for index, each in enumerate(policy.port_level_settings):
            yield from _of_policy(each, f"{path}.portLevelSettings[{index}]")
        whole = {
            "tunnel": policy.tunnel,
            "proxyProtocol": policy.proxy_protocol,
            "retryBudget": policy.retry_budget,
        }
        yield from ((f"{path}.{name}", _NO_SUCH_THING) for name, value in whole.items() if value)


def _of_policy(policy: TrafficPolicy | PortTrafficPolicy, path: str) -> Iterator[Part]:
    if policy.load_balancer is not None:
        yield from _of_load_balancer(policy.load_balancer, f"{path}.loadBalancer")
    if policy.outlier_detection is not None:
        yield f"{path}.outlierDetection", _NO_SUCH_THING
    if policy.tls is not None and policy.tls.mode in ("SIMPLE", "MUTUAL"):
        yield f"{path}.tls", "gRPC takes the mesh's certificates only: such calls fail"
    pool = policy.connection_pool
    if pool is None:
        return
    if pool.tcp is not None:
        yield f"{path}.connectionPool.tcp", _NO_SUCH_THING
    if pool.http is not None:
        for name in pool.http.__struct_fields__:
            default = getattr(type(pool.http)(), name)
            if name != "http2_max_requests" and getattr(pool.http, name) != default:
                yield f"{path}.connectionPool.http", "gRPC heeds http2MaxRequests alone"
                return


def _of_load_balancer(balancer: LoadBalancerSettings, path: str) -> Iterator[Part]:
    if balancer.simple not in (None, "UNSPECIFIED", "ROUND_ROBIN"):
        yield f"{path}.simple", _ROUND_ROBIN
    hashed = balancer.consistent_hash
    if hashed is not None and not hashed.http_header_name:
        yield f"{path}.consistentHash", "gRPC hashes by headers only"
    locality = balancer.locality_lb_setting
    if locality is not None and (locality.failover or locality.failover_priority):
        yield f"{path}.localityLbSetting", "without outlierDetection gRPC never fails over"
    if balancer.warmup is not None or balancer.warmup_duration_secs is not None:
        yield f"{path}.warmup", _NO_SUCH_THING
