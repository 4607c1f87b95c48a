"""What a real Envoy does with limits: who is counted with whom, and what refused clients see."""

import asyncio
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import pytest
from envoy.extensions.filters.http.set_metadata.v3 import set_metadata_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2

from argosy.api.argosy_rate_limit import RateLimit
from argosy.api.shared_limits import CountedLimit, LimitsDocument
from argosy.api.validate import validate
from argosy.base.names import Hostname
from argosy.mixer.limits import ratelimit
from argosy.mixer.limits.counters import MemoryCounters
from argosy.mixer.limits.judge import LimitJudge
from argosy.model.authn import MtlsMode
from argosy.model.listener import InboundListener, InboundPort, ListenerSettings, UnknownPort
from argosy.model.mixer import MIXER_CLUSTER
from argosy.model.rate_limit import Limit
from argosy.model.service import Protocol
from argosy.pilot.compile.rate_limits import limit_policy
from argosy.pilot.translate import names
from argosy.pilot.translate.inbound_listener import virtual_inbound
from argosy.testing.certificates import ScratchAuthority
from argosy.testing.echo_application import echo_application
from argosy.testing.graph import objects
from argosy.testing.running_envoy import free_port, on_loopback, running, static_cluster

pytestmark = pytest.mark.envoy

SERVER = "spiffe://cluster.local/ns/default/sa/reviews"
CALLER = ("default", "reviews")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: str


