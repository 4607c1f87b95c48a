"""DestinationRules in, clusters and endpoints out; and a real Envoy accepts every cluster.

A case is ``destination_rules/<name>.yaml``: first a document that says which client and clusters
(``<service>.<namespace>:<port>``, perhaps ``:<subset>``), then the rules. The services and
workloads are those of ``../mesh.yml``. ``<name>.clusters.yaml`` is what must come out: of each cluster the
parts that differ from the same cluster without any rule (all of it with ``whole: true``), its endpoints
with ``endpoints: true``, and the problems.
"""

import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from envoy.config.cluster.v3 import cluster_pb2
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from argosy.api.core import Service as ApiService
from argosy.api.core_pod import Pod
from argosy.api.decode import decode_yaml
from argosy.api.meta import Object
from argosy.api.networking_destination_rule import DestinationRule
from argosy.api.security import PeerAuthentication
from argosy.api.validate import validate
from argosy.base.names import Hostname, Namespace
from argosy.base.problems import Problem, Severity
from argosy.model.authn import MtlsMode
from argosy.model.proxy import ProxyType, Scope
from argosy.model.service import Service
from argosy.model.traffic import Destination
from argosy.model.workload import Endpoint, Labels, Workload
from argosy.pilot.compile import authn, destinations, endpoints
from argosy.pilot.compile.localities import groups
from argosy.pilot.compile.mesh import DEFAULT_MESH
from argosy.pilot.compile.services import service
from argosy.pilot.compile.workloads import workload
from argosy.pilot.translate.cluster import cluster
from argosy.pilot.translate.endpoint import cluster_load_assignment
from argosy.testing.certificates import ScratchAuthority
from argosy.testing.golden import Golden
from argosy.testing.running_envoy import validate as validate_clusters

FOLDER = Path(__file__).parent / "destination_rules"
SUFFIX = ".clusters.yaml"
CASES = sorted(p.stem for p in FOLDER.glob("*.yaml") if not p.name.endswith(SUFFIX))
ROOT = Namespace("istio-system")


def decoded(text: str, file: str) -> tuple[Object, ...]:
    result = decode_yaml(text, file)
    assert not result.errors, result.errors
    return result.objects


@dataclass(frozen=True)
class Mesh:
    services: dict[Hostname, Service]
    workloads: tuple[Workload, ...]

    @classmethod
    def read(cls) -> "Mesh":
        objects = decoded((FOLDER.parent / "mesh.yml").read_text(), "mesh.yml")
        services = [service(o).value for o in objects if isinstance(o, ApiService)]
        workloads = [workload(o) for o in objects if isinstance(o, Pod)]
        return cls(
            {s.hostname: s for s in services if s is not None},
            tuple(w for w in workloads if w is not None),
        )

    def has_workloads(self, found: Service, labels: Labels) -> bool:
        wanted = found.selector + labels
        return any(
            w.namespace == found.namespace and endpoints.selects(wanted, w.labels)
            for w in self.workloads
        )


MESH = Mesh.read()


@dataclass(frozen=True)
class Case:
    header: dict[str, Any]
    rules: tuple[DestinationRule, ...]
    demands: tuple[PeerAuthentication, ...]

    @property
    def scope(self) -> Scope:
        client = self.header.get("client", {})
        labels = set(client.get("labels", {}).items())
        selectors = {destinations.client_selector(rule) for rule in self.rules} - {None}
        return Scope(
            ProxyType(client.get("type", "sidecar")),
            Namespace(client.get("namespace", "default")),
            tuple(sorted(s for s in selectors if s is not None and set(s) <= labels)),
        )

    def mtls(self, of: Workload, port: int) -> MtlsMode:
        own = [p for p in self.demands if p.metadata.namespace == of.namespace]
        root = [p for p in self.demands if p.metadata.namespace == ROOT]
        return authn.demands(root, own, of.namespace, of.labels).mode(port)

    def without_rules(self) -> "Case":
        return Case(self.header, (), self.demands)


def read(name: str) -> Case:
    header, _, rest = (FOLDER / f"{name}.yaml").read_text().partition("\n---\n")
    objects = decoded(rest, name) if rest else ()
    return Case(
        yaml.safe_load(header),
        tuple(o for o in objects if isinstance(o, DestinationRule)),
        tuple(o for o in objects if isinstance(o, PeerAuthentication)),
    )


