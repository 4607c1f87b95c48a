"""The page on security names tests for what it promises; they must be there."""

import ast
import re
from functools import cache

import pytest
from mesh import REPOSITORY

PAGE = REPOSITORY / "docs" / "security.md"
_NAMED = re.compile(r"`(?P<module>[a-z0-9_/]+)::(?P<test>test_[a-z0-9_]+)`")
_BULLETIN = re.compile(r"^\| (?P<name>20\d\d-\d{3}(?:/\d{3})*(?: [A-Z0-9-]+)?)", re.MULTILINE)
TEXT = PAGE.read_text(encoding="utf-8")
NAMED = sorted({(m["module"], m["test"]) for m in _NAMED.finditer(TEXT)})


@cache
def names_in(module: str) -> frozenset[str]:
    tree = ast.parse((REPOSITORY / "tests" / f"{module}.py").read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, functions))


@pytest.mark.parametrize(("module", "test"), NAMED, ids=lambda value: str(value))
def test_a_test_that_is_named_is_there(module: str, test: str) -> None:
    assert test in names_in(module)


def test_every_bulletin_has_a_test_or_a_reason() -> None:
    rows = [line for line in TEXT.splitlines() if _BULLETIN.match(line)]
    assert len(rows) > 50
    for row in rows:
        _, _, _, shown, _ = row.split("|")
        assert _NAMED.search(shown) or shown.strip().startswith("–"), row
