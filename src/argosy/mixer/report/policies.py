"""Suggested policies as YAML, with what they rest on in comments."""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from argosy.mixer.report.facts import Call, Workload
from argosy.mixer.report.suggest import (
    ANY_PATH,
    LABEL,
    LeftOut,
    Operation,
    Permission,
    Suggestion,
)

_SHOWN = 20
"""Kinds of calls that a comment lists."""

_SPIFFE = "spiffe://"


def policies_yaml(
    suggestions: Iterable[Suggestion], gateways: Iterable[Workload], about: Sequence[str]
) -> str:
    """``about`` says when and how long it was observed. ``gateways`` are told apart as callers."""
    entrances = {(one.namespace, one.account) for one in gateways}
    head = "".join(f"{comment(line)}\n" for line in about)
    return head + "".join(
        "---\n" + "".join(f"{line}\n" for line in _document(one, entrances)) for one in suggestions
    )


def _document(one: Suggestion, entrances: set[tuple[str, str]]) -> Iterator[str]:
    workload = one.workload
    calls = [call for permission in one.permissions for call in permission.evidence]
    total = sum(call.count for call in calls)
    if total:
        callers = len({call.principal for call in calls})
        yield comment(
            f"{workload.title}: {total} calls of {callers} caller{'s' * (callers != 1)}, the last at "
            f"{moment(max(call.last for call in calls))}"
        )
    else:
        yield comment(f"{workload.title}: nobody called it, so nobody may")
    for left in one.left_out:
        yield from _left_out(left)
    yield "apiVersion: security.istio.io/v1"
    yield "kind: AuthorizationPolicy"
    yield "metadata:"
    yield f"  name: {quoted(one.name)}"
    yield f"  namespace: {quoted(workload.namespace)}"
    yield f"  labels: {{{LABEL}: {quoted('true')}}}"
    yield "spec:"
    if workload.labels:
        yield "  selector:"
        yield "    matchLabels:"
        for name, value in workload.labels:
            yield f"      {quoted(name)}: {quoted(value)}"
    yield "  action: ALLOW"
    if one.permissions:
        yield "  rules:"
    for permission in one.permissions:
        yield from _rule(permission, entrances)


def _rule(permission: Permission, entrances: set[tuple[str, str]]) -> Iterator[str]:
    yield "  - from:"
    if permission.principals is None:
        yield comment("callers in plaintext: anybody who reaches the port", 4)
        yield "    - source:"
        yield '        notPrincipals: ["*"]'
    else:
        yield "    - source:"
        yield "        principals:"
        for principal in permission.principals:
            if is_of(principal, entrances):
                yield comment("a gateway: whoever reaches it from outside", 8)
            yield f"        - {quoted(principal.removeprefix(_SPIFFE))}"
    yield "    to:"
    for operation in permission.operations:
        yield from _operation(operation, permission.evidence)


def _operation(operation: Operation, calls: Sequence[Call]) -> Iterator[str]:
    made = [call for call in calls if is_within(call, operation)]
    yield from _evidence(made)
    if ANY_PATH in operation.paths:
        yield comment("WIDE: too many different paths to list; look whether all are needed", 4)
    yield "    - operation:"
    yield f"        ports: {flow(map(str, operation.ports))}"
    if operation.methods:
        yield f"        methods: {flow(operation.methods)}"
    if operation.paths:
        yield "        paths:"
        for path in operation.paths:
            yield f"        - {quoted(path)}"


def _evidence(calls: Sequence[Call]) -> Iterator[str]:
    merged: dict[tuple[str, str, int], tuple[int, float]] = {}
    for call in calls:
        key = (call.method or "connections", call.path, call.port)
        count, last = merged.get(key, (0, 0.0))
        merged[key] = (count + call.count - call.denied, max(last, call.last))
    shown = sorted(merged.items(), key=lambda item: (-item[1][0], item[0]))
    for (method, path, port), (count, last) in shown[:_SHOWN]:
        what = f"{method} {path}".strip()
        yield comment(f"{count} × {what} at {port}, the last at {moment(last)}", 4)
    if len(shown) > _SHOWN:
        yield comment(f"... and {len(shown) - _SHOWN} more", 4)


def _left_out(left: LeftOut) -> Iterator[str]:
    yield comment(f"NOT ALLOWED: {sum(one.count for one in left.calls)} calls, because {left.why}:")
    for call in left.calls[:_SHOWN]:
        who = call.principal.removeprefix(_SPIFFE) or "plaintext"
        what = f"{call.method} {call.path}".strip() or "connections"
        yield comment(f"  {call.count} × {what} at {call.port} from {who}")


def is_within(call: Call, operation: Operation) -> bool:
    """Whether a call is one of those that the operation was made from."""
    if call.port not in operation.ports or call.http is not bool(operation.methods):
        return False
    return not call.http or (call.method in operation.methods and call.path in operation.paths)


def is_of(principal: str, accounts: set[tuple[str, str]]) -> bool:
    parts = principal.removeprefix(_SPIFFE).split("/")
    return len(parts) == _PARTS and (parts[2], parts[4]) in accounts


_PARTS = 5
"""Of ``trust domain/ns/NAMESPACE/sa/ACCOUNT``."""


def comment(text: str, indent: int = 0) -> str:
    """One line, whatever is in the text: paths are others' words."""
    printable = "".join(c if c.isprintable() else "?" for c in text)
    return f"{' ' * indent}# {printable}"


def quoted(text: str) -> str:
    """A YAML scalar that is this text and nothing else: YAML reads JSON."""
    return json.dumps(text)


def flow(texts: Iterable[str]) -> str:
    return f"[{', '.join(map(quoted, texts))}]"


def moment(seconds: float) -> str:
    """Of seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
