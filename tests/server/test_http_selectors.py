"""https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors"""

import pytest

from argosy.base.names import Namespace, ObjectKey
from argosy.server.http.selectors import SelectorError, selector

KEY = ObjectKey("Pod", Namespace("default"), "web-1")
LABELS = {"environment": "production", "tier": "frontend", "example.com/x": "", "v": "1.2_b-c"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("environment = production", True),
        ("environment==production,tier=frontend", True),
        ("environment=qa", False),
        ("tier!=frontend", False),
        ("tier!=backend", True),
        ("absent!=anything", True),
        ("environment in (production, qa)", True),
        ("environment in (qa)", False),
        ("environment in (production,qa),tier notin (backend)", True),
        ("tier notin (frontend, backend)", False),
        ("absent notin (x)", True),
        ("environment", True),
        ("absent", False),
        ("!absent", True),
        ("!environment", False),
        ("example.com/x=", True),
        ("v=1.2_b-c", True),
    ],
)
def test_labels(text: str, matches: bool) -> None:
    assert selector(text, "").matches(KEY, LABELS) is matches


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("metadata.name=web-1", True),
        ("metadata.name==web-1,metadata.namespace=default", True),
        ("metadata.name!=web-1", False),
        ("metadata.namespace=other", False),
    ],
)
def test_fields(text: str, matches: bool) -> None:
    assert selector("", text).matches(KEY, LABELS) is matches


@pytest.mark.parametrize("text", ["=x", "a=b=c", "a in b", "a in (b", "a b", "a/b/c", "a>1"])
def test_a_selector_that_does_not_parse(text: str) -> None:
    with pytest.raises(SelectorError, match="label selector"):
        selector(text, "")


def test_only_names_are_fields() -> None:
    with pytest.raises(SelectorError, match=r"spec\.nodeName"):
        selector("", "spec.nodeName=x")
