"""Who may call the HTTP API, and what it signs: tokens on files, Citadel behind them."""

import hashlib
import hmac
import secrets
from datetime import timedelta
from pathlib import Path

from argosy.citadel import refusal
from argosy.citadel.service import CertificateService
from argosy.model.mixer import MIXER_ACCOUNT, MIXER_NAME, MIXER_NAMESPACE
from argosy.platforms.local.state import write_private
from argosy.server.http import services


class FileTokens:
    """Bearer tokens that only who can read their files knows."""

    def __init__(self) -> None:
        self._actors: dict[bytes, services.Actor] = {}

    def issue(self, path: Path, name: str, role: services.Role) -> None:
        """Make a token, or read the one that is there, so that a restart locks nobody out."""
        if not path.exists():
            write_private(path, secrets.token_urlsafe(32).encode())
        actor = services.Actor(name, frozenset({role}))
        self._actors[_digest(path.read_text().strip())] = actor

    def authenticate(self, token: str) -> services.Actor | None:
        """By digest, compared in constant time: how long it takes tells nothing of the token."""
        given = _digest(token)
        found = None
        for digest, actor in self._actors.items():
            if hmac.compare_digest(digest, given):
                found = actor
        return found


class Certificates:
    """``services.CertificateIssuer`` by Citadel."""

    def __init__(self, issuing: CertificateService) -> None:
        self._issuing = issuing

    async def issue(self, csr: str, token: str, signer: str = "") -> tuple[str, ...]:
        try:
            return await self._issuing.issue(csr, token, signer=signer)
        except refusal.RefusedError as error:
            raise services.RefusedError(error.code, error.message) from error

    async def issue_to_mixer(self, csr: str) -> tuple[str, ...]:
        try:
            return await self._issuing.issue_to_server(
                csr, MIXER_NAMESPACE, MIXER_ACCOUNT, (MIXER_NAME,)
            )
        except refusal.RefusedError as error:
            raise services.RefusedError(error.code, error.message) from error


class WorkloadTokens:
    """``services.TokenIssuer`` by Citadel."""

    def __init__(self, issuing: CertificateService) -> None:
        self._issuing = issuing

    def issue(self, request: services.TokenRequest) -> services.IssuedToken:
        try:
            token, expires = self._issuing.issue_token(
                request.namespace,
                request.service_account,
                pod=request.pod,
                audiences=request.audiences,
                lifetime=timedelta(seconds=request.expiration_seconds),
            )
        except refusal.RefusedError as error:
            raise services.RefusedError(error.code, error.message) from error
        return services.IssuedToken(token, expires)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
