"""Tokens by the command line, and what their holders are told."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from argosy.testing.certificates import ScratchAuthority

Argosy = Callable[..., Any]
RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec: {host: a}
"""


def test_a_token_is_printed_once_and_works(
    mesh: Any, argosy: Argosy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``mesh``: its clock is an hour late, which is why tokens live longer than it seems."""
    made = argosy("token", "create", "ana", "--role", "edit", "-n", "default", "--expires", "2h")
    assert made.code == 0
    secret = made.out.splitlines()[-1]  # the control plane logs into this process
    assert secret.startswith("argosy_")
    assert "role edit in namespace default" in made.err
    listed = argosy("token", "list")
    assert secret not in listed.out
    assert listed.out.splitlines()[1].split()[:3] == ["ana", "edit", "default"]
    monkeypatch.setenv("ARGOSY_TOKEN", secret)
    assert argosy("apply", "-f", "-", stdin=RULE).code == 0
    refused = argosy("apply", "-n", "other", "-f", "-", stdin=RULE)
    assert refused.code == 1
    assert "ana (role edit in namespace default) may not write DestinationRule" in refused.err
    assert "Ask an admin" in refused.err
    for command in (("token", "list"), ("token", "create", "eve", "--role", "admin")):
        assert "it needs the role admin for the whole mesh" in argosy(*command).err
    monkeypatch.delenv("ARGOSY_TOKEN")
    assert argosy("token", "revoke", "ana").out.endswith("token ana is revoked\n")
    assert argosy("token", "list").err == "There are no tokens but the owner's.\n"
    late = argosy("--token", secret, "get", "dr")
    assert late.code == 1
    assert "does not accept the token that was given" in late.err
    assert argosy("get", "dr").code == 0, "the next command is the owner's again"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("a", "--role", "view", "--expires", "soon"), "is not a time such as"),
        (("a", "--role", "view", "--expires", "400d"), "up to 366d"),
        (("A", "--role", "view"), "lower-case letters"),
        (("a", "--role", "root"), "'root'"),
        (("a",), "--role"),
    ],
)
def test_what_makes_no_token(
    mesh: Any, argosy: Argosy, options: tuple[str, ...], words: str
) -> None:
    answer = argosy("token", "create", *options)
    assert answer.code != 0
    assert words in answer.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--server", "http://a"), "is not https://HOST:PORT"),
        (("--server", "https://a"), "a token is needed"),
        (("--server", "https://a", "--token", "x"), "root certificate is needed"),
        (("--server", "https://a", "--token", "x", "--server-ca", "none"), "there is no file"),
    ],
)
def test_what_reaches_no_server(argosy: Argosy, options: tuple[str, ...], words: str) -> None:
    answer = argosy(*options, "get", "pods")
    assert answer.code == 2
    assert words in answer.err


def test_a_server_that_does_not_answer(argosy: Argosy, tmp_path: Path) -> None:
    """The words are about that server, not about what runs on this machine."""
    with socket.socket() as bound:  # nobody listens there
        bound.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{bound.getsockname()[1]}"
        roots = tmp_path / "roots.pem"
        roots.write_text(ScratchAuthority().credential("a").roots)
        access = ("--server", url, "--token", "x", "--server-ca", str(roots))
        answer = argosy(*access, "status")
    assert answer.code == 1
    assert f"the mesh at {url} does not answer" in answer.err
    assert "--api-port" in answer.err


def test_revoking_what_is_not_there(mesh: Any, argosy: Argosy) -> None:
    answer = argosy("token", "revoke", "nobody")
    assert answer.code == 3
    assert "there is no token 'nobody'" in answer.err