def compiled(case: Case) -> tuple[tuple[Destination, ...], tuple[Problem, ...]]:
    results = [destinations.destination(rule) for rule in case.rules]
    values = tuple(result.value for result in results)
    problems = [problem for result in results for problem in result.problems]
    for value in values:
        problems += destinations.check(value, MESH.services.get, MESH.has_workloads)
    return values, tuple(problems)


@cache
def built(name: str) -> tuple[cluster_pb2.Cluster, ...]:
    return tuple(proto for proto, _ in clusters(read(name)))


def clusters(case: Case) -> Iterable[tuple[cluster_pb2.Cluster, tuple[Endpoint, ...]]]:
    values, _ = compiled(case)
    indexes = {
        namespace: destinations.index(v for v in values if v.rule.namespace == namespace).value
        for namespace in ("default", "data", "other", ROOT)
    }
    for wanted in case.header["clusters"]:
        host, number, subset = (*wanted.split(":"), "")[:3]
        found = MESH.services[Hostname(f"{host}.svc.cluster.local")]
        port = found.get_port(int(number))
        assert port is not None
        chosen = destinations.select(
            found.hostname, found.namespace, case.scope, ROOT, lambda n: indexes[n]
        )
        candidates = endpoints.endpoints(
            found, port, MESH.workloads, case.mtls, DEFAULT_MESH.traffic.trust_domain
        )
        labels: Labels = ()
        if chosen is not None and subset:
            known = chosen.get_subset(subset)
            labels = known.labels if known else (("no", "such"),)
        target = destinations.Target(found, port, subset, case.scope.type)
        value = destinations.cluster(
            target, chosen, endpoints.summary(candidates, labels), DEFAULT_MESH.traffic
        )
        yield cluster(value), endpoints.serving(candidates, labels)


def plain(message: Message) -> dict[str, Any]:
    """Envoy's own names; every map as a plain dictionary."""
    text = json.dumps(MessageToDict(message, preserving_proto_field_name=True))
    value: dict[str, Any] = json.loads(text)
    return value


def rendered(name: str) -> str:
    case = read(name)
    documents: list[dict[str, Any]] = []
    originals = clusters(case.without_rules())
    for (proto, serving), (original, _) in zip(clusters(case), originals, strict=True):
        document, base = plain(proto), plain(original)
        if not case.header.get("whole"):
            changed = {k: v for k, v in document.items() if v != base.get(k) and "name" not in k}
            gone = sorted(base.keys() - document.keys())
            document = {"name": proto.name, **changed, **({"gone": gone} if gone else {})}
        documents.append(document)
        if case.header.get("endpoints"):
            documents.append(plain(cluster_load_assignment(proto.name, groups(serving))))
    values, problems = compiled(case)
    by_namespace = itertools.groupby(
        sorted(values, key=lambda v: v.rule), lambda v: v.rule.namespace
    )
    for _, group in by_namespace:
        problems += destinations.index(group).problems
    documents.append({"problems": [_problem(problem) for problem in problems]})
    return yaml.safe_dump_all(documents, sort_keys=True, allow_unicode=True, width=100)


def _problem(problem: Problem) -> str:
    where = f"{problem.object} {problem.field}".strip()
    return f"{problem.severity.value} {problem.code}: {where}: {problem.message}"


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, golden: Golden) -> None:
    golden.check(FOLDER / f"{name}{SUFFIX}", rendered(name))


@pytest.mark.parametrize("name", CASES)
def test_cases_are_what_the_api_admits(name: str) -> None:
    case = read(name)
    problems = [problem for rule in (*case.rules, *case.demands) for problem in validate(rule)]
    assert [p for p in problems if p.severity is Severity.ERROR] == []


@pytest.mark.envoy
def test_envoy_accepts_every_cluster(tmp_path: Path) -> None:
    protos = []
    for index, proto in enumerate(p for name in CASES for p in built(name)):
        renamed = cluster_pb2.Cluster()
        renamed.CopyFrom(proto)
        renamed.name = f"{index}|{proto.name}"
        protos.append(renamed)
    assert len(protos) > len(CASES)
    credential = ScratchAuthority().credential("spiffe://cluster.local/ns/default/sa/client")
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs/client.pem").write_text(credential.certificate)
    (tmp_path / "certs/client.key").write_text(credential.key)
    (tmp_path / "certs/ca.pem").write_text(credential.roots)
    validate_clusters(tmp_path, clusters=protos)
