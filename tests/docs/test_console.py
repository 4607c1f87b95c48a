"""The reader of console blocks sees what a person would type, and is not too lenient."""

from pathlib import Path

import pytest
from tests.docs.console import matches, page, plain

PAGE = """<!-- mesh: samples/a.yaml samples/b.yaml -->
# Title

```text
$ make demo
```

```console
$ argosy get vs
NAME   AGE
...
$ argosy apply -f - <<EOF
kind: X
EOF
x created
```

1. In a list:

   ```console exit=3
   $ one \\
       two
   $ three
   ```
"""


def test_commands_of_a_page(tmp_path: Path) -> None:
    file = tmp_path / "a.md"
    file.write_text(PAGE)
    found = page(file)
    assert found.setup == ("samples/a.yaml", "samples/b.yaml")
    assert [(c.text, c.shown, c.line, c.exit_code) for c in found.commands] == [
        ("argosy get vs", ("NAME   AGE", "..."), 9, 0),
        ("argosy apply -f - <<EOF\nkind: X\nEOF", ("x created",), 12, 0),
        ("one \\\n    two", (), 21, 0),
        ("three", (), 23, 3),
    ]


def test_pages_with_no_mesh_or_their_own(tmp_path: Path) -> None:
    file = tmp_path / "a.md"
    file.write_text("# Nothing")
    assert page(file).setup is None
    file.write_text("<!-- mesh: none -->")
    assert page(file).setup == ()


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("", "anything", True),
        ("a", "a", True),
        ("a", "b", False),
        ("a", "a\nb", False),
        ("a\n...", "a\nb\nc", True),
        ("...\nc", "a\nb\nc", True),
        ("...\nc", "a\nb", False),
        ("...\nb\n...", "a\nb\nc", True),
        ("a ... c", "a b c", True),
        ("a ... c", "a b d", False),
        ("a.c", "abc", False),
        ("reviews-v1-68qnj8gcvg-zngnx   5s", "reviews-v1-wtxpp5xldc-tzvp6 1m2s", True),
        ("reviews-v1-68qnj8gcvg-zngnx", "reviews-v2-wtxpp5xldc-tzvp6", False),
        ("6 of 6 proxies acknowledged in 5.3 ms", "6 of 6 proxies acknowledged in 11 ms", True),
        ("6 of 6 proxies acknowledged in 5.3 ms", "5 of 6 proxies acknowledged in 11 ms", False),
        ("10.244.0.5:9080", "10.244.0.19:9080", True),
        ("10.244.0.5:9080", "10.244.0.5:9090", False),
        ("Mesh:  default (root)", "Mesh:  default (rootless)", True),
        ("Mesh:  default (root)", "Mesh:  other (root)", False),
        ("Objects:  30", "Objects:  31", True),
        ("Objects:  30", "Objects:  none", False),
        ("http://127.0.0.1:38875", "http://127.0.0.1:40001", True),
    ],
)
def test_comparison(shown: str, printed: str, same: bool) -> None:
    assert matches(shown.splitlines(), printed.splitlines()) is same


def test_what_differs_between_runs_is_replaced() -> None:
    assert plain("2026-11-24T12:48:20Z  e1382649e8e738bf88448393cdfe56c4d7a36b6") == "TIME HEX"
