"""Tokens of the API: shown once, kept as digests, good for a time."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from argosy.server.access_tokens import CAPACITY, KeptTokens
from argosy.server.http.services import RefusedError, Role

HOUR = timedelta(hours=1)


@dataclass
class Watch:
    moment: datetime = field(default_factory=lambda: datetime(2026, 1, 1, tzinfo=UTC))

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return 0.0


@pytest.fixture
def clock() -> Watch:
    return Watch()


@pytest.fixture
def tokens(tmp_path: Path, clock: Watch) -> KeptTokens:
    return KeptTokens(tmp_path / "tokens.json", clock)


def test_a_token_says_who_holds_it(tokens: KeptTokens, tmp_path: Path, clock: Watch) -> None:
    secret, shown = tokens.create("ana", Role.EDIT, "shop", HOUR)
    assert (shown.name, shown.role, shown.namespace) == ("ana", Role.EDIT, "shop")
    assert len(secret) >= 43
    assert tokens.create("eve", Role.VIEW, "", HOUR)[0] != secret
    actor = tokens.authenticate(secret)
    assert actor is not None
    assert (actor.name, actor.roles, actor.namespace) == ("ana", {Role.EDIT}, "shop")
    for wrong in ("", secret[:-1], secret + "x", secret.swapcase(), "argosy_", "\0", "ä" * 40):
        assert tokens.authenticate(wrong) is None
    file = tmp_path / "tokens.json"
    assert file.stat().st_mode & 0o777 == 0o600
    text = file.read_text()
    assert secret not in text
    assert secret.removeprefix("argosy_") not in text
    again = KeptTokens(file, clock)
    assert again.authenticate(secret) == actor, "a restart keeps them"


def test_a_token_ends(tokens: KeptTokens, tmp_path: Path, clock: Watch) -> None:
    short, _ = tokens.create("short", Role.VIEW, "", HOUR)
    revoked, _ = tokens.create("revoked", Role.VIEW, "", HOUR * 9)
    assert [token.name for token in tokens.list()] == ["revoked", "short"]
    clock.moment += HOUR
    assert tokens.authenticate(short) is None
    assert tokens.authenticate(revoked) is not None
    assert [token.name for token in tokens.list()] == ["revoked"]
    tokens.revoke("revoked")
    assert tokens.authenticate(revoked) is None
    assert KeptTokens(tmp_path / "tokens.json", clock).authenticate(revoked) is None
    with pytest.raises(RefusedError, match="there is no token"):
        tokens.revoke("revoked")


@pytest.mark.parametrize(
    ("name", "namespace", "lifetime", "words"),
    [
        ("", "", HOUR, "name"),
        ("A", "", HOUR, "name"),
        ("a/b", "", HOUR, "name"),
        ("a" * 64, "", HOUR, "name"),
        ("a\n", "", HOUR, "name"),
        ("a", "Shop", HOUR, "namespace"),
        ("a", "shop.", HOUR, "namespace"),
        ("a", "shop\n", HOUR, "namespace"),
        ("a", "", timedelta(0), "expirationSeconds"),
        ("a", "", -HOUR, "expirationSeconds"),
        ("a", "", timedelta(days=367), "expirationSeconds"),
    ],
)
def test_what_makes_no_token(
    tokens: KeptTokens, name: str, namespace: str, lifetime: timedelta, words: str
) -> None:
    with pytest.raises(RefusedError, match=words):
        tokens.create(name, Role.VIEW, namespace, lifetime)


def test_names_are_taken_once_and_tokens_are_bounded(tokens: KeptTokens, clock: Watch) -> None:
    tokens.create("ana", Role.VIEW, "", HOUR)
    with pytest.raises(RefusedError, match="there is a token"):
        tokens.create("ana", Role.ADMIN, "", HOUR)
    for number in range(CAPACITY - 1):
        tokens.create(f"t{number}", Role.VIEW, "", HOUR)
    with pytest.raises(RefusedError, match="revoke some"):
        tokens.create("last", Role.VIEW, "", HOUR)
    clock.moment += HOUR
    tokens.create("ana", Role.ADMIN, "", HOUR)
