"""Whose rights a command has, and where it asks: ``--token``, ``--server`` and their variables.

Without them a command asks on the mesh's UNIX socket, with the token of the mesh's owner.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import httpx
import typer


@dataclass(frozen=True, slots=True)
class Access:
    """``server`` is an https URL; empty: the mesh of this machine. ``token`` empty: the owner's."""

    server: str = ""
    token: str = ""
    authorities: str = ""

    @property
    def wrong(self) -> str:
        """What a person has to mend before anything can be asked."""
        if not self.server:
            return ""
        url = urlsplit(self.server)
        if url.scheme != "https" or not url.hostname:
            return f"--server {self.server!r} is not https://HOST:PORT"
        if not self.token:
            return "with --server a token is needed: --token or ARGOSY_TOKEN"
        if not self.authorities:
            return "with --server the mesh's root certificate is needed: --server-ca FILE"
        if not Path(self.authorities).is_file():
            return f"there is no file {self.authorities} (--server-ca)"
        return ""

    def transport(self, socket: Path) -> httpx.HTTPTransport:
        if not self.server:
            # No TLS is spoken on a UNIX socket, and to prepare for it takes 50 ms.
            return httpx.HTTPTransport(uds=str(socket), verify=False)
        return httpx.HTTPTransport(verify=ssl.create_default_context(cafile=self.authorities))


OWNER = Access()
_chosen = [OWNER]


def chosen() -> Access:
    """What this run of the command was told."""
    return _chosen[0]


def choose(
    server: Annotated[
        str,
        typer.Option(
            "--server",
            envvar="ARGOSY_SERVER",
            help="The API of a mesh elsewhere: https://HOST:PORT.",
        ),
    ] = "",
    token: Annotated[
        str,
        typer.Option(
            "--token",
            envvar="ARGOSY_TOKEN",
            help="A token of `argosy token create`, instead of the owner's.",
        ),
    ] = "",
    server_ca: Annotated[
        str,
        typer.Option(
            "--server-ca",
            envvar="ARGOSY_SERVER_CA",
            help="With --server: a file with the mesh's root certificate.",
        ),
    ] = "",
) -> None:
    _chosen[0] = Access(server.rstrip("/"), token, server_ca)
