"""What the control plane is told about fetching keys, by variables with Istio's names and our own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from argosy.server.jwks.make import key_rules


def test_variables_are_rules() -> None:
    rules = key_rules(
        {"ARGOSY_JWKS_ALLOWED": "keys.example.com,127.0.0.1", "BLOCKED_CIDRS_IN_JWKS_URIS": "10.9.0.0/16"},
        ("10.244.0.0/16",),
    )  # fmt: skip
    assert rules.allowed_hosts == {"keys.example.com"}
    assert [str(block) for block in (*rules.allowed, *rules.blocked, *rules.mesh)] == [
        "127.0.0.1/32",
        "10.9.0.0/16",
        "10.244.0.0/16",
    ]
    assert key_rules({}, ()).allowed_hosts == frozenset()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ARGOSY_JWKS_ALLOWED", "127.0.0.1/99"),
        ("BLOCKED_CIDRS_IN_JWKS_URIS", "example.com"),
        ("PILOT_JWT_PUB_KEY_REFRESH_INTERVAL", "often"),
    ],
)
def test_a_list_that_cannot_be_read_is_none_to_go_on_with(
    tmp_path: Path, variable: str, value: str
) -> None:
    environment = {**os.environ, "ARGOSY_STATE_DIR": str(tmp_path), variable: value}
    command = (sys.executable, "-m", "argosy.server", "--ads-address", "127.0.0.1:0")
    done = subprocess.run(
        [*command, "--directory", str(tmp_path / "mesh")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert variable in done.stderr
    assert value in done.stderr
