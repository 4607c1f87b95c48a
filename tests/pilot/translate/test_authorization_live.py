"""What Envoy says of calls is what our own reading of the same policies says, whatever both are."""

import contextlib
import itertools
import json
import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.http.set_metadata.v3 import set_metadata_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.pilot.translate.random_policies import TOKEN, TRUST_DOMAINS, Call, calls, policies

from argosy.api.encode import encode
from argosy.api.security_authorization_policy import (
    AuthorizationPolicy,
    AuthorizationPolicySpec,
    From,
    Operation,
    Rule,
    Source,
    To,
)
from argosy.base.names import Hostname
from argosy.model.authn import MtlsMode
from argosy.model.authz import Authorization
from argosy.model.listener import (
    InboundListener,
    InboundPort,
    ListenerSettings,
    PathNormalization,
    UnknownPort,
)
from argosy.model.service import Protocol
from argosy.pilot.compile import authorization, authz
from argosy.pilot.compile.verdict import Connection, Request, verdict
from argosy.pilot.translate import names
from argosy.pilot.translate.inbound_listener import virtual_inbound
from argosy.testing.certificates import ScratchAuthority
from argosy.testing.echo_application import echo_application
from argosy.testing.raw_http import Http1, Http2
from argosy.testing.running_envoy import on_loopback, running, static_cluster

pytestmark = pytest.mark.envoy

USUAL = ListenerSettings(trust_domains=TRUST_DOMAINS)
SERVER = "spiffe://cluster.local/ns/default/sa/reviews"
METADATA = {"list": ["x", "z"]}
"""Of the filter ``envoy.filters.test``, and a token for every second listener."""


@pytest.fixture(scope="module")
def authority() -> ScratchAuthority:
    return ScratchAuthority()


@pytest.fixture(scope="module")
def application() -> Iterator[int]:
    with echo_application() as port:
        yield port


_numbers = itertools.cycle(range(20_000 + os.getpid() % 5_000, 32_000))


def quiet_port() -> int:
    """A free port of those that the kernel gives to no client, of which there are many here."""
    for port in _numbers:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("there is always a next one")


def compiled(
    written: list[AuthorizationPolicy], domains: tuple[str, ...] = TRUST_DOMAINS
) -> Authorization:
    return authorization.authorization(
        [authz.policy(one, domains) for one in written], lambda _name: None
    )


def listener(
    found: Authorization,
    port: int,
    protocol: Protocol,
    *,
    token: bool = False,
    usual: ListenerSettings = USUAL,
) -> listener_pb2.Listener:
    """A workload's inbound listener with a socket at ``port``, which is the port dialled too."""
    answers = InboundPort(port, port, Hostname("reviews"), protocol, MtlsMode.PERMISSIVE)
    inbound = InboundListener((answers,), (UnknownPort(None, MtlsMode.STRICT),))
    proto = on_loopback(virtual_inbound(inbound, replace(usual, authorization=found)), port)
    proto.name = f"inbound-{port}"
    for chain in proto.filter_chains:
        for one in chain.filters:
            manager = http_connection_manager_pb2.HttpConnectionManager()
            if one.typed_config.Unpack(manager):
                facts: dict[str, Mapping[str, object]] = {"envoy.filters.test": METADATA}
                if token:
                    facts["envoy.filters.http.jwt_authn"] = {"payload": TOKEN}
                _say(manager, facts)
                one.typed_config.Pack(manager)
    return proto


def _say(
    manager: http_connection_manager_pb2.HttpConnectionManager,
    facts: Mapping[str, Mapping[str, object]],
) -> None:
    """What filters before authorization would have found out."""
    config = set_metadata_pb2.Config()
    for namespace, value in facts.items():
        config.metadata.add(metadata_namespace=namespace).value.update(value)
    found = http_connection_manager_pb2.HttpFilter(name="envoy.filters.http.set_metadata")
    found.typed_config.Pack(config)
    rest = list(manager.http_filters)
    del manager.http_filters[:]
    manager.http_filters.extend([found, *rest])


