"""``argosy check``: grouped findings, each failed one with what to do."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from argosy.cli import check
from argosy.platforms.local import isolation

Argosy = Callable[..., Any]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "envoy_version", lambda: "1.39.3")
    monkeypatch.setattr(check, "probe", lambda: (isolation.Finding("namespaces", True, "work"),))


def test_all_is_well(argosy: Argosy) -> None:
    answer = argosy("check")
    assert answer.code == 0
    groups = [line for line in answer.out.splitlines() if line and line[0].isupper()]
    assert groups[:4] == ["Programs", "Machine", "Namespaces", "Ports"]
    assert "failed" not in answer.out
    assert "this machine can run a mesh" in answer.out


def test_what_fails_says_what_to_do(argosy: Argosy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "envoy_version", lambda: None)
    refused = isolation.Finding("namespaces", False, "refused", "Run `sudo ...`")
    monkeypatch.setattr(check, "probe", lambda: (refused,))
    answer = argosy("check")
    assert answer.code == 1
    lines = answer.out.splitlines()
    assert lines[lines.index("  failed namespaces: refused") + 1] == "         Run `sudo ...`"
    assert "2 of 9 checks failed." in answer.out
    found = json.loads(argosy("check", "-o", "json").out)
    assert [f["name"] for f in found if not f["ok"]] == ["Envoy", "namespaces"]
    assert all(bool(f["advice"]) is not f["ok"] for f in found)


def test_a_state_directory_that_cannot_be(
    argosy: Argosy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ARGOSY_STATE_DIR", str(tmp_path / "file" / "below"))
    answer = argosy("check", "--quick")
    assert answer.code == 1
    assert "Choose another with ARGOSY_STATE_DIR." in answer.out


def test_proxies_need_watches_of_files(argosy: Argosy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "_WATCHES", 10**6)
    monkeypatch.setattr(check, "_WORKLOADS", 1)
    answer = argosy("check", "--quick")
    assert answer.code == 1
    assert "sysctl -w fs.inotify.max_user_instances=8192" in answer.out
