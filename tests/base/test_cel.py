"""Expressions: what is one, and what only looks like one."""

import subprocess
import sys
from pathlib import Path

import pytest
from envoy.config.listener.v3 import listener_pb2

from argosy.base.cel import MAX_DEPTH, CelError, check_expression
from argosy.model.listener import ListenerSettings
from argosy.model.telemetry import AccessLog, FileSink
from argosy.pilot.translate.log_sinks import tcp_logs
from argosy.pilot.translate.tcp_proxy import single_cluster
from argosy.testing.running_envoy import EnvoyError, static_cluster, validate

GOOD = (
    "response.code >= 400",
    "!has(request.headers) || request.headers['x-a'] == \"b\"",
    "connection.mtls && request.url_path.contains('v1')",
    "'x' in {'x': 1}",
    "'x' in request.headers ? request.headers['x'] : 'none'",
    "xds.cluster_name.startsWith('outbound') && size(request.path) > 3",
    "request.path.matches('^/a.exists(b){2}')",
    "request.time.getHours() > 1 && request.duration > duration('1s')",
    "int(request.headers['x']) + 1 == 2 // a comment: foo(",
    "(" * MAX_DEPTH + "a" + ")" * MAX_DEPTH,
)
BAD = (
    ("", "'<EOF>'"),
    ("response.code >=", "'<EOF>'"),
    ("a = 1", "at character 3"),
    ("'open", "at character 1"),
    ("has(request.headers['x'])", "has() macro"),
    ("nosuch(request.path)", "no function nosuch"),
    ("string(response.code) == '200'", "no function string"),
    ("[1, 2].exists(one, one > 1)", "no loops, such as exists"),
    ("Some{a: 1} == b", "no messages, such as Some{}"),
    ("request.path.matches('^(a')", "not a regular expression"),
    ("getHours(request.time) > 1", "time.getHours()"),
    ("(" * (MAX_DEPTH + 1) + "a" + ")" * (MAX_DEPTH + 1), "deep"),
    ("a" + ".b" * 100, "deep"),
    ("a" + " + a" * 100, "deep"),
    ("!" * 5000 + "a", "deep"),
)


@pytest.mark.parametrize("expression", GOOD)
def test_good(expression: str) -> None:
    check_expression(expression)


@pytest.mark.parametrize(("expression", "reason"), BAD)
def test_bad(expression: str, reason: str) -> None:
    with pytest.raises(CelError) as error:
        check_expression(expression)
    assert reason in str(error.value)


def listener(*expressions: str) -> listener_pb2.Listener:
    """One with a log for each expression."""
    logs = (AccessLog(FileSink("/dev/null"), one) for one in expressions)
    proto = listener_pb2.Listener(name="logs", access_log=tcp_logs(logs))
    proto.address.socket_address.address = "127.0.0.1"
    proto.address.socket_address.port_value = 1
    proto.filter_chains.add().filters.append(single_cluster("nowhere", ListenerSettings()))
    return proto


@pytest.mark.envoy
def test_envoy_takes_what_is_good(tmp_path: Path) -> None:
    clusters = [static_cluster("nowhere", 1)]
    validate(tmp_path, listeners=[listener(*GOOD)], clusters=clusters)


@pytest.mark.envoy
@pytest.mark.parametrize("expression", [bad for bad, _ in BAD if bad and "!!" not in bad])
def test_envoy_refuses_what_is_bad(expression: str, tmp_path: Path) -> None:
    """But long runs of signs, which only cost."""
    with pytest.raises(EnvoyError):
        validate(
            tmp_path, listeners=[listener(expression)], clusters=[static_cluster("nowhere", 1)]
        )


def test_a_server_needs_nothing_that_draws_on_a_terminal() -> None:
    program = """
import sys
import argosy.server.lean
from argosy.base.cel import check_expression
check_expression("a > 1")
assert not {"typer", "prompt_toolkit", "cel.cli"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
