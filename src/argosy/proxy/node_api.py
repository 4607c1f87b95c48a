"""The node's client of the control plane: watch, create, status, delete, workload tokens, CSRs.

Everything goes through the UNIX socket of the mesh, with the node's bearer token. A control plane
that is away is not an error here: calls are retried until it is back.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
import msgspec
import structlog

from argosy.api.meta import Object
from argosy.api.registry import BY_KIND, Registered
from argosy.citadel.reports import CertificateReport
from argosy.citadel.trust import TrustDocument

_OURS = "/apis/argosy.dev/v1alpha1"
_INITIAL_END = "k8s.io/initial-events-end"
_RETRY_SECONDS = 0.05
_MAX_RETRY_SECONDS = 1.0
log = structlog.get_logger()


class ApiError(Exception):
    """The control plane refuses; ``code`` is the HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Put:
    """An object is as given."""

    object: Object


@dataclass(frozen=True, slots=True)
class Gone:
    object: Object


@dataclass(frozen=True, slots=True)
class Synced:
    """Everything that exists has been given since the watch (re)started."""


@dataclass(frozen=True, slots=True)
class Restarted:
    """The watch begins anew: what is not given until ``Synced`` does not exist any more."""


Event = Put | Gone | Synced | Restarted


class _Line(msgspec.Struct):
    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
    object: msgspec.Raw


class _Head(msgspec.Struct):
    kind: str = ""


