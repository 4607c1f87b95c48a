"""Mixer's client of the control plane, on its UNIX socket, with the token that is Mixer's own."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import httpcore
import msgspec

from argosy.citadel.trust import TrustDocument

_OURS = "/apis/argosy.dev/v1alpha1"
_SECONDS = 10.0
_T = TypeVar("_T")


class ControlPlaneError(Exception):
    """It is away, or it refuses; ``code`` is the HTTP status, 0 when there was none."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Chain(msgspec.Struct):
    chain: tuple[str, ...]


class ControlPlane:
    """``token`` is read from its file at each call, for the control plane writes it."""

    def __init__(self, socket: Path, token_file: Path) -> None:
        self._token_file = token_file
        self._pool = httpcore.AsyncConnectionPool(uds=str(socket), max_connections=8)

    async def trust(self, version: str, seconds: float) -> TrustDocument:
        """Whom to trust; with ``version`` as soon as it is another, or after ``seconds``."""
        query = {"version": version, "timeoutSeconds": str(int(seconds))}
        answer = await self.get(f"{_OURS}/trust", query, seconds=seconds + _SECONDS)
        return _decoded(answer, TrustDocument)

    async def certificate(self, csr: str) -> tuple[str, ...]:
        """Mixer's own: PEM in, the chain in PEM out, leaf first and root last."""
        body = msgspec.json.encode({"csr": csr})
        answer = await self._ask("POST", f"{_OURS}/mixer/certificate", body, _SECONDS)
        return _decoded(answer, _Chain).chain

    async def get(
        self, path: str, query: Mapping[str, str] | None = None, *, seconds: float = _SECONDS
    ) -> bytes:
        """What anybody with the role view could read. Raises ``ControlPlaneError``."""
        target = f"{path}?{urlencode(query)}" if query else path
        return await self._ask("GET", target, b"", seconds)

    async def close(self) -> None:
        await self._pool.aclose()

    async def _ask(self, method: str, target: str, body: bytes, seconds: float) -> bytes:
        timeouts: Any = {"connect": 2.0, "pool": _SECONDS, "read": seconds, "write": _SECONDS}
        try:
            token = (await asyncio.to_thread(self._token_file.read_text)).strip()
            answer = await self._pool.request(
                method,
                f"http://argosy{target}",
                headers={"Host": "argosy", "Authorization": f"Bearer {token}"},
                content=body,
                extensions={"timeout": timeouts},
            )
        except (
            OSError,
            httpcore.NetworkError,
            httpcore.TimeoutException,
            httpcore.ProtocolError,
        ) as error:
            raise ControlPlaneError(0, f"the control plane does not answer: {error}") from error
        if answer.status >= 300:
            raise ControlPlaneError(answer.status, answer.content.decode(errors="replace")[:500])
        return answer.content


def _decoded(answer: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(answer, type=kind)
    except msgspec.DecodeError as error:
        raise ControlPlaneError(0, f"the control plane answers strangely: {error}") from error
