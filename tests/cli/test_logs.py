"""Logs that are appended to, emptied, replaced and removed while they are read."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from argosy.cli.logs import LogFile

Argosy = Callable[..., Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_lines_as_they_come(path: Path) -> None:
    append(path, "a\nb\nunfin")
    log = LogFile(path)
    assert log.last(-1) == [b"a\n", b"b\n"]
    assert log.rest == b"unfin"
    append(path, "ished\nc\n")
    assert log.more() == [b"unfinished\n", b"c\n"]
    assert log.more() == []


def test_the_last_lines(path: Path) -> None:
    append(path, "a\nb\nc\n")
    assert LogFile(path).last(2) == [b"b\n", b"c\n"]
    assert LogFile(path).last(0) == []


def test_a_file_that_was_emptied_goes_on(path: Path) -> None:
    """As the node does with one that has grown too large: a copy beside it, then length 0."""
    append(path, "old 1\nold 2\n")
    log = LogFile(path)
    log.last(-1)
    path.with_name("app.log.1").write_bytes(path.read_bytes())
    os.truncate(path, 0)
    append(path, "new\n")
    assert log.more() == [b"new\n"]
    assert LogFile(path).last(-1) == [b"old 1\n", b"old 2\n", b"new\n"]


def test_a_file_that_was_replaced_is_read_to_its_end_first(path: Path) -> None:
    append(path, "a\n")
    log = LogFile(path)
    log.last(-1)
    append(path, "b\n")
    path.rename(path.with_name("moved"))
    append(path, "c\n")
    assert log.more() == [b"b\n", b"c\n"]


def test_a_file_that_is_removed_and_comes_again(path: Path) -> None:
    append(path, "a\n")
    log = LogFile(path)
    log.last(-1)
    append(path, "b\n")
    path.unlink()
    assert log.is_gone
    assert log.more() == [b"b\n"]
    append(path, "c\n")
    assert not log.is_gone
    assert log.more() == [b"c\n"]


POD = """
apiVersion: v1
kind: Pod
metadata: {name: web-1, labels: {app: web}}
spec: {containers: [{name: web, image: any}, {name: helper, image: any}]}
status:
  containerStatuses: [{name: web, state: {waiting: {reason: ErrImageNeverPull, message: no command}}}]
"""


@pytest.fixture
def web(mesh: Any) -> Path:
    mesh.put(POD)
    logs: Path = mesh.directory.pod("default", "web-1") / "logs"
    logs.mkdir(parents=True)
    return logs


def test_logs_of_containers(web: Path, argosy: Argosy) -> None:
    append(web / "helper.log", "1\n2\nlast without end")
    append(web / "envoy.log", "from the proxy\n")
    assert argosy("logs", "web-1", "-c", "helper").out == "1\n2\nlast without end\n"
    assert argosy("logs", "web-1", "-c", "helper", "--tail", "1").out == "2\nlast without end\n"
    assert argosy("logs", "web-1", "-c", "istio-proxy").out == "from the proxy\n"
    led = argosy("logs", "-l", "app=web", "-c", "helper", "--tail", "1")
    assert led.out == "[web-1] 2\n[web-1] last without end\n"


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("web-1", "-c", "none"), 3, "Containers: web, helper, istio-proxy"),
        (("web-1",), 1, "ErrImageNeverPull: no command"),
        (("-l", "app=none"), 3, "has the labels app=none"),
        ((), 2, "a WORKLOAD, or -l LABELS"),
        (("web-1", "-l", "app=web"), 2, "a WORKLOAD, or -l LABELS"),
    ],
)
def test_no_log(web: Path, argosy: Argosy, args: tuple[str, ...], code: int, said: str) -> None:
    answer = argosy("logs", *args)
    assert (answer.code, answer.out) == (code, "")
    assert said in answer.err
