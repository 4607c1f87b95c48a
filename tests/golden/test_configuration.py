"""Objects of any kind in, what they change for some proxies out; and a real Envoy accepts it all.

A case is ``configuration/<name>.yaml``. Its first document says who looks::

    proxies:
      client: {labels: {app: curl}}          # a sidecar, in namespace default
      edge: {type: router, namespace: istio-system, labels: {istio: ingressgateway}}
      near: {labels: {app: curl}, locality: region1/zone1}
      moved: {labels: {app: curl}, capture: [15101, 15106]}
      server: {labels: {app: reviews}, show: [CDS, LDS], like: ["inbound*", virtualInbound]}
    mesh: [Service]       # of ../mesh.yml only these kinds; all when left out, [] for none
    fails: true           # Envoy refuses it, and that is what the case is about
    refused: true         # the API refuses objects, which so are not there; only what it says is
    metrics: true         # loggers of standard metrics are shown; they stand in every listener
    mixer: true           # the mesh has a Mixer

``show`` limits what is shown of a proxy to these types, ``like`` to names that are like one of
these.

The other documents are the objects. ``<name>.changes.yaml`` is what must come out: for each proxy
the resources that it has because of these objects (whole), has otherwise than without them
(the difference), or has lost; and the problems of every object. The mesh behind all cases is
``../mesh.yml``.
"""

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import extension_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from google.protobuf.message import Message

from argosy.api.decode import decode_yaml
from argosy.api.located import LocatedProblem
from argosy.api.meta import Object
from argosy.api.validate import validate as validate_object
from argosy.base.names import Namespace
from argosy.base.problems import Problem, Severity
from argosy.model.proxy import ProxyType, Role
from argosy.model.proxy_traffic import CapturePorts
from argosy.model.workload import Locality
from argosy.pilot.graph.cells import HasMixer
from argosy.pilot.graph.problems import problems_of
from argosy.pilot.translate.stats_log import STATS_ACCESS_LOG
from argosy.testing.certificates import ScratchAuthority
from argosy.testing.difference import difference, plain
from argosy.testing.golden import Golden
from argosy.testing.graph import Graph
from argosy.testing.running_envoy import EnvoyError, validate, with_routes

FOLDER = Path(__file__).parent / "configuration"
SUFFIX = ".changes.yaml"
CASES = sorted(p.stem for p in FOLDER.glob("*.yaml") if not p.name.endswith(SUFFIX))
MESSAGES: dict[str, type[Message]] = {
    "CDS": cluster_pb2.Cluster,
    "EDS": endpoint_pb2.ClusterLoadAssignment,
    "LDS": listener_pb2.Listener,
    "RDS": route_pb2.RouteConfiguration,
    "SDS": secret_pb2.Secret,
    "ECDS": extension_pb2.TypedExtensionConfig,
}

Resources = dict[tuple[str, str], Message]
"""By type (CDS, EDS ...) and name."""


class Proxy(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    namespace: str = "default"
    labels: dict[str, str] = {}
    type: str = "sidecar"
    service_account: str = "default"
    ports: dict[str, int] = {}
    locality: str = ""
    capture: tuple[int, int] = (15001, 15006)
    show: tuple[str, ...] = tuple(MESSAGES)
    like: tuple[str, ...] = ("*",)

    @property
    def role(self) -> Role:
        return Role(
            ProxyType(self.type),
            Namespace(self.namespace),
            tuple(sorted(self.labels.items())),
            self.service_account,
            tuple(sorted(self.ports.items())),
            Locality(*self.locality.split("/")),
            capture=CapturePorts(*self.capture),
        )

    def shows(self, key: tuple[str, str]) -> bool:
        kind, name = key
        return kind in self.show and any(fnmatch.fnmatchcase(name, like) for like in self.like)


class Header(msgspec.Struct, forbid_unknown_fields=True):
    proxies: dict[str, Proxy]
    mesh: list[str] | None = None
    fails: bool = False
    refused: bool = False
    metrics: bool = False
    mixer: bool = False


@dataclass(frozen=True)
class Case:
    header: Header
    objects: tuple[Object, ...]
    decoding: tuple[LocatedProblem, ...]

    @property
    def admitted(self) -> tuple[Object, ...]:
        """What the API lets in; the rest changes nothing."""
        return tuple(one for one in self.objects if not errors(one))


def errors(one: Object) -> list[Problem]:
    return [p for p in validate_object(one) if p.severity is Severity.ERROR]


def decoded(text: str, file: str) -> tuple[Object, ...]:
    result = decode_yaml(text, file)
    assert not result.problems, result.problems
    return result.objects


@cache
def read(name: str) -> Case:
    header, _, rest = (FOLDER / f"{name}.yaml").read_text().partition("\n---\n")
    found = decode_yaml(rest, f"{name}.yaml")
    assert not found.errors, found.errors
    return Case(msgspec.convert(yaml.safe_load(header), Header), found.objects, found.problems)


@cache
def mesh_objects() -> tuple[Object, ...]:
    return decoded((FOLDER.parent / "mesh.yml").read_text(), "mesh.yml")


def graph(name: str, *, without: bool = False) -> Graph:
    """The mesh with the case's objects, or without them."""
    case = read(name)
    found = Graph()
    if case.header.mixer:
        found.engine.set({HasMixer(): True})
    kinds = case.header.mesh
    found.put(o for o in mesh_objects() if kinds is None or o.key.kind in kinds)
    if not without:
        found.put(case.admitted)
    return found


def resources(mesh: Graph, proxy: Proxy) -> Resources:
    return {
        (kind, name): MESSAGES[kind].FromString(encoded.body)
        for (kind, name), encoded in mesh.resources(proxy.role).items()
    }


@cache
def built(name: str) -> dict[str, Resources]:
    """What each proxy of the case gets."""
    mesh = graph(name)
    return {who: resources(mesh, proxy) for who, proxy in read(name).header.proxies.items()}


def rendered(name: str) -> str:
    case = read(name)
    before = graph(name, without=True)
    documents = []
    for who, after in built(name).items():
        proxy = case.header.proxies[who]
        shown = plain if case.header.metrics else without_metrics
        documents += changes(who, proxy, resources(before, proxy), after, shown)
    documents.append({"problems": problems(name)})
    return yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True, width=100)


