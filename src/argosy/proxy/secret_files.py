"""The files from which Envoy, or gRPC, reads a certificate, its key and the roots it trusts.

Each is a DiscoveryResponse in JSON with one Secret, mode 0600, replaced by a rename inside the
directory that Envoy watches. https://www.envoyproxy.io/docs/envoy/latest/configuration/security/secret
"""

import json
import os
import tempfile
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from argosy.base.log import Secret

CHAIN_PEM = "cert-chain.pem"
KEY_PEM = "key.pem"
ROOTS_PEM = "root-cert.pem"
"""The same in PEM, for those that do not read Envoy's form; the names are Istio's."""

CONTROL_PLANE_PEM = "control-plane.pem"
"""The roots by which the control plane is known, which are not those of peers where others sign."""

CERTIFICATE_FILE = "default.json"
ROOTS_FILE = "root.json"
CONTROL_PLANE_FILE = "control-plane.json"
CERTIFICATE_SECRET = "default"
ROOTS_SECRET = "ROOTCA"
CONTROL_PLANE_SECRET = "control-plane"
"""The roots of the mesh alone: those of other meshes shall not speak for the control plane."""

_FILES = {CONTROL_PLANE_SECRET: CONTROL_PLANE_FILE, ROOTS_SECRET: ROOTS_FILE}
_VALIDATOR = "envoy.tls.cert_validator.spiffe"
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
_TYPE = f"{_TLS}.Secret"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A key (PEM) with its chain: leaf first, then intermediates, then the root.

    ``signer`` is the name of who signed, empty for the mesh itself.
    """

    key: Secret
    chain: tuple[str, ...]
    signer: str = ""


@dataclass(frozen=True, slots=True)
class Roots:
    """Whom to trust, PEM. ``version`` names the set that this is taken from.

    ``own`` are the mesh's, by which the control plane is known. ``domains`` are trust domains with
    the roots that may speak for each, ``trust_domain`` is the mesh's among them; without any, ``own``
    speak for whatever they signed. ``crl`` holds for ``own`` in a mesh without ``domains``: Envoy's
    SPIFFE validator knows no revocation.
    """

    version: str
    own: str
    crl: str = ""
    domains: tuple[tuple[str, str], ...] = ()
    trust_domain: str = ""

    @property
    def of_peers(self) -> str:
        """Those that may speak for the mesh's own trust domain; empty: none may."""
        return dict(self.domains).get(self.trust_domain, "") if self.domains else self.own


def write_roots(directory: Path, roots: Roots) -> None:
    """Replace the files that say whom to trust. Raises ``OSError``; blocks for the disk."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, secret in _secrets_of(roots).items():
        _replace(directory, _FILES[name], _response(_version(secret), secret))


def versions_of(roots: Roots) -> dict[str, str]:
    """The version of each secret in these files.

    By its content: Envoy goes on to tell the old version of one that is as it was.
    """
    return {name: _version(secret) for name, secret in _secrets_of(roots).items()}


def _secrets_of(roots: Roots) -> dict[str, dict[str, object]]:
    own: dict[str, object] = {"trusted_ca": {"inline_string": roots.own}}
    if roots.crl:
        own["crl"] = {"inline_string": roots.crl}
    peers = {"custom_validator_config": _by_domain(roots)} if roots.domains else own
    return {
        CONTROL_PLANE_SECRET: {"name": CONTROL_PLANE_SECRET, "validation_context": own},
        ROOTS_SECRET: {"name": ROOTS_SECRET, "validation_context": peers},
    }


def _version(secret: dict[str, object]) -> str:
    return blake2b(json.dumps(secret).encode(), digest_size=8).hexdigest()


def write_certificate(directory: Path, pair: KeyPair, version: str) -> None:
    """Replace the file of the certificate and its key. Raises ``OSError``; blocks for the disk."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    certificate = {
        "certificate_chain": {"inline_string": "".join(pair.chain)},
        "private_key": {"inline_string": pair.key.decode()},
    }
    _replace(
        directory,
        CERTIFICATE_FILE,
        _response(
            version, {"name": CERTIFICATE_SECRET, "tls_certificate": certificate}, pair.signer
        ),
    )


def write_pem_roots(directory: Path, roots: Roots) -> None:
    """Whom readers of PEM shall trust: as peers those of this mesh, whoever signs for them.

    Not those of other meshes: such a reader trusts each root for every name, so another mesh could sign
    identities of this one.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _replace(directory, CONTROL_PLANE_PEM, roots.own.encode())
    _replace(directory, ROOTS_PEM, roots.of_peers.encode())


def write_pem(directory: Path, pair: KeyPair) -> None:
    """The certificate as two files; a reader compares the two before it takes them."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
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
        signer = response.get("control_plane", {}).get("identifier", "")
        return KeyPair(key, (secret["certificate_chain"]["inline_string"],), signer)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _by_domain(roots: Roots) -> dict[str, object]:
    """https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/transport_sockets/tls/v3/tls_spiffe_validator_config.proto"""
    return {
        "name": _VALIDATOR,
        "typed_config": {
            "@type": f"{_TLS}.SPIFFECertValidatorConfig",
            "trust_domains": [
                {"name": name, "trust_bundle": {"inline_string": text}}
                for name, text in roots.domains
            ],
        },
    }


def _response(version: str, secret: dict[str, object], source: str = "") -> bytes:
    """``source`` is who answers, which Envoy does not look at."""
    response: dict[str, object] = {"version_info": version}
    if source:
        response["control_plane"] = {"identifier": source}
    response["resources"] = [{"@type": _TYPE, **secret}]
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
