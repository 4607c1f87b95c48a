"""Tags of spans that Envoy cannot be given: it refuses whole listeners for one of them."""

from collections.abc import Iterable

from argosy.model.span_tags import CustomTag, EnvironmentTag, FormatterTag, HeaderTag, LiteralTag
from argosy.pilot.compile.log_formats import format_mistake


def tag_mistake(tag: CustomTag) -> str:
    """What is wrong with it; empty when nothing is."""
    if not tag.name:
        return "a tag has no name"
    match tag:
        case LiteralTag(_, text) if not text:
            return "its value is empty"
        case EnvironmentTag(_, variable) if not variable:
            return "the variable has no name"
        case HeaderTag(_, header) if not header:
            return "the header has no name"
        case FormatterTag(_, text):
            return format_mistake(text)
        case _:
            return ""


def usable(tags: Iterable[CustomTag]) -> tuple[CustomTag, ...]:
    return tuple(tag for tag in tags if not tag_mistake(tag))
