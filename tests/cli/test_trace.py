"""``argosy trace``: what is asked of Mixer, and what is said of its answer."""

import json
from typing import Any

import pytest

from argosy.cli import trace as command
from argosy.cli.client import CliError
from argosy.cli.output import Format
from argosy.mixer.traces import answers
from argosy.mixer.traces.store import Query, TraceStore
from argosy.testing.spans import span


class Mixer:
    """In the place of the API's client, with a real store."""

    def __init__(self) -> None:
        self.store = TraceStore()
        self.asked: dict[str, str] = {}

    def __call__(self, _mesh: str) -> "Mixer":
        return self

    def __enter__(self) -> "Mixer":
        return self

    def __exit__(self, *_: object) -> None:
        return

    def get(self, path: str, **params: str) -> dict[str, Any]:
        self.asked = params
        if path == "/mixer/traces":
            found = self.store.search(Query(limit=int(params["limit"])))
            return {
                "traces": [answers.summary(one) for one in found],
                "kept": answers.counts(self.store.counts),
            }
        one = self.store.find(path.rpartition("/")[2])
        assert one is not None
        return answers.trace(*one)


@pytest.fixture
def mixer(monkeypatch: pytest.MonkeyPatch) -> Mixer:
    found = Mixer()
    monkeypatch.setattr(command, "ApiClient", found)
    return found


def test_what_is_asked_of_the_control_planes_own(
    mixer: Mixer, capsys: pytest.CaptureFixture[str]
) -> None:
    command.trace(control_plane=True, last=1)
    assert mixer.asked == {"limit": "1", "controlPlane": "true"}
    assert "no trace of a change" in capsys.readouterr().err
    with pytest.raises(CliError, match="--control-plane"):
        command.trace("abcd", control_plane=True)


def test_nothing_yet_says_how_to_switch_it_on(
    mixer: Mixer, capsys: pytest.CaptureFixture[str]
) -> None:
    command.trace()
    said = capsys.readouterr()
    assert said.out == ""
    assert "tracing: [{randomSamplingPercentage: 100}]" in said.err
    assert mixer.asked == {"limit": "10"}


def test_a_list_that_was_narrowed_to_nothing_says_so(
    mixer: Mixer, capsys: pytest.CaptureFixture[str]
) -> None:
    def search(_query: Query) -> list[Any]:
        return []

    mixer.store.add([span(1)])
    mixer.store.search = search  # type: ignore[method-assign]  # as if none were like that
    command.trace(errors=True, service="x", least=2.5, slow=True, last=3)
    assert "None of the 1 traces" in capsys.readouterr().err
    assert mixer.asked == {
        "limit": "3",
        "slow": "true",
        "errors": "true",
        "service": "x",
        "minMillis": "2.5",
    }


def test_a_list_and_one_of_it(mixer: Mixer, capsys: pytest.CaptureFixture[str]) -> None:
    mixer.store.add([span(1, trace=0xABCDEF << 104), span(2, 1, trace=0xABCDEF << 104)])
    command.trace()
    said = capsys.readouterr()
    assert "abcdef000000" in said.out
    assert said.err == "One of them: argosy trace abcdef000000\n"
    command.trace("abcdef000000")
    assert "2 spans" in capsys.readouterr().out
    command.trace("abcdef000000", output=Format.NAME)
    assert capsys.readouterr().out == f"abcdef{'0' * 26}\n"
    command.trace(output=Format.JSON)
    assert json.loads(capsys.readouterr().out)["kept"]["spans"] == 2


def test_one_trace_cannot_be_narrowed(mixer: Mixer) -> None:
    with pytest.raises(CliError, match="are for lists"):
        command.trace("abcd", slow=True)