@contextmanager
def serving(
    directory: Path, authority: ScratchAuthority, application: int, *protos: listener_pb2.Listener
) -> Iterator[None]:
    ports = [proto.address.socket_address.port_value for proto in protos]
    clusters = [static_cluster(names.inbound_cluster(port), application) for port in ports]
    clusters.append(static_cluster(names.INBOUND_PASSTHROUGH_CLUSTER, application))
    clusters.append(static_cluster(names.BLACK_HOLE_CLUSTER, 1))
    credential = authority.credential(SERVER)
    with running(directory, credential, listeners=protos, clusters=clusters):
        yield


class Clients:
    """Connections to a port of 127.0.0.1 as somebody, from an address."""

    def __init__(self, authority: ScratchAuthority, directory: Path) -> None:
        self._authority = authority
        self._directory = directory
        self._files: dict[str, Path] = {}

    def connect(self, port: int, call: Call, *, opaque: bool = False) -> socket.socket:
        raw = socket.create_connection(
            ("127.0.0.1", port), timeout=10, source_address=(call.address, 0)
        )
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not call.identity:
            return raw
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        inner = "istio-h2" if call.http2 else "istio-http/1.1"
        standard = "h2" if call.http2 else "http/1.1"
        context.set_alpn_protocols(["istio"] if opaque else [inner, "istio", standard])
        context.load_cert_chain(self._pem(call.identity))
        return context.wrap_socket(raw, server_hostname=call.server_name or None)

    def _pem(self, identity: str) -> Path:
        if identity not in self._files:
            credential = self._authority.credential(identity)
            path = self._directory / f"client-{len(self._files)}.pem"
            path.write_text(credential.certificate + credential.key)
            self._files[identity] = path
        return self._files[identity]


def expected(
    found: Authorization, call: Call, port: int, *, token: bool, opaque: bool = False
) -> bool:
    forwarded = [value for name, value in call.headers if name == "x-forwarded-for"]
    connection = Connection(
        identity=call.identity,
        address=call.address,
        remote_address=forwarded[-1] if forwarded and not opaque else call.address,
        port=port,
        server_name=call.server_name,
        metadata={} if opaque else {"envoy.filters.test": METADATA},
    )
    request = Request(call.method, call.host, call.path, call.headers, TOKEN if token else None)
    return verdict(found, connection, None if opaque else request).allowed


def answered(http: Http1 | Http2, call: Call) -> bool:
    """Whether the application answered. Raises AssertionError if it was neither it nor RBAC."""
    body = (("content-length", "0"),) if call.method != "GET" else ()
    if isinstance(http, Http2):
        answer = http.request(call.method, call.path, call.host, (*call.headers, *body))
    else:
        headers = (("host", call.host), *call.headers, *body)
        answer = http.request(call.method, call.path, headers)
    assert answer.status in (200, 403), (answer, call)
    return answer.status == 200


def shown(written: list[AuthorizationPolicy]) -> str:
    return "\n".join(json.dumps(encode(one)) for one in written)


GROUPS, LISTENERS = 4, 8
"""Connections to each listener, of eight requests; listeners of each Envoy."""


@st.composite
def batches(draw: st.DrawFn) -> list[tuple[list[AuthorizationPolicy], list[list[Call]]]]:
    return [
        (
            [draw(policies(number)) for number in range(draw(st.integers(1, 3)))],
            draw(st.lists(calls(), min_size=GROUPS, max_size=GROUPS)),
        )
        for _ in range(LISTENERS)
    ]


EVERYTHING_IS_SLOW_HERE = list(HealthCheck)


