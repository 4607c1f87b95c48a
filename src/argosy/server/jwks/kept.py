"""The last good keys and bundles in a file, so that a control plane that starts again serves them at once.

Public keys only. The file is of the mesh's own directory, as private as its certificate authority.
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec
import structlog
from cryptography import x509

from argosy.base.jwks import KeySetError, read_key_set
from argosy.model.request_authn import KeySource
from argosy.platforms.local.state import write_private

log = structlog.get_logger()


class Kept(msgspec.Struct, frozen=True):
    """Keys of one place, PEM of a bundle; ``fetched`` is in seconds since the epoch."""

    url: str
    discovery: bool
    keys: str
    fetched: float
    bundle: bool = False

    @property
    def source(self) -> KeySource:
        return KeySource(self.url, self.discovery, self.bundle)


def load(path: Path) -> tuple[Kept, ...]:
    """What was kept; a file that cannot be read is as none, and what is no key set is left out."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=tuple[Kept, ...])
    except FileNotFoundError:
        return ()
    except (OSError, msgspec.DecodeError) as error:
        log.warning("jwks.kept_unreadable", path=str(path), error=str(error))
        return ()
    return tuple(one for one in found if _is_good(one))


def save(path: Path, kept: Iterable[Kept]) -> None:
    """All or nothing; a disk that is full costs only the next start some moments."""
    try:
        write_private(path, msgspec.json.encode(tuple(kept)))
    except OSError as error:
        log.warning("jwks.not_kept", path=str(path), error=str(error))


def _is_good(one: Kept) -> bool:
    try:
        if one.bundle:
            x509.load_pem_x509_certificates(one.keys.encode())
        else:
            read_key_set(one.keys, public=True)
    except (KeySetError, ValueError):
        return False
    return True
