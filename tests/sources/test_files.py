"""Reading files, directories and standard input; what cannot be read is said, not raised."""

import io
import os
from pathlib import Path

import pytest

from argosy.sources.files import MAX_FILE_BYTES, SourceFile, read_paths


def write(path: Path, text: str | bytes = "kind: X\n") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_a_directory_is_read_recursively_and_sorted(tmp_path: Path) -> None:
    expected = [
        write(tmp_path / "a.yaml"),
        write(tmp_path / "b" / "c.yml"),
        write(tmp_path / "b" / "d" / "e.json", "{}"),
        write(tmp_path / "z.YAML"),
    ]
    for ignored in ("README.md", ".hidden.yaml", ".git/config.yaml", "b/c.yaml~"):
        write(tmp_path / ignored)
    reading = read_paths([str(tmp_path)])
    assert [file.path for file in reading.files] == expected
    assert reading.unreadable == ()


def test_a_file_is_read_whatever_its_name_and_only_once(tmp_path: Path) -> None:
    odd = write(tmp_path / "policy.txt", "kind: Y\n")
    other = write(tmp_path / "a.yaml")
    reading = read_paths([odd, str(tmp_path), other])
    assert reading.files == (SourceFile(odd, "kind: Y\n"), SourceFile(other, "kind: X\n"))


def test_standard_input() -> None:
    reading = read_paths(["-", "-"], io.BytesIO("kind: Ü\n".encode()))
    assert reading.files == (SourceFile("-", "kind: Ü\n"),)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", b"\xef\xbb\xbfkind: X\n")
    assert read_paths([path]).files == (SourceFile(path, "kind: X\n"),)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x7fELF\0\0\1", "binary"),
        (b"name: caf\xe9\n", "not UTF-8 text (byte 9)"),
        (b"#" * (MAX_FILE_BYTES + 1), "larger than 16 MiB"),
        (None, "does not exist"),
    ],
)
def test_what_cannot_be_read_hides_nothing_else(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    bad, good = tmp_path / "bad.yaml", write(tmp_path / "good.yaml")
    if content is not None:
        write(bad, content)
    reading = read_paths([str(bad), good])
    assert [file.path for file in reading.files] == [good]
    (problem,) = reading.unreadable
    assert problem.path == str(bad)
    assert words in problem.message


def test_an_empty_directory_is_mentioned(tmp_path: Path) -> None:
    (problem,) = read_paths([str(tmp_path)]).unreadable
    assert "no .yaml" in problem.message


def test_a_directory_that_links_to_itself_is_read_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.yaml")
    assert [file.path for file in read_paths([str(tmp_path)]).files] == [path]
