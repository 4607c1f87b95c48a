"""The table of fields is that of the tests, and no field is without one."""

from pathlib import Path

import pytest
from tests.docs.field_table import UNSEEN, is_within, live_tests, page, place, roots, rows

SHOWN = {
    "VirtualService",
    "DestinationRule",
    "Gateway",
    "Ingress",
    "IngressClass",
    "ServiceEntry",
    "WorkloadEntry",
    "WorkloadGroup",
    "Sidecar",
    "EnvoyFilter",
    "ProxyConfig",
    "NetworkPolicy",
    "RateLimit",
}
"""Kinds of which each field has a live test, or a reason why it cannot have one."""

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/fields.md"


def test_the_page_is_current(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--regold"):
        PAGE.write_text(page())
    assert PAGE.read_text() == page(), "pytest --regold tests/docs/test_field_table.py"


def test_live_tests_cover_fields_that_exist() -> None:
    unknown = [f"{kind}.{path}" for kind, path in live_tests() if not is_known(kind, path)]
    assert unknown == []


def is_known(kind: str, path: str) -> bool:
    return kind in roots() and place(kind, path) is not None


def test_every_field_has_a_golden_case() -> None:
    missing = {f"{row.field.kind}.{row.field.path}" for row in rows() if not row.golden}
    assert sorted(missing) == []


def test_every_field_is_shown_live_or_cannot_be() -> None:
    kinds = [row for row in rows() if row.field.kind in SHOWN]
    assert {row.field.kind for row in kinds} == SHOWN
    assert [f"{r.field.kind}.{r.field.path}" for r in kinds if not (r.live or r.unseen)] == []


def test_what_tests_claim_to_show_is_there() -> None:
    claimed = {(kind, path) for kind, path in live_tests() if path}
    known = [row.field for row in rows()]
    lost = [of for of in claimed if not any(is_within(field, *of) for field in known)]
    assert sorted(f"{kind}.{path}" for kind, path in lost) == []


def test_fields_that_nobody_sees_exist_and_are_not_seen() -> None:
    live = {f"{row.field.kind}.{row.field.path}": row.live for row in rows()}
    assert [path for path in UNSEEN if path not in live] == [], "not a field of the page"
    assert {path: live[path] for path in UNSEEN if live[path]} == {}, "it has a live test"


@pytest.mark.parametrize("path", UNSEEN)
def test_a_reason_fits_its_cell(path: str) -> None:
    reason = UNSEEN[path]
    assert reason.strip() == reason != ""
    assert not set("|*\n") & set(reason)
    (cells,) = [
        line.split(" | ")
        for line in page().splitlines()
        if f"*{reason}*" in line and f"| `{path.partition('.')[2]}` |" in line
    ]
    assert cells[-1] == f"*{reason}* |"
