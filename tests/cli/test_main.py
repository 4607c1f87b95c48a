"""Help, versions, completion, and how the program ends."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from argosy import __version__
from argosy.cli import complete

Argosy = Callable[..., Any]


def test_help_is_in_groups(argosy: Argosy) -> None:
    text = argosy("--help").out
    order = ["Run a mesh", "up", "down", "Configure it", "apply", "Look into it", "describe"]
    places = [text.index(f" {word} ") for word in order]
    assert places == sorted(places)


@pytest.mark.parametrize(
    "command",
    [
        "up",
        "down",
        "demo",
        "check",
        "version",
        "apply",
        "delete",
        "wait",
        "status",
        "get",
        "describe",
        "exec",
        "logs",
    ]
    + [
        f"proxy-config {c}"
        for c in ["clusters", "listeners", "routes", "endpoints", "secrets", "bootstrap"]
    ],
)
def test_every_command_has_help(argosy: Argosy, command: str) -> None:
    answer = argosy(*command.split(), "-h")
    assert answer.code == 0
    assert "Usage: argosy" in answer.out


def test_a_command_that_does_not_exist(argosy: Argosy) -> None:
    answer = argosy("appply")
    assert answer.code == 2
    assert "apply" in answer.err


def test_versions(argosy: Argosy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("argosy.cli.version.envoy_version", lambda: "1.39.3")
    assert argosy("version").out == f"argosy {__version__}\nenvoy  1.39.3\n"
    shown = json.loads(argosy("version", "-o", "json").out)
    assert (shown["argosy"], shown["envoy"]) == (__version__, "1.39.3")


def test_a_reader_that_has_seen_enough() -> None:
    """``argosy ... | head``: no complaint, and no trace."""
    read, write = os.pipe()
    os.close(read)
    program = "from argosy.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "-h"], stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert done.stderr == b""


def test_output_that_the_terminal_cannot_show(mesh: Any) -> None:
    """An ASCII terminal gets question marks, no trace."""
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: café}\n"
    mesh.put(text)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from argosy.cli.main import main; main()",
            "get",
            "cm/a",
            "-o",
            "yaml",
        ],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"caf?" in done.stdout


class Context:
    def __init__(self, **params: object) -> None:
        self.params = {"mesh": "default", "namespace": "default", **params}


RULES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec: {hosts: [reviews]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ratings}
spec: {hosts: [ratings]}
"""


def test_completion(mesh: Any) -> None:
    mesh.put(RULES)
    ask: Any = complete.objects
    assert ask(Context(objects=[]), "virt") == ["virtualservice"]
    assert ask(Context(objects=["vs"]), "") == ["ratings", "reviews"]
    assert ask(Context(objects=["vs", "ratings"]), "r") == ["reviews"]
    assert ask(Context(objects=[]), "vs/ra") == ["vs/ratings"]
    assert ask(Context(objects=["vs/ratings"]), "vs/re") == ["vs/reviews"]
    assert ask(Context(objects=["nothing"]), "") == []
    namespaces: Any = complete.namespaces
    assert namespaces(Context(), "i") == ["istio-system"]
    assert complete.meshes("d") == ["default"]


def test_completion_without_a_mesh_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    ask: Any = complete.workloads
    assert ask(Context(), "") == []
    assert ask(Context(mesh="No Mesh"), "") == []
    assert complete.meshes("") == []
    assert capsys.readouterr() == ("", "")


def test_the_shell_s_part_of_completion() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.argv[0] = 'argosy'; from argosy.cli.main import main; main()",
        ],
        env={**os.environ, "_ARGOSY_COMPLETE": "source_bash"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "complete -o default -F _argosy_completion argosy" in done.stdout


@pytest.mark.parametrize(
    ("command", "formats", "known"),
    [
        (("tap",), ("wide", "yaml", "name"), "table or json"),
        (("top",), ("wide", "name"), "table, json or yaml"),
        (("limits",), ("wide", "name"), "table, json or yaml"),
        (("why", "--last"), ("wide", "name"), "table, json or yaml"),
    ],
)
def test_formats_that_a_command_cannot_show_are_refused(
    argosy: Argosy, command: tuple[str, ...], formats: tuple[str, ...], known: str
) -> None:
    for chosen in formats:
        answer = argosy(*command, "-o", chosen)
        assert (answer.code, answer.out) == (2, "")
        assert f"-o {chosen} is not for this command: write {known}" in answer.err
