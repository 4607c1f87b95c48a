"""Services, PeerAuthentications and Gateways in, listeners out; and a real Envoy accepts them.

A case is ``listeners/<name>.yaml``: first a document that says whose listeners, then the objects.
``<name>.listeners.yaml`` is what must come out, with the problems at its end.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path

import msgspec
import pytest
import yaml
from envoy.config.listener.v3 import listener_pb2

from argosy.api import core
from argosy.api.decode import decode_yaml
from argosy.api.meta import Object
from argosy.api.networking_gateway import Gateway
from argosy.api.networking_virtual_service import VirtualService
from argosy.api.security import PeerAuthentication
from argosy.base.names import Hostname, Namespace
from argosy.base.problems import Problem
from argosy.model.gateway import GatewayServer
from argosy.model.listener import (
    ListenerSettings,
    OpaqueChain,
    OutboundTrafficPolicy,
    PathNormalization,
)
from argosy.model.proxy import ProxyType, Scope
from argosy.model.route import HashPolicy
from argosy.model.service import Service, ServicePort
from argosy.model.telemetry import NO_TELEMETRY, AccessLog, FileSink, Telemetry
from argosy.pilot.compile import (
    authn,
    endpoints,
    gateway_listeners,
    gateways,
    inbound,
    listeners,
    services,
    tcp_routes,
)
from argosy.pilot.compile.routes import Listening
from argosy.pilot.compile.virtual_services import attachment
from argosy.pilot.translate import listener as translate
from argosy.pilot.translate import names
from argosy.pilot.translate.gateway_listener import gateway_listener
from argosy.pilot.translate.inbound_listener import virtual_inbound
from argosy.testing.golden import Golden, envoy_yaml
from argosy.testing.running_envoy import static_cluster, validate

FOLDER = Path(__file__).parent / "listeners"
SUFFIX = ".listeners.yaml"
CASES = sorted(p.stem for p in FOLDER.glob("*.yaml") if not p.name.endswith(SUFFIX))


@dataclass(frozen=True)
class Case:
    """``side`` is outbound, inbound or gateway. ``instances``: addresses behind headless ones."""

    side: str
    labels: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    instances: dict[str, tuple[str, ...]] = field(default_factory=dict)
    settings: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Mesh:
    services: tuple[Service, ...]
    policies: tuple[PeerAuthentication, ...]
    gateways: tuple[Gateway, ...]
    rules: tuple[VirtualService, ...]

    def service(self, host: Hostname) -> Service | None:
        return next((one for one in self.services if one.hostname == host), None)

    def subsets(self, host: Hostname) -> frozenset[str]:
        return frozenset()

    def hash_policy(self, host: Hostname, port: int, subset: str) -> HashPolicy | None:
        return None


@dataclass(frozen=True)
class Built:
    listeners: tuple[listener_pb2.Listener, ...]
    problems: tuple[Problem, ...]


@cache
def build(name: str) -> Built:
    first, _, rest = (FOLDER / f"{name}.yaml").read_text().partition("\n---\n")
    case = msgspec.convert(yaml.safe_load(first), Case)
    decoded = decode_yaml(rest, f"{name}.yaml")
    assert not decoded.problems
    mesh = known(decoded.objects)
    match case.side:
        case "outbound":
            return outbound(case, mesh)
        case "inbound":
            return of_workload(case, mesh)
        case "gateway":
            return of_gateway(case, mesh)
        case other:
            raise AssertionError(f"no such side: {other}")


def known(objects: tuple[Object, ...]) -> Mesh:
    compiled = [services.service(one).value for one in objects if isinstance(one, core.Service)]
    return Mesh(
        services=tuple(one for one in compiled if one is not None),
        policies=tuple(one for one in objects if isinstance(one, PeerAuthentication)),
        gateways=tuple(one for one in objects if isinstance(one, Gateway)),
        rules=tuple(one for one in objects if isinstance(one, VirtualService)),
    )


def outbound(case: Case, mesh: Mesh) -> Built:
    def instances(service: Service, _port: ServicePort) -> tuple[str, ...]:
        return case.instances.get(service.name, ())

    found = listeners.outbound_listeners(mesh.services, instances)
    chosen = settings(case)
    protos = [translate.outbound_listener(one, chosen) for one in found.value]
    return Built((translate.virtual_outbound(chosen), *protos), found.problems)


def of_workload(case: Case, mesh: Mesh) -> Built:
    labels = tuple(sorted(case.labels.items()))
    demands = authn.demands((), mesh.policies, Namespace("default"), labels)
    found = inbound.inbound_listener(
        [one for one in mesh.services if one.selector and endpoints.selects(one.selector, labels)],
        tuple(case.ports.items()),
        demands.mode,
        [port for port, _ in demands.ports],
    )
    return Built((virtual_inbound(found.value, settings(case)),), found.problems)


def of_gateway(case: Case, mesh: Mesh) -> Built:
    labels = tuple(sorted(case.labels.items()))
    scope = Scope(ProxyType.ROUTER, Namespace("istio-system"))
    attached = [(attachment(vs).value, tcp_routes.tcp_rules(vs).value) for vs in mesh.rules]
    selecting = [
        one for one in mesh.services if one.selector and endpoints.selects(one.selector, labels)
    ]

    def forward(server: GatewayServer) -> tuple[OpaqueChain, ...]:
        gateway = f"{server.gateway.namespace}/{server.gateway.name}"
        routes = tcp_routes.gateway_routes(
            server.hosts, Listening(gateway, server.port), attached, scope, mesh
        )
        return tuple(
            OpaqueChain(
                listeners.forward_targets(route.targets, lambda _: None, gateway),
                route.subnets,
                route.server_names,
            )
            for route in routes
        )

    problems: list[Problem] = []
    servers: list[GatewayServer] = []
    for one in mesh.gateways:
        if gateways.gateway_selects(one, labels):
            compiled = gateways.gateway_servers(one)
            servers += compiled.value
            problems += compiled.problems
    found = gateway_listeners.gateway_listeners(
        servers, lambda n: gateways.listen_port(n, selecting, tuple(case.ports.items())), forward
    )
    return Built(
        tuple(gateway_listener(one, settings(case)) for one in found.value),
        (*problems, *found.problems),
    )


def settings(case: Case) -> ListenerSettings:
    written = case.settings
    log = written.get("access_log")
    return ListenerSettings(
        outbound=OutboundTrafficPolicy(written.get("outbound", "ALLOW_ANY")),
        path_normalization=PathNormalization(written.get("path_normalization", "BASE")),
        detection_timeout=timedelta(seconds=float(str(written.get("detection_timeout", 0)))),
        http10=bool(written.get("http10")),
        trusted_proxies=int(str(written.get("trusted_proxies", 0))),
        telemetry=Telemetry(access_logs=(AccessLog(FileSink(str(log))),)) if log else NO_TELEMETRY,
    )


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str, golden: Golden) -> None:
    built = build(name)
    problems = yaml.safe_dump(
        {"problems": [f"{p.object} {p.field}: {p.code}: {p.message}" for p in built.problems]},
        sort_keys=False,
        width=100,
    )
    golden.check(FOLDER / f"{name}{SUFFIX}", f"{envoy_yaml(*built.listeners)}---\n{problems}")


@pytest.mark.envoy
@pytest.mark.parametrize("name", CASES)
def test_envoy_accepts(name: str, tmp_path: Path) -> None:
    built = build(name)
    static = (
        names.PASSTHROUGH_CLUSTER,
        names.BLACK_HOLE_CLUSTER,
        names.INBOUND_PASSTHROUGH_CLUSTER,
    )
    clusters = [static_cluster(cluster, 1) for cluster in static]
    validate(tmp_path, listeners=built.listeners, clusters=clusters)


def test_there_are_cases() -> None:
    assert len(CASES) >= 8
