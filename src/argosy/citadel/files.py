"""Secret files: written whole or not at all, readable by their owner alone."""

import os
import stat
from pathlib import Path

MAXIMUM_SIZE = 1_048_576
"""Bytes of a file with keys or certificates."""


class SecretFileError(Exception):
    """A file that cannot be trusted or read; the message says which and what to do."""


def write_new(directory: Path, name: str, content: bytes) -> None:
    """Write a file that must not exist yet, mode 0600, and have it on the disk."""
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW
    descriptor = os.open(directory / name, flags, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def read_secret(path: Path) -> bytes:
    """Read a private key's file. Refuses one that others may read, or that another user owns."""
    return _read(path, private=True)


def read_public(path: Path) -> bytes:
    """Read a certificate's file. Refuses one that others may write."""
    return _read(path, private=False)


def _read(path: Path, *, private: bool) -> bytes:
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            content = file.read(MAXIMUM_SIZE + 1)
    except OSError as error:
        raise SecretFileError(f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode):
        raise SecretFileError(f"{path} is not a regular file")
    if found.st_uid not in (os.geteuid(), 0):
        raise SecretFileError(f"{path} belongs to another user (uid {found.st_uid})")
    if private and found.st_mode & 0o077:
        raise SecretFileError(
            f"{path} is a private key that others may read (mode {stat.S_IMODE(found.st_mode):o}): "
            f"take it as disclosed, or if not, run chmod 600 {path}"
        )
    if found.st_mode & 0o022:
        raise SecretFileError(f"{path} can be written by others: run chmod go-w {path}")
    if len(content) > MAXIMUM_SIZE:
        raise SecretFileError(f"{path} is larger than {MAXIMUM_SIZE} bytes")
    return content
