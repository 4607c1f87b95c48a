"""Conditions on text, as policies write them."""

from dataclasses import dataclass

from argosy.model.route import Exact, Prefix, Regex


@dataclass(frozen=True, slots=True)
class Suffix:
    value: str


Text = Exact | Prefix | Suffix | Regex
"""A ``Regex`` must match all of the text."""

ANY_TEXT = Regex("(?s).+")
"""Any text that is not empty."""
