"""The mesh's certificate authority on disk.

The files carry the names of Istio's ``cacerts`` secret, so a CA made for Istio can be put there:
``ca-key.pem``, ``ca-cert.pem``, ``root-cert.pem`` and, between the two, ``cert-chain.pem``.
https://istio.io/latest/docs/tasks/security/cert-management/plugin-ca-cert/
``token-key.pem`` beside them signs the workload tokens.
"""

import contextlib
import os
import shutil
import stat
import tempfile
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from argosy.base.names import TrustDomain
from argosy.citadel.files import SecretFileError, read_public, read_secret, write_new
from argosy.citadel.signer import Authority, SigningKey, create_root, pem, private_pem

CA_KEY = "ca-key.pem"
CA_CERTIFICATE = "ca-cert.pem"
ROOT = "root-cert.pem"
CHAIN = "cert-chain.pem"
TOKEN_KEY = "token-key.pem"


class AuthorityError(Exception):
    """The authority on disk cannot be used; the message says why and what to do."""


def load_or_create(directory: Path, trust_domain: TrustDomain, now: datetime) -> Authority:
    """The authority in ``directory``; a new root if the directory is missing or empty.

    Creation is atomic: two processes that start at once end up with the same authority.
    """
    _require_private_directory(directory)
    if not _holds_anything(directory):
        _create(directory, create_root(trust_domain, now))
    return load(directory, now)


def load(directory: Path, now: datetime) -> Authority:
    """Read and verify an authority: the key, its certificate, and the chain up to the root."""
    try:
        certificate = _certificates(directory / CA_CERTIFICATE)[0]
        root = _certificates(directory / ROOT)[0]
        chain_file = directory / CHAIN
        between = _certificates(chain_file) if chain_file.exists() else []
        key = _key(directory / CA_KEY)
    except SecretFileError as error:
        raise AuthorityError(
            f"the certificate authority cannot be read: {error}. Restore the file, or remove "
            f"{directory} for a new authority, which every workload must then be restarted for"
        ) from error
    middle = [each for each in between if each not in (certificate, root)]
    last = () if certificate == root else (root,)
    authority = Authority(key, (certificate, *middle, *last))
    _verify(authority, directory, now)
    return authority


def load_or_create_token_key(directory: Path) -> ec.EllipticCurvePrivateKey:
    """The P-256 key that signs workload tokens."""
    path = directory / TOKEN_KEY
    _require_private_directory(directory)
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".token-key-") as scratch:
            new = ec.generate_private_key(ec.SECP256R1())
            write_new(Path(scratch), TOKEN_KEY, private_pem(new))
            # If another process was first, its key counts.
            with contextlib.suppress(FileExistsError):
                os.link(Path(scratch, TOKEN_KEY), path)
    try:
        key = _key(path)
    except SecretFileError as error:
        raise AuthorityError(f"the key of workload tokens cannot be read: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise AuthorityError(f"{path}: workload tokens are signed with a P-256 key")
    return key


def _create(directory: Path, authority: Authority) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=directory.parent, prefix=".ca-"))  # mode 0700
    certificate = pem(authority.certificate).encode()
    try:
        write_new(scratch, CA_KEY, private_pem(authority.key))
        write_new(scratch, CA_CERTIFICATE, certificate)
        write_new(scratch, ROOT, certificate)
        scratch.rename(directory)  # replaces an empty directory, never a full one
    except OSError:
        shutil.rmtree(scratch, ignore_errors=True)
        if not _holds_anything(directory):
            raise
        # Another process was first: its authority counts.


def _holds_anything(directory: Path) -> bool:
    return directory.is_dir() and any(directory.iterdir())


def _require_private_directory(directory: Path) -> None:
    try:
        mode = directory.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(mode):
        raise AuthorityError(f"{directory} is not a directory: move it away")
    if mode & 0o077:
        raise AuthorityError(
            f"{directory} holds private keys and is open to others "
            f"(mode {stat.S_IMODE(mode):o}): run chmod 700 {directory}"
        )


def _key(path: Path) -> SigningKey:
    content = read_secret(path)
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Without the cause: it must not carry a part of the key into a log.
        raise SecretFileError(f"{path} holds no unencrypted PEM private key") from None
    if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        raise SecretFileError(f"{path}: only ECDSA and RSA keys work with Envoy")
    return key


def _certificates(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(read_public(path))
    except ValueError as error:
        raise SecretFileError(f"{path} holds no PEM certificates: {error}") from error


def _verify(authority: Authority, directory: Path, now: datetime) -> None:
    if authority.certificate.public_key() != authority.key.public_key():
        raise AuthorityError(f"{directory / CA_KEY} is not the key of {CA_CERTIFICATE}")
    issuers = (*authority.certificates[1:], authority.root)
    for certificate, issuer in zip(authority.certificates, issuers, strict=True):
        name = certificate.subject.rfc4514_string()
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise AuthorityError(
                f"{directory}: {name} is not signed by {issuer.subject.rfc4514_string()}; "
                f"{CHAIN} must lead from {CA_CERTIFICATE} to {ROOT}"
            ) from error
        if not _may_sign(certificate):
            raise AuthorityError(f"{directory}: {name} is no authority's certificate")
        if certificate.not_valid_after_utc <= now:
            raise AuthorityError(
                f"{directory}: {name} expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
            )


def _may_sign(certificate: x509.Certificate) -> bool:
    """Whether it is a CA that carries the key identifier which its leaves refer to."""
    extensions = certificate.extensions
    try:
        extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        return extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
