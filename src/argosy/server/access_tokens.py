"""The API's bearer tokens, in a file that only the mesh's owner can read (ADR 023).

A token is 256 random bits. Kept is its SHA-256, from which it cannot be guessed; a slow hash would
only be of use for secrets that people think of.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import structlog

from argosy.base.clock import Clock
from argosy.platforms.local.state import write_private
from argosy.server.http.services import AccessToken, Actor, RefusedError, Role

PREFIX = "argosy_"
"""By which programs that look for lost secrets know one."""

MAXIMUM_LIFETIME = timedelta(days=366)
MINIMUM_LIFETIME = timedelta(seconds=1)
CAPACITY = 1000
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")
_NAMESPACE = re.compile(r"([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?")

log = structlog.get_logger()


class Kept(msgspec.Struct, frozen=True):
    """One token in the file. ``digest`` is hexadecimal, times are RFC 3339 by msgspec."""

    name: str
    role: Role
    namespace: str
    created: datetime
    expires: datetime
    digest: str

    @property
    def shown(self) -> AccessToken:
        return AccessToken(self.name, self.role, self.namespace, self.created, self.expires)


class KeptTokens:
    """``services.AccessTokens``, and ``services.Authenticator`` for them. Bounded by CAPACITY."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Reads the file if it is there; raises OSError or ValueError when it cannot be read."""
        self._path = path
        self._clock = clock
        found = msgspec.json.decode(path.read_bytes(), type=list[Kept]) if path.exists() else []
        self._tokens = {token.name: token for token in found}

    def create(
        self, name: str, role: Role, namespace: str, lifetime: timedelta
    ) -> tuple[str, AccessToken]:
        self._forget_expired()
        if not _NAME.fullmatch(name):
            raise RefusedError(
                422, f"name: {name[:100]!r} is not up to 63 lower-case letters, digits, '-' and '.'"
            )
        if not _NAMESPACE.fullmatch(namespace):
            raise RefusedError(422, f"namespace: {namespace[:100]!r} cannot name a namespace")
        if not MINIMUM_LIFETIME <= lifetime <= MAXIMUM_LIFETIME:
            raise RefusedError(
                422, f"expirationSeconds: a token lives up to {MAXIMUM_LIFETIME.days} days"
            )
        if name in self._tokens:
            raise RefusedError(409, f"there is a token {name!r}: revoke it, or take another name")
        if len(self._tokens) >= CAPACITY:
            raise RefusedError(429, f"there are {CAPACITY} tokens: revoke some")
        now = self._clock.now()
        secret = PREFIX + secrets.token_urlsafe(32)
        kept = Kept(name, role, namespace, now, now + lifetime, _digest(secret))
        self._write({**self._tokens, name: kept})
        log.info("token.created", name=name, role=role.value, namespace=namespace)
        return secret, kept.shown

    def list(self) -> Sequence[AccessToken]:
        self._forget_expired()
        return [self._tokens[name].shown for name in sorted(self._tokens)]

    def revoke(self, name: str) -> None:
        if name not in self._tokens:
            raise RefusedError(404, f"there is no token {name[:100]!r}")
        self._write({key: token for key, token in self._tokens.items() if key != name})
        log.info("token.revoked", name=name)

    def authenticate(self, token: str) -> Actor | None:
        """Compared with every digest in constant time: how long it takes tells nothing."""
        given = _digest(token)
        found = None
        for kept in self._tokens.values():
            if hmac.compare_digest(kept.digest, given):
                found = kept
        if found is None or found.expires <= self._clock.now():
            return None
        return Actor(found.name, frozenset({found.role}), found.namespace)

    def _forget_expired(self) -> None:
        now = self._clock.now()
        current = {name: token for name, token in self._tokens.items() if token.expires > now}
        if len(current) < len(self._tokens):
            self._write(current)

    def _write(self, tokens: dict[str, Kept]) -> None:
        write_private(self._path, msgspec.json.encode(list(tokens.values())))
        self._tokens = tokens


class AnyOf:
    """``services.Authenticator``: whoever one of several knows."""

    def __init__(self, *authenticate: Callable[[str], Actor | None]) -> None:
        self._authenticate = authenticate

    def authenticate(self, token: str) -> Actor | None:
        found = [one(token) for one in self._authenticate]
        return next((actor for actor in found if actor is not None), None)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
