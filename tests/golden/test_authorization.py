"""AuthorizationPolicies in, filters of requests and connections out; and a real Envoy accepts them.

A case is ``authorization/<name>.yaml``: first a document that says whose policies, then the objects.
``<name>.filters.yaml`` is what must come out, with the problems at its end.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from google.protobuf.message import Message

from argosy.api.decode import decode_yaml
from argosy.api.validate import validate as mistakes
from argosy.base.names import Namespace
from argosy.base.problems import Problem
from argosy.model.proxy import ProxyType, Role
from argosy.model.workload import sorted_labels
from argosy.testing.golden import Golden, envoy_yaml
from argosy.testing.graph import Graph
from argosy.testing.running_envoy import static_cluster, validate

FOLDER = Path(__file__).parent / "authorization"
SUFFIX = ".filters.yaml"
CASES = sorted(p.stem for p in FOLDER.glob("*.yaml") if not p.name.endswith(SUFFIX))
KINDS = ("rbac", "ext_authz")


@dataclass(frozen=True)
class Case:
    namespace: str
    labels: dict[str, str]


@dataclass(frozen=True)
class Built:
    listener: listener_pb2.Listener
    filters: tuple[Message, ...]
    problems: tuple[Problem, ...]


@cache
def build(name: str) -> Built:
    first, _, rest = (FOLDER / f"{name}.yaml").read_text().partition("\n---\n")
    case = msgspec.convert(yaml.safe_load(first), Case)
    graph = Graph(rest)
    role = Role(ProxyType.SIDECAR, Namespace(case.namespace), sorted_labels(case.labels), "default")
    body = graph.resources(role)["LDS", "virtualInbound"].body
    listener = listener_pb2.Listener.FromString(body)
    problems = []
    for one in decode_yaml(rest, f"{name}.yaml").objects:
        problems += [*mistakes(one), *graph.problems(*one.key)]
    return Built(listener, tuple(filters(listener)), tuple(problems))


def filters(listener: listener_pb2.Listener) -> list[Message]:
    """Those of the first chain of requests, then those of the first of opaque bytes."""
    http: list[Message] = []
    opaque: list[Message] = []
    for chain in listener.filter_chains:
        manager = http_connection_manager_pb2.HttpConnectionManager()
        if chain.filters[-1].typed_config.Unpack(manager):
            http = http or [f for f in manager.http_filters if f.name.endswith(KINDS)]
        else:
            opaque = opaque or [f for f in chain.filters if f.name.endswith(KINDS)]
    return [*http, *opaque]


def _in_order(data: Any) -> Any:
    """The maps of policies by name: as protocol buffers they have no order of their own."""
    if isinstance(data, list):
        return [_in_order(item) for item in data]
    if not isinstance(data, dict):
        return data
    found = {key: _in_order(value) for key, value in data.items()}
    if "policies" in found:
        found["policies"] = dict(sorted(found["policies"].items()))
    return found


@pytest.mark.parametrize("name", CASES)
def test_filters(name: str, golden: Golden) -> None:
    built = build(name)
    assert built.filters
    lines = [
        f"{p.severity.value} {p.object} {p.field}: {p.code}: {p.message}" for p in built.problems
    ]
    documents = [_in_order(one) for one in yaml.safe_load_all(envoy_yaml(*built.filters))]
    text = yaml.safe_dump_all(documents, sort_keys=False, width=100)
    golden.check(FOLDER / f"{name}{SUFFIX}", text + "".join(f"# {line}\n" for line in lines))


@pytest.mark.parametrize("name", CASES)
def test_all_chains_have_the_same_filters(name: str) -> None:
    """No way into the workload is without them, but for the chain that leads nowhere."""
    listener = build(name).listener
    kinds: dict[str, set[tuple[str, ...]]] = {"http": set(), "opaque": set()}
    for chain in listener.filter_chains:
        if chain.name == "virtualInbound-blackhole":
            continue
        manager = http_connection_manager_pb2.HttpConnectionManager()
        is_http = chain.filters[-1].typed_config.Unpack(manager)
        found = manager.http_filters if is_http else chain.filters
        texts = tuple(f.SerializeToString().hex() for f in found if f.name.endswith(KINDS))
        assert texts, chain.name
        kinds["http" if is_http else "opaque"].add(texts)
    assert all(len(of_kind) == 1 for of_kind in kinds.values())


@pytest.mark.envoy
@pytest.mark.parametrize("name", CASES)
def test_envoy_takes_them(name: str, tmp_path: Path) -> None:
    listener = build(name).listener
    host = "ext-authz.prod.svc.cluster.local"
    clusters = ["InboundPassthroughCluster", "BlackHoleCluster"]
    clusters += [f"outbound|8000||{host}", f"outbound|9000||{host}"]
    validate(tmp_path, listeners=[listener], clusters=[static_cluster(c, 1) for c in clusters])
