"""A TLS client on this machine: it says which server name it wants, and whom it trusts."""

import contextlib
import socket
import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from argosy.testing.certificates import Credential

_SECONDS = 15.0


@dataclass(frozen=True)
class Reply:
    """Status 0: there was no answer, and ``error`` says why."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    error: str = ""
    protocol: str = ""
    """What ALPN chose."""
    version: str = ""
    """Of TLS."""
    cipher: str = ""
    certificate: bytes = b""
    """The server's, DER."""


class Client:
    """Dials one address, whatever the server name."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address

    def get(
        self,
        host: str,
        path: str = "/",
        *,
        roots: str = "",
        own: Credential | None = None,
        alpn: str = "http/1.1",
        highest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        ciphers: str = "",
        authority: str = "",
    ) -> Reply:
        """One request by HTTP/1.1, unless ALPN chooses HTTP/2: then none, and status 200.

        ``host`` is the server name, and the Host header too unless ``authority`` says another.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if roots:
            context.load_verify_locations(cadata=roots)
        else:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        context.maximum_version = highest
        if ciphers:
            context.set_ciphers(ciphers)
        context.set_alpn_protocols([alpn])
        if own is not None:
            with _pair(own) as (certificate, key):
                context.load_cert_chain(certificate, key)
        found: dict[str, object] = {}
        try:
            with (
                socket.create_connection(self._address, timeout=_SECONDS) as opened,
                context.wrap_socket(opened, server_hostname=host) as secured,
            ):
                found["protocol"] = secured.selected_alpn_protocol() or ""
                found["version"] = secured.version() or ""
                found["cipher"] = (secured.cipher() or ("",))[0]
                found["certificate"] = secured.getpeercert(binary_form=True) or b""
                if found["protocol"] == "h2":
                    return Reply(200, **found)  # type: ignore[arg-type]  # as collected above
                request = (
                    f"GET {path} HTTP/1.1\r\nHost: {authority or host}\r\nConnection: close\r\n\r\n"
                )
                secured.sendall(request.encode())
                text = b""
                while not _is_whole(text) and (data := secured.recv(65536)):
                    text += data
        except OSError as error:
            return Reply(error=f"{type(error).__name__}: {error}")
        if not text:
            return Reply(error="closed without an answer")
        head, _, body = text.decode("latin-1").partition("\r\n\r\n")
        status, *lines = head.split("\r\n")
        headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
        return Reply(int(status.split()[1]), headers, body, **found)  # type: ignore[arg-type]


def _is_whole(text: bytes) -> bool:
    """Whether an answer with a content-length has all of it."""
    head, end, body = text.lower().partition(b"\r\n\r\n")
    _, found, length = head.partition(b"content-length:")
    return bool(end and found) and len(body) >= int(length.split()[0])


@contextlib.contextmanager
def _pair(own: Credential) -> Iterator[tuple[str, str]]:
    with tempfile.TemporaryDirectory() as directory:
        certificate, key = Path(directory, "crt"), Path(directory, "key")
        certificate.write_text(own.certificate)
        key.write_text(own.key)
        yield str(certificate), str(key)
