"""The control plane's way to Mixer: HTTP on its UNIX socket."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from argosy.server.http.services import BrokenOffError, MixerAnswer, MixerQuestion, RefusedError

MAX_STREAMS = 64
"""What people watch at once. These have connections of their own, so that they keep out nobody else."""

MAX_QUESTIONS = 32
"""At once; each is answered, or given up, within seconds."""

_CONNECT_SECONDS = 2.0
_WRITE_SECONDS = 10.0
_HEALTH_SECONDS = 1.0


if TYPE_CHECKING:
    import httpcore


@dataclass(frozen=True, slots=True)
class MixerFiles:
    """Where Mixer listens, and the token by which the control plane knows it."""

    socket: Path
    token: Path


class SocketLink:
    """``services.MixerLink``. What it needs is loaded when somebody asks."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._questions: httpcore.AsyncConnectionPool | None = None
        self._streams: httpcore.AsyncConnectionPool | None = None

    @asynccontextmanager
    async def ask(
        self, question: MixerQuestion, *, seconds: float | None = None
    ) -> AsyncIterator[MixerAnswer]:
        import httpcore  # noqa: PLC0415  (2 MB that most control planes never need)

        timeouts: Any = {
            "connect": _CONNECT_SECONDS,
            "pool": _CONNECT_SECONDS,
            "write": _WRITE_SECONDS,
            "read": seconds,
        }
        headers: dict[bytes | str, bytes | str] = {"Host": "mixer"}
        headers.update(question.headers.items())
        asked = self._pool(stream=seconds is None).stream(
            question.method,
            f"http://mixer{question.target}",
            headers=headers,
            content=question.body,
            extensions={"timeout": timeouts},
        )
        try:
            answer = await asked.__aenter__()
        except httpcore.PoolTimeout as error:
            busy = (
                f"{MAX_STREAMS} people watch by Mixer already, which is as many as may: try again "
                "when one has ended"
                if seconds is None
                else "too many questions to Mixer at once: try again"
            )
            raise RefusedError(503, busy) from error
        except httpcore.ReadTimeout as error:
            raise RefusedError(503, f"Mixer has not answered within {seconds} s") from error
        except (
            httpcore.NetworkError,
            httpcore.TimeoutException,
            httpcore.ProtocolError,
        ) as error:
            raise RefusedError(
                503, "Mixer does not run: traffic goes on without it, and it is started again"
            ) from error
        try:
            kind = dict(answer.headers).get(b"content-type", b"application/octet-stream")
            yield MixerAnswer(answer.status, kind.decode("latin-1"), _pieces(answer))
        finally:
            await asked.__aexit__(None, None, None)

    def _pool(self, *, stream: bool) -> "httpcore.AsyncConnectionPool":
        import httpcore  # noqa: PLC0415  (as above)

        if self._questions is None or self._streams is None:
            self._questions, self._streams = (
                httpcore.AsyncConnectionPool(
                    uds=str(self._socket), max_connections=most, max_keepalive_connections=4
                )
                for most in (MAX_QUESTIONS, MAX_STREAMS)
            )
        return self._streams if stream else self._questions

    async def runs(self) -> bool:
        try:
            question = MixerQuestion("GET", "/healthz", {})
            async with self.ask(question, seconds=_HEALTH_SECONDS) as answer:
                return answer.status == 200
        except RefusedError:
            return False


async def _pieces(answer: "httpcore.Response") -> AsyncIterator[bytes]:
    import httpcore  # noqa: PLC0415  (as above)

    try:
        async for piece in answer.aiter_stream():
            yield piece
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
        raise BrokenOffError(f"Mixer ended in the middle of an answer: {error}") from error
