"""Paths of a recording: ids stand for any, and nobody can write a template into it."""

import pytest

from argosy.mixer.records.recording import template


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/reviews/17", "/reviews/{*}"),
        ("/a/0123456789abcdef0/b", "/a/{*}/b"),
        ("/a/01234567-89ab-cdef-0123-456789abcdef", "/a/{*}"),
        ("/v1/x2", "/v1/x2"),
        ("/", "/"),
        ("/{**}", "/{}"),
        ("/a/{*}/b", "/a/{}/b"),
        ("/a{b", "/{}"),
    ],
)
def test_templates(path: str, expected: str) -> None:
    assert template(path) == expected
