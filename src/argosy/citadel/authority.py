"""The mesh's certificate authority on disk, and the change to another one.

``current`` holds the authority in force, in files with the names of Istio's ``cacerts`` (``issuer``
has them). A root that was made here has its own key beside them, ``root-key.pem``, which signs
intermediates and nothing else. ``token-key.pem`` signs the workload tokens.

While the root is being rotated, ``next`` holds the coming authority in the same way, and the file
``rotation`` the step that has been reached. Every change is a rename, so that whoever starts after an
interruption finds one step or the next, never a mixture.
"""

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from argosy.base.names import TrustDomain
from argosy.citadel.files import SecretFileError, read_public, read_secret, write_new
from argosy.citadel.issuer import (
    CA_KEY,
    FILES,
    AuthorityError,
    Issuer,
    files_of,
    issuer_from,
    self_made,
)
from argosy.citadel.rotation import Step
from argosy.citadel.signer import (
    Authority,
    SigningKey,
    create_intermediate,
    create_root,
    empty_revocations,
    private_pem,
)

CURRENT = "current"
NEXT = "next"
ROTATION = "rotation"
ROOT_KEY = "root-key.pem"
TOKEN_KEY = "token-key.pem"
_FINISH = "finish"


@dataclass(frozen=True, slots=True)
class Kept:
    """What is on the disk. ``step`` and ``coming`` are both there or both not."""

    current: Issuer
    coming: Issuer | None = None
    step: Step | None = None


