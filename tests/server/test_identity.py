"""Bearer tokens on files."""

from pathlib import Path

from argosy.server.http.services import Role
from argosy.server.identity import FileTokens


def test_only_the_token_in_the_file_opens(tmp_path: Path) -> None:
    tokens = FileTokens()
    path = tmp_path / "admin.token"
    tokens.issue(path, "admin", Role.ADMIN)
    token = path.read_text()
    assert len(token) >= 43, "256 bits"
    actor = tokens.authenticate(token)
    assert actor is not None
    assert (actor.name, actor.roles) == ("admin", frozenset({Role.ADMIN}))
    for wrong in ("", token[:-1], token + "x", token.swapcase()):
        assert tokens.authenticate(wrong) is None


def test_the_file_is_its_owners_only(tmp_path: Path) -> None:
    path = tmp_path / "admin.token"
    FileTokens().issue(path, "admin", Role.ADMIN)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_restart_keeps_the_token(tmp_path: Path) -> None:
    path = tmp_path / "admin.token"
    FileTokens().issue(path, "admin", Role.ADMIN)
    token = path.read_text()
    again = FileTokens()
    again.issue(path, "admin", Role.ADMIN)
    assert path.read_text() == token
    assert again.authenticate(token) is not None
