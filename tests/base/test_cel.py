"""Expressions: what is one, and what only looks like one."""

import subprocess
import sys

import pytest

from argosy.base.cel import MAX_DEPTH, CelError, check_expression


@pytest.mark.parametrize(
    "expression",
    [
        "response.code >= 400",
        "!has(request.headers) || request.headers['x-a'] == \"b\"",
        "connection.mtls && request.url_path.contains('v1')",
        "'x' in request.headers ? request.headers['x'] : 'none'",
        "xds.cluster_name.startsWith('outbound') && size(request.path) > 3",
        "[1, 2].exists(one, one > 1)",
        "request.path.matches('^/a')",
    ],
)
def test_good(expression: str) -> None:
    check_expression(expression)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("", "'<EOF>'"),
        ("response.code >=", "'<EOF>'"),
        ("a = 1", "at character 3"),
        ("'open", "at character 1"),
        ("has(request.headers['x'])", "has() macro"),
        ("nosuch(request.path)", "no function nosuch"),
        ("(" * (MAX_DEPTH + 1) + "a" + ")" * (MAX_DEPTH + 1), "deep"),
        ("!" * 5000 + "a", "deep"),
    ],
)
def test_bad(expression: str, reason: str) -> None:
    with pytest.raises(CelError) as error:
        check_expression(expression)
    assert reason in str(error.value)


def test_a_server_needs_nothing_that_draws_on_a_terminal() -> None:
    program = """
import sys
import argosy.server.lean
from argosy.base.cel import check_expression
check_expression("a > 1")
assert not {"typer", "prompt_toolkit", "cel.cli"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