def without_metrics(message: Message) -> Any:
    """As ``plain``, but for the loggers of standard metrics."""

    def walk(value: Any) -> Any:
        if isinstance(value, list):
            return [walk(item) for item in value]
        if not isinstance(value, dict):
            return value
        others = [log for log in value.get("access_log", ()) if log["name"] != STATS_ACCESS_LOG]
        return {
            key: others if key == "access_log" else walk(item)
            for key, item in value.items()
            if key != "access_log_options" and (key != "access_log" or others)
        }

    return walk(plain(message))


def changes(
    who: str, proxy: Proxy, old: Resources, new: Resources, shown: Callable[[Message], Any]
) -> list[dict[str, Any]]:
    found = []
    for key in sorted(new.keys() | old.keys()):
        if not proxy.shows(key) or old.get(key) == new.get(key):
            continue
        about = {"proxy": who, "type": key[0], "resource": key[1]}
        if key not in new:
            found.append({**about, "lost": True})
        elif key not in old:
            found.append({**about, "added": shown(new[key])})
        else:
            changed = difference(shown(old[key]), shown(new[key]))
            found.append({**about, "changed": changed})
    return found


def problems(name: str) -> list[str]:
    """As far as objects tell alone, then as far as the mesh tells."""
    case = read(name)
    mesh = graph(name)
    found: list[LocatedProblem | Problem] = list(case.decoding)
    for one in case.objects:
        found += validate_object(one)
        if not errors(one):
            found += mesh.engine.value(problems_of, one.key)
    lines = [f"{p.severity.value} {p.code}: {p.object} {p.field}: {p.message}" for p in found]
    return list(dict.fromkeys(lines))


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, golden: Golden) -> None:
    golden.check(FOLDER / f"{name}{SUFFIX}", rendered(name))


@pytest.mark.parametrize("name", CASES)
def test_cases_are_what_the_api_admits(name: str) -> None:
    case = read(name)
    found = [problem for one in case.objects for problem in errors(one)]
    assert bool(found) == case.header.refused, found


@pytest.mark.envoy
@pytest.mark.parametrize("name", CASES)
def test_envoy_accepts(name: str, tmp_path: Path) -> None:
    refusals = [refusal(tmp_path / who, new) for who, new in built(name).items()]
    assert any(refusals) == read(name).header.fails, refusals


@cache
def authority() -> ScratchAuthority:
    return ScratchAuthority()


def refusal(directory: Path, found: Resources) -> str:
    """Envoy's words on one proxy's resources; empty when it takes them.

    Cases may name the files certs/client.pem, certs/client.key, certs/ca.pem and certs/ca.crl.
    """
    (directory / "certs").mkdir(parents=True)
    credential = authority().credential("spiffe://cluster.local/ns/default/sa/client")
    (directory / "certs/client.pem").write_text(credential.certificate)
    (directory / "certs/client.key").write_text(credential.key)
    (directory / "certs/ca.pem").write_text(credential.roots)
    (directory / "certs/ca.crl").write_text(authority().revocations())
    tables = [message for (kind, _), message in found.items() if kind == "RDS"]
    listeners = [with_routes(m, tables) for (kind, _), m in found.items() if kind == "LDS"]
    clusters = [message for (kind, _), message in found.items() if kind == "CDS"]
    try:
        validate(directory, listeners=listeners, clusters=clusters)
    except EnvoyError as error:
        return str(error)
    return ""


def test_there_are_cases() -> None:
    assert CASES
