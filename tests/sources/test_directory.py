"""Watching a directory, look by look and as an iterator."""

import asyncio
import os
from pathlib import Path

from argosy.sources.directory import DirectoryChange, DirectoryWatch, watch_directory


def names(change: DirectoryChange) -> tuple[list[str], list[str], list[str]]:
    """Changed, unreadable and removed files."""
    return (
        [os.path.basename(file.path) for file in change.changed],
        [os.path.basename(file.path) for file in change.unreadable],
        [os.path.basename(path) for path in change.removed],
    )


def test_the_first_look_reports_everything_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a")
    (tmp_path / "b.yaml").write_bytes(b"\0")
    watch = DirectoryWatch(str(tmp_path))
    assert names(watch.look(settled=False)) == (["a.yaml"], ["b.yaml"], [])
    assert not watch.look()


def test_a_file_is_reported_when_it_stands_still(tmp_path: Path) -> None:
    watch = DirectoryWatch(str(tmp_path))
    watch.look(settled=False)
    for text in ("k", "kind", "kind: X"):  # Being written.
        (tmp_path / "a.yaml").write_text(text)
        assert not watch.look()
    (file,) = watch.look().changed
    assert file.text == "kind: X"
    assert not watch.look()


def test_a_file_that_changes_back_and_forth_in_one_size(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("x")
    watch = DirectoryWatch(str(tmp_path))
    watch.look(settled=False)
    path.write_text("y")
    os.utime(path, ns=(1, 1))
    watch.look()
    assert [file.text for file in watch.look().changed] == ["y"]


def test_removed_and_renamed_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a")
    watch = DirectoryWatch(str(tmp_path))
    watch.look(settled=False)
    (tmp_path / "a.yaml").rename(tmp_path / "b.yaml")
    assert names(watch.look()) == ([], [], ["a.yaml"])
    assert names(watch.look()) == (["b.yaml"], [], [])


async def test_the_iterator_reports_changes(tmp_path: Path) -> None:
    directory = tmp_path / "later"
    watch = watch_directory(str(directory), interval=0.01)
    async with asyncio.timeout(10):
        assert names(await anext(watch)) == ([], [], [])
        directory.mkdir()
        (directory / "a.yaml").write_text("a")
        assert names(await anext(watch)) == (["a.yaml"], [], [])
        (directory / "a.yaml").unlink()
        assert names(await anext(watch)) == ([], [], ["a.yaml"])
