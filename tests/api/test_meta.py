import pytest

from argosy.api.core import Secret
from argosy.api.meta import Metadata, Origin, line_of
from argosy.base.names import ObjectKey

ORIGIN = Origin(
    file="a.yaml",
    line=3,
    fields={
        "spec": 7,
        "spec.http[1]": 12,
        "spec.http[1].route": 14,
        "metadata.labels": 5,
        'metadata.labels["app.kubernetes.io/name"]': 6,
    },
)


@pytest.mark.parametrize(
    ("field", "line"),
    [
        ("spec.http[1].route", 14),
        ("spec.http[1].route[0].destination.host", 14),
        ("spec.http[1].match[2].headers.end-user", 12),
        ("spec.http[0]", 7),
        ("spec", 7),
        ('metadata.labels["app.kubernetes.io/name"]', 6),
        ('metadata.labels["a.b/c"]', 5),
        ("metadata.name", 3),
        ("", 3),
    ],
)
def test_a_field_has_its_line_or_that_of_what_encloses_it(field: str, line: int) -> None:
    assert line_of(ORIGIN, field) == line


def test_without_an_origin_nobody_knows_the_line() -> None:
    assert line_of(None, "spec") is None
    assert line_of(Secret(), "spec") is None


def test_a_secret_does_not_print_its_values() -> None:
    secret = Secret(
        metadata=Metadata(name="tls", namespace="default"),
        data={"key": b"hunter2"},
        string_data={"word": "swordfish"},
    )
    for text in (repr(secret), str(secret), f"{secret}", repr(secret.__rich_repr__())):
        assert "hunter2" not in text
        assert "swordfish" not in text
        assert "key" in text
    assert secret.values == {"key": b"hunter2", "word": b"swordfish"}
    assert secret.key == ObjectKey("Secret", secret.key.namespace, "tls")