class ApiClient:
    """``token`` is read from its file when first needed, for the control plane writes it."""

    def __init__(self, socket: Path, token_file: Path) -> None:
        self._token_file = token_file
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(socket)),
            base_url="http://argosy",
            timeout=httpx.Timeout(30.0, connect=5.0),
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def watch(self, kinds: tuple[str, ...]) -> AsyncIterator[Event]:
        """Events of these kinds for ever; begins anew whenever the connection breaks."""
        pause = _RETRY_SECONDS
        while True:
            try:
                async for event in self._watch_once(kinds):
                    yield event
                    pause = _RETRY_SECONDS
            except (httpx.TransportError, ApiError, OSError, msgspec.DecodeError) as error:
                log.debug("watch.broken", error=str(error) or type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _MAX_RETRY_SECONDS)

    async def create(self, value: Object) -> Object:
        """Create it; the object as stored. Raises ApiError."""
        kind = BY_KIND[value.kind]
        content = await self._call(
            "POST", _path(kind, value.metadata.namespace), msgspec.json.encode(value)
        )
        return msgspec.json.decode(content, type=kind.struct)

    async def patch(self, kind: str, namespace: str, name: str, patch: dict[str, Any]) -> Object:
        """Merge-patch an object. Raises ApiError."""
        entry = BY_KIND[kind]
        content = await self._call(
            "PATCH",
            _path(entry, namespace, name),
            msgspec.json.encode(patch),
            content_type="application/merge-patch+json",
        )
        return msgspec.json.decode(content, type=entry.struct)

    async def patch_status(
        self, kind: str, namespace: str, name: str, status: msgspec.Struct
    ) -> Object:
        """Replace the status. Raises ApiError."""
        entry = BY_KIND[kind]
        plain = msgspec.to_builtins(status)
        whole = {field: plain.get(field) for field in _wire_names(type(status))}
        content = await self._call(
            "PATCH",
            f"{_path(entry, namespace, name)}/status",
            msgspec.json.encode({"status": whole}),
            content_type="application/merge-patch+json",
        )
        return msgspec.json.decode(content, type=entry.struct)

    async def delete(
        self, kind: str, namespace: str, name: str, *, grace_seconds: int | None = None
    ) -> None:
        """Delete it; no error when it is gone. ``grace_seconds`` 0 removes a pod at once."""
        query = "" if grace_seconds is None else f"?gracePeriodSeconds={grace_seconds}"
        try:
            await self._call("DELETE", _path(BY_KIND[kind], namespace, name) + query)
        except ApiError as error:
            if error.code != 404:
                raise

    async def workload_token(
        self, namespace: str, service_account: str, pod: str, audience: str, seconds: int
    ) -> str:
        """A token with which this pod's agent may ask for its certificate. Raises ApiError."""
        spec = {
            "audiences": [audience],
            "expirationSeconds": seconds,
            "boundObjectRef": {"kind": "Pod", "name": pod},
        }
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token"
        content = await self._call("POST", path, msgspec.json.encode({"spec": spec}))
        token: str = msgspec.json.decode(content)["status"]["token"]
        return token

    async def sign(self, csr: str, token: str, signer: str = "") -> tuple[str, ...]:
        """The certificate chain for a CSR, leaf first; by a signer of that name. Raises ApiError."""
        body = msgspec.json.encode({"csr": csr, "token": token, "signer": signer})
        content = await self._call("POST", "/istio.v1.auth/certificates", body)
        return tuple(msgspec.json.decode(content)["chain"])

    async def trust(self, version: str, seconds: int) -> TrustDocument:
        """Whom to trust; waits up to ``seconds`` for another than ``version``. Raises ApiError."""
        path = f"{_OURS}/trust?version={version}&timeoutSeconds={seconds}"
        return msgspec.json.decode(await self._call("GET", path), type=TrustDocument)

    async def report_certificates(self, reports: Sequence[CertificateReport]) -> None:
        """What the node's workloads use. Raises ApiError."""
        body = msgspec.json.encode({"items": reports})
        await self._call("PUT", f"{_OURS}/certificates/reports", body)

    async def _watch_once(self, kinds: tuple[str, ...]) -> AsyncIterator[Event]:
        query = {
            "kinds": ",".join(kinds),
            "allowWatchBookmarks": "true",
            "sendInitialEvents": "true",
        }
        async with self._client.stream(
            "GET",
            "/apis/argosy.dev/v1alpha1/watch",
            params=query,
            headers=self._headers(),
            timeout=httpx.Timeout(60.0, connect=5.0),
        ) as response:
            if response.status_code != 200:
                raise ApiError(response.status_code, (await response.aread()).decode())
            yield Restarted()
            async for text in response.aiter_lines():
                event = _event(text)
                if event is not None:
                    yield event

    async def _call(
        self, method: str, path: str, body: bytes = b"", *, content_type: str = "application/json"
    ) -> bytes:
        """The answer's body; retried while nobody answers."""
        pause = _RETRY_SECONDS
        while True:
            try:
                response = await self._client.request(
                    method,
                    path,
                    content=body,
                    headers={**self._headers(), "content-type": content_type},
                )
                if response.status_code == 503:
                    raise httpx.ConnectError("the control plane is not ready")
                break
            except (httpx.TransportError, OSError) as error:
                log.debug("api.unreachable", error=str(error) or type(error).__name__)
                await asyncio.sleep(pause)
                pause = min(pause * 2, _MAX_RETRY_SECONDS)
        if response.status_code >= 300:
            raise ApiError(response.status_code, _message(response))
        return response.content

    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._token_file.read_text().strip()}"}


def _event(text: str) -> Event | None:
    if not text.strip():
        return None
    line = msgspec.json.decode(text, type=_Line)
    match line.type:
        case "ERROR":
            raise ApiError(410, bytes(line.object).decode())
        case "BOOKMARK":
            return Synced() if _INITIAL_END.encode() in bytes(line.object) else None
    head = msgspec.json.decode(line.object, type=_Head)
    value = msgspec.json.decode(line.object, type=BY_KIND[head.kind].struct)
    return Gone(value) if line.type == "DELETED" else Put(value)


def _path(kind: Registered, namespace: str, name: str = "") -> str:
    base = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.version}"
    where = f"/namespaces/{namespace}" if kind.namespaced else ""
    return f"{base}{where}/{kind.plural}" + (f"/{name}" if name else "")


def _wire_names(struct: type[msgspec.Struct]) -> tuple[str, ...]:
    return struct.__struct_encode_fields__


def _message(response: httpx.Response) -> str:
    try:
        return str(msgspec.json.decode(response.content)["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return response.text
