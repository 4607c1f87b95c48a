"""What a difference shows: no more than what changed, and never nothing when something did."""

from typing import Any

import pytest

from argosy.testing.difference import difference


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ({"a": 1}, {"a": 1}, None),
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, {"b": 3}),
        ({"a": 1, "b": 2}, {"b": 2}, {"gone": ["a"]}),
        ({"a": {"x": 1, "y": 1}}, {"a": {"x": 1, "y": 2}}, {"a": {"y": 2}}),
        ([1, 2], [1, 3], [1, 3]),
        (
            [{"name": "a", "v": 1}, {"name": "b", "v": 1}],
            [{"name": "a", "v": 1}, {"name": "b", "v": 2}],
            {"changed": [{"name": "b", "v": 2}]},
        ),
        ([{"name": "a"}, {"name": "b"}], [{"name": "b"}], {"gone": ["a"]}),
        ([{"name": "a"}], [{"name": "a"}, {"name": "b"}], {"changed": [{"name": "b"}]}),
        (
            [{"name": "a"}],
            [{"name": "b"}, {"name": "a"}],
            {"changed": [{"name": "b"}], "order": ["b", "a"]},
        ),
        ([{"name": "a"}, {"name": "b"}], [{"name": "b"}, {"name": "a"}], {"order": ["b", "a"]}),
        ([{"name": "a"}, {"name": "a"}], [{"name": "a"}], [{"name": "a"}]),
        ([{"v": 1}, {"v": 1}], [{"v": 1}, {"v": 2}], {"[1]": {"v": 2}}),
        ([{"v": 1}], [{"v": 1}, {"v": 2}], [{"v": 1}, {"v": 2}]),
        ([], [{"name": "a"}], {"changed": [{"name": "a"}]}),
    ],
)
def test_difference(before: Any, after: Any, found: Any) -> None:
    assert difference(before, after) == found