@settings(
    max_examples=8,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=EVERYTHING_IS_SLOW_HERE,
)
@given(batch=batches())
def test_envoys_verdict_is_ours(
    batch: list[tuple[list[AuthorizationPolicy], list[list[Call]]]],
    authority: ScratchAuthority,
    application: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """8 Envoys of 8 policy sets, 32 requests each: 2,048 pairs. Half of them by HTTP/2."""
    directory = tmp_path_factory.mktemp("envoy")
    clients = Clients(authority, directory)
    sets = [(compiled(written), quiet_port(), i % 2 == 0) for i, (written, _) in enumerate(batch)]
    protos = [listener(found, port, Protocol.HTTP, token=token) for found, port, token in sets]
    with serving(directory, authority, application, *protos):
        for (written, groups), (found, port, token) in zip(batch, sets, strict=True):
            for group in groups:
                client = Http2 if group[0].http2 else Http1
                with client(clients.connect(port, group[0])) as http:
                    for call in group:
                        ours = expected(found, call, port, token=token)
                        envoys = answered(http, call)
                        assert envoys is ours, f"{call}\n{json.dumps(token)}\n{shown(written)}"


def opaque_answered(clients: Clients, port: int, call: Call) -> bool:
    try:
        with clients.connect(port, call, opaque=True) as connection:
            connection.sendall(b"hello\n")
            return connection.recv(100) == b"opaque:hello\n"
    except OSError:
        return False


@settings(
    max_examples=4,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=EVERYTHING_IS_SLOW_HERE,
)
@given(batch=batches())
def test_envoys_verdict_on_opaque_connections_is_ours(
    batch: list[tuple[list[AuthorizationPolicy], list[list[Call]]]],
    authority: ScratchAuthority,
    application: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """4 Envoys of 8 policy sets, 4 connections each: 128 pairs."""
    directory = tmp_path_factory.mktemp("envoy")
    clients = Clients(authority, directory)
    sets = [(compiled(written), quiet_port()) for written, _ in batch]
    protos = [listener(found, port, Protocol.TCP, token=False) for found, port in sets]
    with serving(directory, authority, application, *protos):
        for (written, groups), (found, port) in zip(batch, sets, strict=True):
            for call in (group[0] for group in groups):
                ours = expected(found, call, port, token=False, opaque=True)
                envoys = opaque_answered(clients, port, call)
                assert envoys is ours, f"{call}\n{shown(written)}"


def test_random_calls_meet_both_verdicts() -> None:
    """The comparison would say little if nearly all were allowed, or refused."""
    verdicts: list[bool] = []

    @settings(max_examples=20, database=None, derandomize=True, phases=[Phase.generate])
    @given(st.lists(policies(0), min_size=1, max_size=2), calls())
    def judge(written: list[AuthorizationPolicy], group: list[Call]) -> None:
        found = compiled(written)
        verdicts.extend(expected(found, call, 80, token=True) for call in group)

    judge()
    assert 0.2 < sum(verdicts) / len(verdicts) < 0.8, sum(verdicts) / len(verdicts)


def only(source: Source | None = None, **operation: tuple[str, ...]) -> list[AuthorizationPolicy]:
    """A policy that allows a source, or denies an operation."""
    if source is not None:
        rule = Rule(from_=(From(source=source),))
        return [AuthorizationPolicy(spec=AuthorizationPolicySpec(rules=(rule,)))]
    rule = Rule(to=(To(operation=Operation(**operation)),))
    return [AuthorizationPolicy(spec=AuthorizationPolicySpec(action="DENY", rules=(rule,)))]


def test_a_trust_domain_that_changes_its_name(
    authority: ScratchAuthority, application: int, tmp_path: Path
) -> None:
    """https://istio.io/latest/docs/tasks/security/authorization/authz-td-migration/

    The policy is from before: its principal has the old name.
    """
    written = only(Source(principals=("old-td/ns/foo/sa/curl",)))
    steps = [
        (("old-td",), "spiffe://old-td/ns/foo/sa/curl", 200),
        (("new-td",), "spiffe://new-td/ns/foo/sa/curl", 403),
        (("new-td", "old-td"), "spiffe://new-td/ns/foo/sa/curl", 200),
        (("new-td", "old-td"), "spiffe://old-td/ns/foo/sa/curl", 200),
        (("new-td", "old-td"), "spiffe://old-td/ns/foo/sa/other", 403),
    ]
    clients = Clients(authority, tmp_path)
    ports = [quiet_port() for _ in steps]
    protos = [
        listener(
            compiled(written, domains),
            port,
            Protocol.HTTP,
            usual=ListenerSettings(trust_domains=domains),
        )
        for port, (domains, _, _) in zip(ports, steps, strict=True)
    ]
    with serving(tmp_path, authority, application, *protos):
        for port, (domains, identity, status) in zip(ports, steps, strict=True):
            call = Call(identity, "127.0.0.1", "", False, "GET", "a.com", "/", ())
            with Http1(clients.connect(port, call)) as http:
                found = http.request("GET", "/", (("host", "a.com"),)).status
            assert found == status, (domains, identity)


NONE, BASE = PathNormalization.NONE, PathNormalization.BASE
MERGE, DECODE = PathNormalization.MERGE_SLASHES, PathNormalization.DECODE_AND_MERGE_SLASHES
REFUSED_BY = {
    "/admin": {NONE, BASE, MERGE, DECODE},
    "/x/../admin": {BASE, MERGE, DECODE},
    "/%61dmin": {BASE, MERGE, DECODE},
    "//admin": {MERGE, DECODE},
    # The application gets /x/admin.
    "/x//../admin": set[PathNormalization](),
    "/x%2f..%2fadmin": {DECODE},
    "/x%5c..%5cadmin": {DECODE},
    "/Admin": set[PathNormalization](),
}
"""DENY /admin, by https://istio.io/latest/docs/reference/config/security/normalization/"""


def test_paths_are_compared_as_they_are_normalized(
    authority: ScratchAuthority, application: int, tmp_path: Path
) -> None:
    found = compiled(only(paths=("/admin",)))
    ports = {mode: quiet_port() for mode in PathNormalization}
    protos = [
        listener(found, port, Protocol.HTTP, usual=replace(USUAL, path_normalization=mode))
        for mode, port in ports.items()
    ]
    with serving(tmp_path, authority, application, *protos):
        for target, modes in REFUSED_BY.items():
            for client in (1, 2):
                refused = {m for m, port in ports.items() if _get(port, target, client) == 403}
                assert refused == modes, (target, client)


def _get(port: int, target: str, version: int) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        if version == 2:
            return Http2(raw).request("GET", target, "a.com").status
        return Http1(raw).request("GET", target, (("host", "a.com"),)).status


WEBSOCKET = (
    ("host", "a.com"),
    ("connection", "upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
    ("sec-websocket-version", "13"),
)
EXTENDED_CONNECT = (
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "http"),
    (":path", "/chat"),
    (":authority", "a.com"),
    ("sec-websocket-version", "13"),
)


@pytest.mark.parametrize(
    "denied",
    [{"methods": ("GET",)}, {"paths": ("/chat",)}, {"hosts": ("a.com",)}],
    ids=["method", "path", "host"],
)
def test_upgrades_are_requests_too(
    denied: dict[str, tuple[str, ...]],
    authority: ScratchAuthority,
    application: int,
    tmp_path: Path,
) -> None:
    """A WebSocket is asked for by GET; by HTTP/2 in the way of RFC 8441, which becomes one."""
    ports = [quiet_port(), quiet_port()]
    protos = [
        listener(compiled(written), port, Protocol.HTTP)
        for written, port in zip(([], only(**denied)), ports, strict=True)
    ]
    with serving(tmp_path, authority, application, *protos):
        for port, by_http1, by_http2 in ((ports[0], 101, 200), (ports[1], 403, 403)):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
                assert Http1(raw).request("GET", "/chat", WEBSOCKET).status == by_http1
            with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
                assert Http2(raw).stream(EXTENDED_CONNECT, end=False).status == by_http2
