"""Conditions on text: model matches → ``envoy.type.matcher.v3``."""

from typing import assert_never

from envoy.type.matcher.v3 import regex_pb2, string_pb2

from argosy.model.route import Exact, Prefix, Regex, StringMatch


def regex_matcher(pattern: str) -> regex_pb2.RegexMatcher:
    """RE2, which is Envoy's only engine; matches the whole text."""
    return regex_pb2.RegexMatcher(regex=pattern)


def string_matcher(match: StringMatch, ignore_case: bool = False) -> string_pb2.StringMatcher:
    """``ignore_case`` has no effect on a regex."""
    match match:
        case Exact(value):
            return string_pb2.StringMatcher(exact=value, ignore_case=ignore_case)
        case Prefix(value):
            return string_pb2.StringMatcher(prefix=value, ignore_case=ignore_case)
        case Regex(value):
            return string_pb2.StringMatcher(safe_regex=regex_matcher(value))
        case _:
            assert_never(match)
