"""The files from which Envoy, or gRPC, reads a certificate, its key and the roots it trusts.

Each is a DiscoveryResponse in JSON with one Secret, mode 0600, replaced by a rename inside the
directory that Envoy watches. https://www.envoyproxy.io/docs/envoy/latest/configuration/security/secret
"""

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from argosy.base.log import Secret

CHAIN_PEM = "cert-chain.pem"
KEY_PEM = "key.pem"
ROOTS_PEM = "root-cert.pem"
"""The same in PEM, for those that do not read Envoy's form; the names are Istio's."""

CERTIFICATE_FILE = "default.json"
ROOTS_FILE = "root.json"
CERTIFICATE_SECRET = "default"
ROOTS_SECRET = "ROOTCA"

_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A key (PEM) with its chain: leaf first, then intermediates, without the root."""

    key: Secret
    chain: tuple[str, ...]


def write_secrets(directory: Path, pair: KeyPair, roots: Sequence[str], version: str) -> None:
    """Replace both files. The roots go first, so that a peer under a new root is known by then.

    Raises ``OSError``; what stood there is then still whole. Blocks for the disk.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    validation = {"trusted_ca": {"inline_string": "".join(roots)}}
    certificate = {
        "certificate_chain": {"inline_string": "".join(pair.chain)},
        "private_key": {"inline_string": pair.key.decode()},
    }
    _replace(
        directory,
        ROOTS_FILE,
        _response(version, {"name": ROOTS_SECRET, "validation_context": validation}),
    )
    _replace(
        directory,
        CERTIFICATE_FILE,
        _response(version, {"name": CERTIFICATE_SECRET, "tls_certificate": certificate}),
    )


def write_pem(directory: Path, pair: KeyPair, roots: Sequence[str]) -> None:
    """The same as three files; a reader compares key and certificate before it takes them."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _replace(directory, ROOTS_PEM, "".join(roots).encode())
    _replace(directory, KEY_PEM, bytes(pair.key))
    _replace(directory, CHAIN_PEM, "".join(pair.chain).encode())


def read_key_pair(directory: Path) -> KeyPair | None:
    """What an earlier run wrote, or None if there is nothing sound. Blocks for the disk."""
    try:
        if not (directory / ROOTS_FILE).is_file():
            return None
        response = json.loads((directory / CERTIFICATE_FILE).read_bytes())
        secret = response["resources"][0]["tls_certificate"]
        key = Secret(secret["private_key"]["inline_string"].encode())
        return KeyPair(key, (secret["certificate_chain"]["inline_string"],))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _response(version: str, secret: dict[str, object]) -> bytes:
    response = {"version_info": version, "resources": [{"@type": _TYPE, **secret}]}
    return json.dumps(response, indent=1).encode()


def _replace(directory: Path, name: str, content: bytes) -> None:
    descriptor, scratch = tempfile.mkstemp(dir=directory, prefix=f".{name}.")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(scratch).rename(directory / name)
    except OSError:
        Path(scratch).unlink(missing_ok=True)
        raise
