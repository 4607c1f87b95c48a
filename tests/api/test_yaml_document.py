import pytest

from argosy.api.yaml_document import (
    MAX_ALIASED_NODES,
    MAX_DEPTH,
    Document,
    YamlError,
    documents,
)


def only(text: str) -> Document:
    (document,) = documents(text)
    assert isinstance(document, Document), document
    return document


def error(text: str) -> YamlError:
    (problem,) = documents(text)
    assert isinstance(problem, YamlError)
    return problem


def test_fields_have_lines() -> None:
    document = only("# a comment\n\na: 1\nb:\n  - x\n  - c: 2\n    d.e/f: 3\n")
    assert document.line == 3
    assert document.data == {"a": 1, "b": ["x", {"c": 2, "d.e/f": 3}]}
    assert document.lines == {
        "a": 3,
        "b": 4,
        "b[0]": 5,
        "b[1]": 6,
        "b[1].c": 6,
        'b[1]["d.e/f"]': 7,
    }


def test_documents_count_lines_from_the_beginning_of_the_file() -> None:
    first, second = documents("---\na: 1\n---\n# note\nb: 2\n---\n")
    assert isinstance(first, Document)
    assert isinstance(second, Document)
    assert (first.lines, second.lines) == ({"a": 2}, {"b": 5})
    assert second.line == 5


@pytest.mark.parametrize("text", ["", "\n", "---\n", "# only\n# comments\n", "---\n---\n...\n", "%YAML 1.1\n---\n"])  # fmt: skip
def test_nothing_is_no_document(text: str) -> None:
    assert [d for d in documents(text) if not (isinstance(d, Document) and d.data is None)] == []


def test_windows_line_ends_and_content_on_the_marker() -> None:
    first, second = documents("--- {a: 1}\r\n---\r\nb: 2\r\n")
    assert isinstance(first, Document)
    assert isinstance(second, Document)
    assert (first.data, second.data, second.lines["b"]) == ({"a": 1}, {"b": 2}, 3)


def test_keys_become_text() -> None:
    assert only("80: a\ntrue: b\n").data == {"80": "a", "true": "b"}


def test_quoted_and_block_scalars_are_text() -> None:
    assert only("a: '80'\nb: |\n  true\nc: !!str 5\n").data == {"a": "80", "b": "true\n", "c": "5"}


def test_duplicate_keys_are_told_with_both_lines() -> None:
    document = only("a:\n  b: 1\n  c: 2\n  b: 3\n")
    (problem,) = document.problems
    assert (problem.line, problem.path, problem.code) == (4, "a.b", "DuplicateKey")
    assert "line 2" in problem.message


def test_anchors_and_merges() -> None:
    text = "base: &base {x: 1, y: 2}\nnew:\n  <<: *base\n  y: 3\nlist: [*base]\n"
    assert only(text).data == {
        "base": {"x": 1, "y": 2},
        "new": {"x": 1, "y": 3},
        "list": [{"x": 1, "y": 2}],
    }


def test_a_bad_document_does_not_hide_the_next() -> None:
    bad, good = documents("a: [1\n---\nb: 2\n")
    assert isinstance(bad, YamlError)
    assert isinstance(good, Document)
    assert good.data == {"b": 2}


@pytest.mark.parametrize(
    ("text", "line", "code", "words"),
    [
        ("a: b\n\tc: d\n", 2, "InvalidYaml", "tab"),
        ("a: b: c\n", 1, "InvalidYaml", "':'"),
        ("a:\n  - b\n c: d\n", 3, "InvalidYaml", "not YAML"),
        ("a: 'open\n", 2, "InvalidYaml", "quote"),
        ("a: {b: c\n", 2, "InvalidYaml", "not closed"),
        ("a: \x01\n", 1, "InvalidYaml", "characters"),
        ("a: *nowhere\n", 1, "UnknownAlias", "nowhere"),
        ("a: &x [*x]\n", 1, "UnknownAlias", "before it"),
        ("? [a]\n: b\n", 1, "InvalidKey", "key"),
        ("a: !!python/object:os.system x\n", 1, "UnsupportedTag", "python"),
        ("a: !!binary aGk=\n", 1, "UnsupportedTag", "binary"),
        ("<<: 3\n", 1, "InvalidMerge", "merges"),
        ("[" * (MAX_DEPTH + 1), 1, "TooDeep", "deeper"),
    ],
)
def test_what_is_refused(text: str, line: int, code: str, words: str) -> None:
    problem = error(text)
    assert (problem.line, problem.code) == (line, code)
    assert words in problem.message


def test_a_billion_laughs_are_refused_before_they_expand() -> None:
    levels = ["l0: &l0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    levels += [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 12)]
    problem = error("\n".join(levels))
    assert problem.code == "TooManyAliases"
    assert str(MAX_ALIASED_NODES) in problem.message


def test_a_huge_document_is_refused() -> None:
    assert error("a: b\n" * 1_000_000).code == "DocumentTooLarge"
