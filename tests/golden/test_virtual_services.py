"""VirtualServices in, route tables out; and a real Envoy accepts every one of them.

A case is ``virtual_services/<name>.yaml``: first a document that says which client and tables,
then the objects. ``<name>.routes.yaml`` is what must come out, with the problems at its end.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from envoy.config.route.v3 import route_pb2

from argosy.api.decode import decode_yaml
from argosy.api.durations import parse_duration
from argosy.api.meta import Duration
from argosy.api.networking_virtual_service import VirtualService
from argosy.api.validate import validate as validate_object
from argosy.base.names import Hostname, Namespace, ObjectKey
from argosy.base.problems import Problem, Severity
from argosy.model.proxy import ProxyType, Scope
from argosy.model.route import (
    Attachment,
    CookieHash,
    HashPolicy,
    HeaderHash,
    HttpRule,
    RouteServer,
    RouteTable,
    UnknownHosts,
    VirtualHost,
)
from argosy.model.service import Protocol, Service, ServicePort
from argosy.pilot.compile.attachments import mesh_conflicts, winner
from argosy.pilot.compile.gateway_routes import gateway_table
from argosy.pilot.compile.references import check_references
from argosy.pilot.compile.routes import (
    host_table,
    mesh_table,
    mesh_virtual_host,
    mixed_table,
    rule_virtual_host,
)
from argosy.pilot.compile.virtual_services import attachment, compile_virtual_service
from argosy.pilot.translate.route import route_configuration
from argosy.testing.golden import Golden, envoy_yaml
from argosy.testing.route_listener import route_listener
from argosy.testing.running_envoy import validate

FOLDER = Path(__file__).parent / "virtual_services"
SUFFIX = ".routes.yaml"
REFUSED = ("delegates", "faults", "redirects")
"""Cases that show what becomes of mistakes that the API refuses: compile must survive them."""

CASES = sorted(p.stem for p in FOLDER.glob("*.yaml") if not p.name.endswith(SUFFIX))


def _service(
    name: str, address: str, *ports: int, namespace: str = "default", headless: bool = False
) -> Service:
    host = Hostname(f"{name}.{namespace}.svc.cluster.local")
    return Service(
        hostname=host,
        name=name,
        namespace=Namespace(namespace),
        ports=tuple(ServicePort(p, f"http-{p}", Protocol.HTTP, p) for p in ports),
        addresses=() if headless else (address,),
        headless=headless,
    )


SERVICES = {
    service.hostname: service
    for service in (
        _service("productpage", "10.96.0.1", 9080),
        _service("details", "10.96.0.2", 9080),
        _service("reviews", "10.96.0.3", 9080),
        _service("ratings", "10.96.0.4", 9080),
        _service("ratings", "fd00::5", 9080, namespace="other"),
        _service("httpbin", "10.96.0.6", 8000),
        _service("multi", "10.96.0.7", 80, 8080),
        _service("replicas", "", 9080, headless=True),
    )
}
SUBSETS = {
    "reviews.default.svc.cluster.local": frozenset({"v1", "v2", "v3"}),
    "ratings.default.svc.cluster.local": frozenset({"v1"}),
    "httpbin.default.svc.cluster.local": frozenset({"v1", "v2"}),
}
HASHES: dict[tuple[str, str], HashPolicy] = {
    ("ratings.default.svc.cluster.local", "v1"): HeaderHash("x-user"),
    ("details.default.svc.cluster.local", ""): CookieHash("session", "/", None),
}


class Lookup:
    """The mesh of all cases."""

    def service(self, host: Hostname) -> Service | None:
        return SERVICES.get(host)

    def subsets(self, host: Hostname) -> frozenset[str]:
        return SUBSETS.get(host, frozenset())

    def hash_policy(self, host: Hostname, port: int, subset: str) -> HashPolicy | None:
        return HASHES.get((host, subset))


@dataclass(frozen=True)
class Case:
    """``tables`` are as written in the case: see ``table``."""

    scope: Scope
    tables: tuple[dict[str, Any], ...]
    objects: dict[ObjectKey, VirtualService]


@dataclass(frozen=True)
class Built:
    tables: tuple[route_pb2.RouteConfiguration, ...]
    problems: tuple[Problem, ...]


@cache
def build(name: str) -> Built:
    case = read(FOLDER / f"{name}.yaml")
    problems: list[Problem] = []
    attached: list[tuple[Attachment, tuple[HttpRule, ...]]] = []
    for vs in case.objects.values():
        claim = attachment(vs)
        rules = compile_virtual_service(
            vs, lambda ns, name: case.objects.get(ObjectKey("VirtualService", ns, name))
        )
        if not vs.spec.hosts:
            continue  # a delegate: it has no effect of its own
        attached.append((claim.value, rules.value))
        problems += claim.problems + rules.problems
        problems += check_references(claim.value, rules.value, Lookup())
    problems += mesh_conflicts([claim for claim, _ in attached])
    tables = [table(wanted, case.scope, attached, problems) for wanted in case.tables]
    unique = tuple(dict.fromkeys(problems))
    return Built(tuple(route_configuration(one) for one in tables), unique)


def read(path: Path) -> Case:
    header, *documents = list(yaml.safe_load_all(path.read_text()))
    objects = [msgspec.convert(one, VirtualService, dec_hook=_duration) for one in documents]
    found = {one.key: one for one in objects}
    assert len(found) == len(objects), "two objects of a case have the same name"
    client = header.get("client", {})
    scope = Scope(
        ProxyType.SIDECAR if "gateway" not in str(header["tables"]) else ProxyType.ROUTER,
        Namespace(client.get("namespace", "default")),
        tuple(tuple(sorted(labels.items())) for labels in client.get("classes", ())),
    )
    return Case(scope, tuple(header["tables"]), found)


def _duration(kind: type, value: object) -> object:
    assert kind is Duration, kind
    assert isinstance(value, str), value
    return parse_duration(value)


def table(
    wanted: dict[str, Any],
    scope: Scope,
    attached: list[tuple[Attachment, tuple[HttpRule, ...]]],
    problems: list[Problem],
) -> RouteTable:
    """``{port: 9080, hosts: [...]}`` (of a sidecar), ``{host:, port:}``, ``{gateway: [...]}``."""
    match wanted:
        case {"gateway": servers, "name": name}:
            result = gateway_table(
                name, [route_server(server) for server in servers], attached, scope, Lookup()
            )
            problems.extend(result.problems)
            return result.value
        case {"host": host, "port": port}:
            return host_table(f"{host}:{port}", sidecar_host(host, port, scope, attached))
        case {"ports": ports, "hosts": hosts}:
            found = [
                sidecar_host(host, port, scope, attached)
                for port in ports
                for host in hosts
                if SERVICES[host].get_port(port)
            ]
            return mixed_table("http_proxy", found, UnknownHosts.PASSTHROUGH)
        case {"port": port, "hosts": hosts}:
            unknown = UnknownHosts.BLOCK if wanted.get("block") else UnknownHosts.PASSTHROUGH
            served = [sidecar_host(host, port, scope, attached) for host in hosts]
            return mesh_table(str(port), served, unknown)
    raise AssertionError(wanted)


def sidecar_host(
    host: str, port: int, scope: Scope, attached: list[tuple[Attachment, tuple[HttpRule, ...]]]
) -> VirtualHost:
    rules = dict(attached)
    best = winner(rules, Hostname(host), scope.namespace)
    service = SERVICES.get(Hostname(host))
    if service is None:
        assert best is not None, f"nobody speaks of {host}"
        virtual_host = rule_virtual_host(Hostname(host), port, rules[best], scope, Lookup())
        assert virtual_host is not None
        return virtual_host
    service_port = service.get_port(port)
    assert service_port is not None
    return mesh_virtual_host(
        service, service_port, () if best is None else rules[best], scope, Lookup()
    )


def route_server(server: dict[str, Any]) -> RouteServer:
    hosts = [host.rpartition("/") for host in server["hosts"]]
    return RouteServer(
        gateway=server["gateway"],
        port=server["port"],
        hosts=tuple((namespace or "*", Hostname(host)) for namespace, _, host in hosts),
        tls=server.get("tls", False),
        https_redirect=server.get("https_redirect", False),
    )


def test_every_row_has_a_case() -> None:
    titles = "".join((FOLDER / f"{name}.yaml").read_text().split("---")[0] for name in CASES)
    rows = [f"VS-{number:02}" for number in (*range(1, 38), 41)]
    assert [row for row in rows if row not in titles] == []


@pytest.mark.parametrize("name", CASES)
def test_the_api_admits_the_case(name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text().partition("---\n")[2]
    decoded = decode_yaml(text, f"{name}.yaml")
    problems = [problem for one in decoded.objects for problem in validate_object(one)]
    errors = [p.field for p in problems if p.severity is Severity.ERROR]
    errors += [p.field for p in decoded.errors]
    assert bool(errors) == (name in REFUSED), errors


@pytest.mark.parametrize("name", CASES)
def test_routes(name: str, golden: Golden) -> None:
    built = build(name)
    problems = [
        {
            "object": str(problem.object),
            "field": problem.field,
            "code": problem.code,
            "severity": problem.severity.value,
            "message": problem.message,
        }
        for problem in built.problems
    ]
    text = envoy_yaml(*built.tables)
    if problems:
        text += "---\n" + yaml.safe_dump({"problems": problems}, sort_keys=False, width=100)
    golden.check(FOLDER / f"{name}{SUFFIX}", text)


@pytest.mark.parametrize("name", CASES)
def test_no_domain_twice(name: str) -> None:
    for built in build(name).tables:
        domains = [d.lower() for host in built.virtual_hosts for d in host.domains]
        assert len(domains) == len(set(domains))


@pytest.mark.envoy
def test_envoy_accepts_every_table(tmp_path: Path) -> None:
    tables = [built for name in CASES for built in build(name).tables]
    assert tables
    validate(tmp_path, listeners=[route_listener(f"{i}", t) for i, t in enumerate(tables)])
