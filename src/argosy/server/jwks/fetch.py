"""Fetching a key set, or a SPIFFE bundle: HTTP, with few redirects, bounded in time and size.

Imported when there is a first one to fetch: most meshes have none, and it takes some megabytes.
"""

import asyncio
import json
import ssl
from datetime import timedelta
from urllib.parse import urljoin, urlsplit

import httpcore

from argosy.base.jwks import MAX_TEXT, KeySetError, read_key_set
from argosy.base.spiffe_bundle import BundleError, read_bundle
from argosy.model.request_authn import KeySource
from argosy.server.jwks.dialing import GuardedBackend
from argosy.server.jwks.reach import FetchError

MAX_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HEADERS = [(b"accept", b"application/json"), (b"user-agent", b"argosy"), (b"connection", b"close")]


class Fetcher:
    """``trust`` says whose certificates are believed of https."""

    def __init__(self, backend: GuardedBackend, trust: ssl.SSLContext) -> None:
        self._backend = backend
        self._trust = trust

    async def fetch(self, source: KeySource, wait: timedelta) -> str:
        """The key set of a place, as :class:`argosy.base.jwks.KeySet` has it; PEM of a bundle.

        Raises FetchError.

        ``wait`` is for all of it, discovery and redirects included.
        """
        try:
            async with asyncio.timeout(wait.total_seconds()):
                url = source.url
                if source.discovery:
                    url = _keys_url(await self._get(url), url)
                text = await self._get(url)
        except TimeoutError as error:
            raise FetchError(f"it took longer than {wait.total_seconds():g} s") from error
        if source.bundle:
            try:
                return read_bundle(text)
            except BundleError as error:
                raise FetchError(f"what {url} answers is no usable bundle: {error}") from error
        try:
            return read_key_set(text, public=True).text
        except KeySetError as error:
            raise FetchError(f"what {url} answers is no usable key set: {error}") from error

    async def _get(self, url: str) -> str:
        first = url
        for _ in range(MAX_REDIRECTS + 1):
            _require_plain(url, secure=first.startswith("https:"))
            status, location, body = await self._once(url)
            if status not in _REDIRECTS or not location:
                if not 200 <= status < 300:
                    raise FetchError(f"{url} answers with status {status}")
                try:
                    return body.decode()
                except UnicodeDecodeError as error:
                    raise FetchError(f"what {url} answers is not text") from error
            url = _joined(url, location)
        raise FetchError(f"{first} redirects more than {MAX_REDIRECTS} times")

    async def _once(self, url: str) -> tuple[int, str, bytes]:
        """Status, Location and body; a connection of its own."""
        try:
            async with (
                httpcore.AsyncConnectionPool(
                    ssl_context=self._trust, max_connections=1, network_backend=self._backend
                ) as pool,
                pool.stream("GET", url, headers=_HEADERS) as response,
            ):
                body = bytearray()
                async for chunk in response.aiter_stream():
                    body += chunk
                    if len(body) > MAX_TEXT:
                        raise FetchError(f"what {url} answers is longer than {MAX_TEXT} bytes")
                headers = {name.lower(): value for name, value in response.headers}
                location = headers.get(b"location", b"").decode("latin-1")
                return response.status, location, bytes(body)
        except (
            httpcore.NetworkError,
            httpcore.TimeoutException,
            httpcore.ProtocolError,
            httpcore.UnsupportedProtocol,
        ) as error:
            raise FetchError(f"{url}: {error}") from error
        except (ValueError, UnicodeError, ssl.SSLError) as error:
            raise FetchError(f"{url}: {error}") from error


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise FetchError(f"{url} redirects to {location[:200]}, which is not a URL") from error


def _require_plain(url: str, *, secure: bool) -> None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise FetchError(f"{url} is not a URL: {error}") from error
    if not url.isascii() or any(char <= " " for char in url):
        raise FetchError(f"{url!r} has characters that must be written as %xx or punycode")
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise FetchError(f"{url} is not an http or https URL")
    if parts.username is not None or parts.password is not None:
        raise FetchError(f"a user name or password in {parts.hostname}'s URL is not supported")
    if secure and parts.scheme != "https":
        raise FetchError(f"{url} is not https, but what led to it was")


def _keys_url(text: str, url: str) -> str:
    """``jwks_uri`` of an OpenID Connect configuration."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FetchError(f"what {url} answers is not JSON: {error}") from error
    named = found.get("jwks_uri") if isinstance(found, dict) else None
    if not isinstance(named, str) or not named:
        raise FetchError(f"what {url} answers names no jwks_uri")
    return named
