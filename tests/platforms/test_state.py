import os
import socket
import stat
from pathlib import Path

import pytest

from argosy.platforms.local import state
from argosy.platforms.local.state import AlreadyRunningError, MeshDirectory, MeshNameError


@pytest.fixture(autouse=True)
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARGOSY_STATE_DIR", str(tmp_path))
    return tmp_path


def test_default_place_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARGOSY_STATE_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", "/x")
    assert MeshDirectory.of("m").path == Path("/x/argosy/m")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/u")
    assert MeshDirectory.of("m").path == Path("/home/u/.local/state/argosy/m")


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "-a", "a-", "x" * 43])
def test_bad_names(name: str) -> None:
    with pytest.raises(MeshNameError, match="cannot name a mesh"):
        MeshDirectory.of(name)


def test_only_one_holds_the_lock(parent: Path) -> None:
    directory = MeshDirectory.of("m")
    assert not directory.is_running()
    fd = directory.acquire()
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
    assert directory.is_running()
    with pytest.raises(AlreadyRunningError, match="mesh 'm' is already running: stop it with"):
        MeshDirectory.of("m").acquire()
    os.close(fd)
    assert not directory.is_running()
    os.close(directory.acquire())


def test_long_paths_move_the_sockets(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = parent / ("d" * 90)
    monkeypatch.setenv("ARGOSY_STATE_DIR", str(deep))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(parent)) if len(str(parent)) < 60 else None
    directory = MeshDirectory.of("m")
    assert directory.path == deep / "m"
    assert len(os.fsencode(directory.node_socket)) <= 107
    assert MeshDirectory.of("n").sockets != directory.sockets
    fd = directory.acquire()
    directory.clear()
    assert directory.sockets.is_dir()
    directory.remove()
    os.close(fd)
    assert not directory.sockets.exists()
    assert not directory.path.exists()


def test_clear_keeps_what_is_asked(parent: Path) -> None:
    directory = MeshDirectory.of("m")
    fd = directory.acquire()
    directory.store.write_text("kept")
    directory.node_log.write_text("old")
    unreadable = directory.path / "work"
    (unreadable / "inner").mkdir(parents=True)
    (unreadable / "inner").chmod(0)
    directory.clear(frozenset({"store.db"}))
    assert sorted(p.name for p in directory.path.iterdir()) == ["lock", "store.db"]
    os.close(fd)


def test_private_files(parent: Path) -> None:
    path = parent / "secret"
    path.write_text("old")
    path.chmod(0o644)
    state.write_private(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(parent.iterdir()) == [path]


def test_a_private_socket_is_its_owners_from_the_first_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s"
    path.write_text("what a process left that was killed")
    monkeypatch.setattr(Path, "chmod", lambda *_: pytest.fail("it was open until now"))
    before = os.umask(0o022)
    try:
        with state.private_socket(path), socket.socket(socket.AF_UNIX) as client:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            with pytest.raises(ConnectionRefusedError):
                client.connect(str(path))
        assert os.umask(0o022) == 0o022, "the process's own is as it was"
    finally:
        os.umask(before)
