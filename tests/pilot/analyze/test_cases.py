"""One file per code: objects of which some are told, at a field and a line, and others are not.

A line ``# IST0101`` behind a field says that this code is told there, and nowhere else. The file's
name is its code; a file ``IST0101-gateway.yaml`` is another case of it. Expectations come from
Istio's documentation of the code. The mesh has the ingress gateway of ``argosy up``.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from argosy.api.decode import decode_yaml
from argosy.api.located import LocatedProblem
from argosy.api.registry import BY_KIND
from argosy.base.problems import Severity
from argosy.cli.analyze import default_mesh
from argosy.pilot.analyze.codes import BY_ID, CODES
from argosy.pilot.analyze.messages import Message, message, schema_message
from argosy.pilot.analyze.trial import TrialMesh

FOLDER = Path(__file__).parent / "cases"
CASES = sorted(FOLDER.glob("*.yaml"))
MARK = re.compile(r"# ((?:IST\d{4} ?)+)$")
KINDS_TO_COME = frozenset({"Sidecar", "EnvoyFilter", "ServiceEntry", "StatefulSet"}) - set(BY_KIND)
"""Kinds that are not read yet: what is told of them has no case."""
ELSEWHERE = frozenset({"IST0150"})
"""Codes of which a test of its own follows, for their objects are told more than the code."""


def analyze(text: str, file: str = "case.yaml", *, alpha: bool = False) -> list[Message]:
    """All that is said of the objects of a text."""
    decoded = decode_yaml(text, file)
    trial = TrialMesh(default_mesh(), decoded.objects, runs=False)
    keys = [value.key for value in decoded.objects]
    return [
        *(schema_message(problem) for problem in decoded.problems),
        *(message(found, trial.written) for found in trial.analyze(keys, alpha=alpha)),
    ]


def expected(text: str) -> set[tuple[str, int]]:
    return {
        (code, number)
        for number, line in enumerate(text.splitlines(), 1)
        if (mark := MARK.search(line))
        for code in mark[1].split()
    }


def told(messages: Iterable[Message]) -> set[tuple[str, int]]:
    return {(m.code, m.line or 0) for m in messages}


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path: Path) -> None:
    code = path.stem.partition("-")[0]
    text = path.read_text()
    wanted = expected(text)
    assert code in {found for found, _ in wanted}, "a case shows its own code"
    messages = analyze(text, path.name, alpha=code == "IST0136")
    assert told(messages) == wanted, "\n".join(map(str, messages))
    for each in messages:
        known = BY_ID[each.code]
        assert (each.level, each.name) == (known.level, known.name), each
        assert each.object is not None, each
        assert each.object.kind in known.kinds or known.kinds == ("any",), each
        assert each.reference.startswith(f"{path.name}:"), each
        assert each.text, each
    objects = {value.key for value in decode_yaml(text, "").objects}
    assert objects - {m.object for m in messages if m.code == code}, "and objects that are right"


def test_every_code_has_a_case() -> None:
    shown = {path.stem.partition("-")[0] for path in CASES}
    known = {code.id for code in CODES if not KINDS_TO_COME.issuperset(code.kinds)}
    assert sorted(known - shown - ELSEWHERE) == []
    assert sorted(shown - known) == []


def test_codes_are_in_order_and_told_apart() -> None:
    assert [code.id for code in CODES] == sorted({code.id for code in CODES})
    names = [name for code in CODES for name in (code.name, *code.problems)]
    assert len(names) == len(set(names))


def test_ports_of_external_names() -> None:
    text = """\
apiVersion: v1
kind: Service
metadata: {name: db}
spec:
  type: ExternalName
  externalName: db.example.com
  ports:
  - {name: tcp, port: 5432}
  - {name: tls-db, port: 5433}
  - {port: 8443}
"""
    assert {t for t in told(analyze(text)) if t[0] == "IST0150"} == {
        ("IST0150", 8),
        ("IST0150", 10),
    }


def test_what_is_wrong_with_a_file_alone_has_its_own_name() -> None:
    (found,) = analyze("a: [")
    assert (found.object, found.level, found.line) == (None, Severity.ERROR, 2)
    problem = LocatedProblem("f.yaml", None, None, "", "EmptyFile", "it is empty")
    assert str(schema_message(problem)) == "Error [EmptyFile] (f.yaml) it is empty"