class AuthorityDirectory:
    """The files of one mesh's authority. Methods block for the disk and raise ``AuthorityError``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def load_or_create(
        self, trust_domain: TrustDomain, now: datetime, plugged: Issuer | None = None
    ) -> Kept:
        """What is there; where nothing is, ``plugged``, or a new root with an intermediate.

        Creation is atomic: two processes that start at once end up with the same authority.
        """
        require_private_directory(self._directory)
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._step_text() and not (self._directory / CURRENT).exists():
            files = _made(trust_domain, now) if plugged is None else _files(plugged)
            with contextlib.suppress(FileExistsError):  # another process was first
                self._put(CURRENT, files)
        return self.load(now)

    def load(self, now: datetime) -> Kept:
        """Read and verify it. A rotation whose end was interrupted is ended first."""
        text = self._step_text()
        if text == _FINISH:
            self._end()
            text = ""
        current = load(self._directory / CURRENT, now)
        if not text:
            shutil.rmtree(self._directory / NEXT, ignore_errors=True)  # prepared, never begun
            return Kept(current)
        try:
            step = Step(text)
        except ValueError as error:
            raise AuthorityError(f"{self._directory / ROTATION} holds no step: {text!r}") from error
        return Kept(current, load(self._directory / NEXT, now), step)

    def prepare(self, trust_domain: TrustDomain, now: datetime, *, listed: bool = False) -> Issuer:
        """A new root as the coming authority; ``reach`` makes the rotation to it begin.

        ``listed``: with revocation lists, which revoke nothing.
        """
        return self._prepare(_made(trust_domain, now, listed=listed), now)

    def prepare_plugged(self, plugged: Issuer, now: datetime) -> Issuer:
        """The same with an authority that was made elsewhere."""
        return self._prepare(_files(plugged), now)

    def prepare_intermediate(self, trust_domain: TrustDomain, now: datetime) -> Issuer | None:
        """The same with a new intermediate of our own root; None under a root of others."""
        path = self._directory / CURRENT / ROOT_KEY
        if not path.exists():
            return None
        current = load(self._directory / CURRENT, now)
        root = Authority(_key(path), (current.authority.root,))
        renewed = Issuer(create_intermediate(root, trust_domain, now), current.roots)
        if current.crl:
            renewed = _listed(renewed, root, now)
        return self._prepare({**_files(renewed), ROOT_KEY: private_pem(root.key)}, now)

    def prepare_revocations(self, now: datetime) -> Issuer | None:
        """The same authority with lists that revoke nothing; None under a root of others."""
        path = self._directory / CURRENT / ROOT_KEY
        if not path.exists():
            return None
        current = load(self._directory / CURRENT, now)
        root = Authority(_key(path), (current.authority.root,))
        listed = _listed(current, root, now)
        return self._prepare({**_files(listed), ROOT_KEY: private_pem(root.key)}, now)

    def reach(self, step: Step) -> None:
        """Remember the step, before anything is done for it."""
        self._write(ROTATION, step.value.encode())

    def finish(self) -> None:
        """The coming authority is the one in force; the keys of the old are gone."""
        self._write(ROTATION, _FINISH.encode())
        self._end()

    def _end(self) -> None:
        """Begins anew wherever it was interrupted."""
        if (self._directory / NEXT).exists():
            shutil.rmtree(self._directory / CURRENT, ignore_errors=True)
            (self._directory / NEXT).rename(self._directory / CURRENT)
        (self._directory / ROTATION).unlink(missing_ok=True)

    def _prepare(self, files: Mapping[str, bytes], now: datetime) -> Issuer:
        shutil.rmtree(self._directory / NEXT, ignore_errors=True)
        self._put(NEXT, files)
        return load(self._directory / NEXT, now)

    def _put(self, name: str, files: Mapping[str, bytes]) -> None:
        scratch = Path(tempfile.mkdtemp(dir=self._directory, prefix=f".{name}-"))  # mode 0700
        try:
            for file, content in files.items():
                write_new(scratch, file, content)
            scratch.rename(self._directory / name)  # never replaces a full directory
        except OSError as error:
            shutil.rmtree(scratch, ignore_errors=True)
            if (self._directory / name).is_dir():
                raise FileExistsError(error.errno, "exists", name) from error
            raise

    def _step_text(self) -> str:
        try:
            return (self._directory / ROTATION).read_text().strip()
        except FileNotFoundError:
            return ""

    def _write(self, name: str, content: bytes) -> None:
        with tempfile.TemporaryDirectory(dir=self._directory, prefix=".write-") as scratch:
            write_new(Path(scratch), name, content)
            Path(scratch, name).replace(self._directory / name)


def load(directory: Path, now: datetime) -> Issuer:
    """Read and verify a directory of ``cacerts`` files. Raises ``AuthorityError``."""
    require_private_directory(directory)
    files: dict[str, bytes] = {}
    try:
        for name in FILES:
            path = directory / name
            if path.exists():
                files[name] = read_secret(path) if name == CA_KEY else read_public(path)
    except (SecretFileError, OSError) as error:
        raise AuthorityError(f"the certificate authority cannot be read: {error}") from error
    return issuer_from(files, str(directory), now)


def load_or_create_token_key(directory: Path) -> ec.EllipticCurvePrivateKey:
    """The P-256 key that signs workload tokens."""
    path = directory / TOKEN_KEY
    require_private_directory(directory)
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".token-key-") as scratch:
            new = ec.generate_private_key(ec.SECP256R1())
            write_new(Path(scratch), TOKEN_KEY, private_pem(new))
            # If another process was first, its key counts.
            with contextlib.suppress(FileExistsError):
                os.link(Path(scratch, TOKEN_KEY), path)
    key = _key(path)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise AuthorityError(f"{path}: workload tokens are signed with a P-256 key")
    return key


def require_private_directory(directory: Path) -> None:
    """Raises ``AuthorityError`` for one that is open to others; a missing one is none."""
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


def _made(trust_domain: TrustDomain, now: datetime, *, listed: bool = False) -> dict[str, bytes]:
    root = create_root(trust_domain, now)
    issuer = self_made(create_intermediate(root, trust_domain, now))
    if listed:
        issuer = _listed(issuer, root, now)
    return {**_files(issuer), ROOT_KEY: private_pem(root.key)}


def _listed(issuer: Issuer, root: Authority, now: datetime) -> Issuer:
    crl = empty_revocations(root, now) + empty_revocations(issuer.authority, now)
    return Issuer(issuer.authority, issuer.roots, crl)


def _files(issuer: Issuer) -> dict[str, bytes]:
    return {**files_of(issuer), CA_KEY: private_pem(issuer.authority.key)}


def _key(path: Path) -> SigningKey:
    try:
        key = serialization.load_pem_private_key(read_secret(path), password=None)
    except SecretFileError as error:
        raise AuthorityError(f"a private key cannot be read: {error}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Without the cause: it must not carry a part of the key into a log.
        raise AuthorityError(f"{path} holds no unencrypted PEM private key") from None
    if not isinstance(key, SigningKey):
        raise AuthorityError(f"{path}: only ECDSA and RSA keys work with Envoy")
    return key