@dataclass
class World:
    """An Envoy before an application; ``alice`` and ``bob`` are clients with certificates."""

    port: int
    directory: Path
    authority: ScratchAuthority

    def get(
        self, path: str = "/", identity: str = "", method: str = "GET", **headers: str
    ) -> Answer:
        lines = [f"{method} {path} HTTP/1.1"]
        written = {"host": "reviews", "connection": "close"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        lines += [f"{name}: {value}" for name, value in written.items()]
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as raw:
            connection = self._tls(identity).wrap_socket(raw) if identity else raw
            connection.sendall("\r\n".join((*lines, "", "")).encode())
            answer = b""
            while data := connection.recv(65536):
                answer += data
        head, _, body = answer.decode().partition("\r\n\r\n")
        first, *rest = head.split("\r\n")
        found = dict(line.split(": ", 1) for line in rest)
        return Answer(int(first.split()[1]), found, body)

    def statuses(self, count: int, **how: str) -> list[int]:
        return [self.get(**how).status for _ in range(count)]

    def _tls(self, identity: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["istio-http/1.1", "istio", "http/1.1"])
        file = self.directory / f"{identity.replace('/', '_')}.pem"
        if not file.exists():
            made = self.authority.credential(f"spiffe://cluster.local/ns/{identity}")
            file.write_text(made.certificate + made.key)
        context.load_cert_chain(file)
        return context


def limits(rules: str, response: str = "{}") -> tuple[Limit, ...]:
    """Of a RateLimit with these ``rules``, YAML of one list."""
    (written,) = objects(f"""
apiVersion: argosy.dev/v1alpha1
kind: RateLimit
metadata: {{name: reviews, namespace: default}}
spec:
  response: {response}
  rules: {rules}
""")
    assert isinstance(written, RateLimit)
    assert validate(written) == ()
    return limit_policy(written).limits


class Mixer:
    """The real judge behind a real gRPC server, without TLS."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.judge = LimitJudge(MemoryCounters(time.monotonic), lambda: CALLER, time.monotonic)

    def learn(self, found: tuple[Limit, ...]) -> None:
        self.judge.learn(
            LimitsDocument(
                limits=tuple(
                    CountedLimit(
                        id=one.id,
                        requests=one.rate.requests,
                        period=int(one.rate.period.total_seconds()),
                        burst=one.rate.burst,
                        keys=tuple(key.name for key in one.keys),
                        dry_run=one.dry_run,
                        quota_headers=one.quota_headers,
                        body=one.refusal.body,
                        content_type=one.refusal.content_type,
                        proxies=(CALLER,),
                    )
                    for one in found
                    if one.shared
                )
            )
        )

    @contextmanager
    def serving(self) -> Iterator[None]:
        loop = asyncio.new_event_loop()
        stop = asyncio.Event()
        begun = threading.Event()

        async def serve() -> None:
            server = grpc.aio.server()
            handler = ratelimit.handler(self.judge.should_rate_limit)
            server.add_generic_rpc_handlers((handler,))
            server.add_insecure_port(f"127.0.0.1:{self.port}")
            await server.start()
            begun.set()
            await stop.wait()
            await server.stop(None)

        thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
        thread.start()
        assert begun.wait(10)
        try:
            yield
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()
            loop.close()


@pytest.fixture(scope="module")
def application() -> Iterator[int]:
    with echo_application() as port:
        yield port


@pytest.fixture
def mixer() -> Mixer:
    return Mixer(free_port())


@contextmanager
def world(
    tmp_path: Path,
    application: int,
    found: tuple[Limit, ...],
    mixer_port: int = 1,
    token: dict[str, object] | None = None,
) -> Iterator[World]:
    authority = ScratchAuthority()
    port = free_port()
    answers = InboundPort(port, port, Hostname("reviews"), Protocol.HTTP, MtlsMode.PERMISSIVE)
    inbound = InboundListener((answers,), (UnknownPort(None, MtlsMode.STRICT),))
    settings = replace(ListenerSettings(), limits=found)
    listener = on_loopback(virtual_inbound(inbound, settings), port)
    if token is not None:
        for chain in listener.filter_chains:
            for one in chain.filters:
                manager = http_connection_manager_pb2.HttpConnectionManager()
                if one.typed_config.Unpack(manager):
                    said = set_metadata_pb2.Config()
                    entry = said.metadata.add(metadata_namespace="envoy.filters.http.jwt_authn")
                    entry.value.update({"payload": token})
                    first = http_connection_manager_pb2.HttpFilter(name="test.token")
                    first.typed_config.Pack(said)
                    filters = [first, *manager.http_filters]
                    del manager.http_filters[:]
                    manager.http_filters.extend(filters)
                    one.typed_config.Pack(manager)
    clusters = [
        static_cluster(names.inbound_cluster(port), application),
        static_cluster(names.INBOUND_PASSTHROUGH_CLUSTER, application),
        static_cluster(names.BLACK_HOLE_CLUSTER, 1),
        static_cluster(MIXER_CLUSTER, mixer_port, http2=True),
    ]
    credential = authority.credential(SERVER)
    with running(tmp_path, credential, listeners=[listener], clusters=clusters):
        yield World(port, tmp_path, authority)


SCOPES = pytest.mark.parametrize("scope", ["PER_REPLICA", "SHARED"])


@pytest.mark.covers(
    "RateLimit.rules[].name",
    "RateLimit.rules[].scope",
    "RateLimit.rules[].keys[]",
    "RateLimit.rules[].limit.requests",
    "RateLimit.rules[].limit.unit",
)
@SCOPES
def test_requests_are_told_apart_by_keys(
    tmp_path: Path, application: int, mixer: Mixer, scope: str
) -> None:
    def rule(name: str, path: str, *keys: str) -> str:
        return (
            f"{{name: {name}, scope: {scope}, match: {{paths: [{path}]}}, "
            f"keys: [{', '.join(keys)}], limit: {{requests: 2, unit: HOUR}}}}"
        )

    rules = (
        rule("namespace", "/namespace", "{source: NAMESPACE}"),
        rule("account", "/account", "{source: SERVICE_ACCOUNT}"),
        rule("principal", "/principal", "{source: PRINCIPAL}"),
        rule("header", "/header", "{header: X-Key}"),
        rule("quote", "/quote", '{header: "x\'y"}'),
        rule("claim", "/claim", "{claim: user.plan}"),
        rule("path", "'/path*'", "{request: PATH}", "{request: METHOD}"),
        rule("address", "/address", "{source: ADDRESS}", "{request: HOST}"),
    )
    found = limits(f"[{', '.join(rules)}]")
    mixer.learn(found)
    token: dict[str, object] = {"user": {"plan": "free"}, "n": 5}
    with mixer.serving(), world(tmp_path, application, found, mixer.port, token) as w:
        alice, bob, ghost = "shop/sa/alice", "shop/sa/bob", "away/sa/alice"
        refused = [200, 200, 429]
        assert w.statuses(3, path="/namespace", identity=alice) == refused
        assert w.statuses(1, path="/namespace", identity=bob) == [429]
        assert w.statuses(3, path="/namespace", identity=ghost) == refused
        assert w.statuses(3, path="/account", identity=alice) == refused
        assert w.statuses(3, path="/account", identity=bob) == refused
        assert w.statuses(3, path="/account", identity=ghost) == refused
        assert w.statuses(3, path="/principal", identity=alice) == refused
        assert w.statuses(3, path="/principal") == refused, "callers without one count together"
        # Nobody gets a bucket of another by a header that says who he is.
        assert w.statuses(1, path="/principal", x_argosy_peer="spiffe://a/ns/b/sa/c") == [429]
        assert w.statuses(3, path="/header", x_key="a") == refused
        assert w.statuses(3, path="/header", x_key="b") == refused
        assert w.statuses(3, path="/quote", **{"x'y": "a"}) == refused
        assert w.statuses(1, path="/quote", **{"x'y": "b"}) == [200]
        assert w.statuses(3, path="/header") == refused, "requests without it count together"
        assert w.statuses(3, path="/header", x_key="c" * 300) == refused
        assert w.statuses(1, path="/header", x_key="d" * 300) == [429], "too long: together"
        assert w.statuses(3, path="/claim") == refused
        assert w.statuses(3, path="/path/a?x=1") == refused
        assert w.statuses(1, path="/path/a?x=2") == [429], "the query is no part of the path"
        assert w.statuses(3, path="/path/b") == refused
        assert w.statuses(1, path="/path/b", method="POST") == [200]
        assert w.statuses(3, path="/address") == refused
        assert w.statuses(1, path="/address", host="other") == [200]
        assert w.statuses(4, path="/unlimited") == [200] * 4
        seen = w.get("/unlimited", alice)
        assert "x-argosy-peer" not in seen.body


@pytest.mark.covers(
    "RateLimit.rules[].match.hosts",
    "RateLimit.rules[].match.notHosts",
    "RateLimit.rules[].match.paths",
    "RateLimit.rules[].match.notPaths",
    "RateLimit.rules[].match.methods",
    "RateLimit.rules[].match.notMethods",
    "RateLimit.rules[].match.headers",
    "RateLimit.rules[].match.notHeaders",
)
@SCOPES
def test_matches(tmp_path: Path, application: int, mixer: Mixer, scope: str) -> None:
    number = itertools.count()

    def rule(match: str) -> str:
        return (
            f"{{name: r{next(number)}, scope: {scope}, match: {match}, "
            "limit: {requests: 1, unit: HOUR}}"
        )

    rules = (
        rule("{paths: [/one, '/two/*', '*.jpg'], methods: [GET, 'P*']}"),
        rule("{paths: ['/t/{*}/end/{**}'], notPaths: ['/t/free/end/{**}']}"),
        rule("{hosts: [a.example.com, '*.b.com'], notHosts: [vip.b.com]}"),
        rule("{paths: [/plan], headers: {x-plan: [free, 'trial*']}, notHeaders: {x-vip: ['*']}}"),
        rule("{paths: ['/m*'], notMethods: [GET, HEAD]}"),
    )
    found = limits(f"[{', '.join(rules)}]")
    mixer.learn(found)
    with mixer.serving(), world(tmp_path, application, found, mixer.port) as w:
        assert w.statuses(2, path="/one") == [200, 429]
        assert w.statuses(1, path="/one?q=1") == [429]
        assert w.statuses(1, path="/two/x") == [429], "one bucket for all that matches"
        assert w.statuses(1, path="/a/b.jpg") == [429]
        assert w.statuses(1, path="/x?y=.jpg") == [200]
        assert w.statuses(1, path="/one", method="PUT") == [429]
        assert w.statuses(1, path="/one", method="OPTIONS") == [200]
        assert w.statuses(1, path="/one/more") == [200]
        assert w.statuses(2, path="/t/a/end/x") == [200, 429]
        assert w.statuses(1, path="/t/free/end/x") == [200]
        assert w.statuses(1, path="/t/a/end/x?z=/t/free/end/") == [429]
        assert w.statuses(1, path="/t/a/b/end/x") == [200]
        assert w.statuses(2, host="a.example.com:80") == [200, 429]
        assert w.statuses(1, host="A.example.com.") == [429]
        assert w.statuses(1, host="x.b.com") == [429]
        assert w.statuses(1, host="vip.b.com") == [200]
        assert w.statuses(2, path="/plan", x_plan="free") == [200, 429]
        assert w.statuses(1, path="/plan", x_plan="trial-2") == [429]
        assert w.statuses(1, path="/plan", x_plan="free", x_vip="1") == [200]
        assert w.statuses(1, path="/plan", x_plan="paid") == [200]
        assert w.statuses(2, path="/m", method="POST") == [200, 429]
        assert w.statuses(2, path="/m") == [200, 200]


@pytest.mark.covers("RateLimit.response")
def test_answers_of_the_proxys_own(tmp_path: Path, application: int) -> None:
    rules = "[{name: all, limit: {requests: 1, unit: HOUR}}]"
    response = '{body: \'{"slow": "100%"}\', contentType: application/json, quotaHeaders: true}'
    with world(tmp_path, application, limits(rules, response)) as w:
        first, second = w.get(), w.get()
    assert (first.status, second.status) == (200, 429)
    assert second.body == '{"slow": "100%"}'
    assert second.headers["content-type"] == "application/json"
    assert second.headers["ratelimit-policy"] == '"default.reviews.all";q=1;w=3600'
    assert first.headers["x-ratelimit-limit"].startswith("1")
    assert (first.headers["x-ratelimit-remaining"], second.headers["x-ratelimit-remaining"]) == (
        "0",
        "0",
    )


@pytest.mark.covers("RateLimit.response", "RateLimit.rules[].limit.burst")
def test_answers_of_mixer(tmp_path: Path, application: int, mixer: Mixer) -> None:
    rules = "[{name: all, scope: SHARED, limit: {requests: 60, unit: HOUR, burst: 1}}]"
    response = '{body: \'{"slow": "100%"}\', contentType: application/json, quotaHeaders: true}'
    found = limits(rules, response)
    mixer.learn(found)
    with mixer.serving(), world(tmp_path, application, found, mixer.port) as w:
        first, second = w.get(), w.get()
    assert (first.status, second.status) == (200, 429)
    assert second.body == '{"slow": "100%"}'
    assert second.headers["content-type"] == "application/json"
    assert second.headers["ratelimit-policy"] == '"default.reviews.all";q=60;w=3600'
    assert second.headers["ratelimit"].startswith('"default.reviews.all";r=0;t=6')
    assert 55 <= int(second.headers["retry-after"]) <= 60
    assert first.headers["x-ratelimit-remaining"] == "0"
    assert first.headers["x-ratelimit-limit"].startswith("60")
    assert "retry-after" not in first.headers


@pytest.mark.covers("RateLimit.rules[].dryRun")
@SCOPES
def test_a_dry_run_counts_and_refuses_nothing(
    tmp_path: Path, application: int, mixer: Mixer, scope: str
) -> None:
    rules = f"[{{name: all, scope: {scope}, dryRun: true, limit: {{requests: 1, unit: HOUR}}}}]"
    found = limits(rules, "{body: slow, quotaHeaders: true}")
    mixer.learn(found)
    with mixer.serving(), world(tmp_path, application, found, mixer.port) as w:
        answers = [w.get() for _ in range(3)]
    assert [one.status for one in answers] == [200] * 3
    if scope == "SHARED":
        ((used,),) = mixer.judge.usage.of(mixer.judge.limits, time.monotonic()).values()
        assert (used.seen.allowed, used.seen.refused, used.state) == (1, 2, "OVER")


@pytest.mark.covers("RateLimit.rules[].onFailure")
@pytest.mark.parametrize(("on_failure", "status"), [("ALLOW", 200), ("DENY", 500)])
def test_what_holds_while_nobody_counts(
    tmp_path: Path, application: int, mixer: Mixer, on_failure: str, status: int
) -> None:
    rules = f"[{{name: all, scope: SHARED, onFailure: {on_failure}, limit: {{requests: 1, unit: HOUR}}}}]"
    found = limits(rules)
    mixer.learn(found)
    with world(tmp_path, application, found, mixer.port) as w:
        assert w.statuses(2) == [status] * 2
        with mixer.serving():
            deadline = time.monotonic() + 10
            while w.get().status != 429 and time.monotonic() < deadline:
                time.sleep(0.05)
            assert w.statuses(2) == [429] * 2
        assert w.statuses(2) == [status] * 2
