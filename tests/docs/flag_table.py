"""The page of Envoy's response flags and details, made of the words that commands use."""

from collections.abc import Iterable

from argosy.mixer.records.words import DETAILS, FLAGS, TRANSPORT, Meaning

HEAD = """# Response flags, in words

What [`argosy why`](../tasks/tap-and-why.md) and `argosy tap` say of a failure, and what to do about it.
They go by Envoy's response code details first, then by what the transport says, then by the flags.
Flags are in access logs as `%RESPONSE_FLAGS%`, details as `%RESPONSE_CODE_DETAILS%`.
"""


def page() -> str:
    parts = [HEAD, _table("Flags", "flag", sorted(FLAGS.items()))]
    parts.append(_table("Details, by how they begin", "details", DETAILS))
    parts.append(_table("Failures of the transport, by what they hold", "text", TRANSPORT))
    return "\n".join(parts)


def _table(title: str, first: str, rows: Iterable[tuple[str, Meaning]]) -> str:
    lines = [f"## {title}", "", f"| {first} | what happened | what to do |", "|---|---|---|"]
    for name, found in rows:
        lines.append(f"| `{name}` | {found.words} | {found.todo} |")
    return "\n".join(lines) + "\n"
