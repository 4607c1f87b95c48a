"""The tightest AuthorizationPolicies that allow what was observed. Pure.

One ALLOW policy for each workload: what it does not name is denied. A workload that nobody called gets
one without rules, which allows nothing.
https://istio.io/latest/docs/reference/config/security/authorization-policy/
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from argosy.mixer.report.facts import Call, Workload

ANY_SEGMENT = "{*}"
ANY_PATH = "/{**}"
PREFIX = "allow-observed-"
LABEL = "argosy.dev/suggested"
_SPIFFE = "spiffe://"
_NAME_LENGTH = 253
_METHOD = re.compile(r"[A-Za-z-]+")
_SEGMENT = re.compile(r"[!-)+-z|~]*")
"""ASCII that is printed, without ``*``, ``{`` and ``}``."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """``methods`` and ``paths`` empty: any connection to the ports."""

    ports: tuple[int, ...]
    methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Permission:
    """``principals`` are SPIFFE ids; None: callers in plaintext, who have none."""

    principals: tuple[str, ...] | None
    operations: tuple[Operation, ...]
    evidence: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Calls that were seen and are not allowed, and why."""

    why: str
    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class Suggestion:
    workload: Workload
    permissions: tuple[Permission, ...]
    left_out: tuple[LeftOut, ...] = ()

    @property
    def name(self) -> str:
        return f"{PREFIX}{self.workload.name}"[:_NAME_LENGTH]

    @property
    def policy(self) -> Json:
        """As an object of security.istio.io/v1."""
        workload = self.workload
        spec: Json = {"action": "ALLOW"}
        if workload.labels:
            spec = {"selector": {"matchLabels": dict(workload.labels)}, **spec}
        if self.permissions:
            spec["rules"] = [_rule(one) for one in self.permissions]
        return {
            "apiVersion": "security.istio.io/v1",
            "kind": "AuthorizationPolicy",
            "metadata": {
                "name": self.name,
                "namespace": workload.namespace,
                "labels": {LABEL: "true"},
            },
            "spec": spec,
        }


def suggestions(
    workloads: Iterable[Workload], calls: Sequence[Call], *, plaintext: bool = False
) -> tuple[Suggestion, ...]:
    """For the ``workloads`` that have a proxy and are no gateway: what comes to those has no identity.

    ``plaintext``: callers without identity keep what they did.
    """
    by_workload: dict[tuple[str, str], list[Call]] = {}
    for call in calls:
        by_workload.setdefault((call.namespace, call.workload), []).append(call)
    return tuple(
        _suggestion(one, by_workload.get(one.called, ()), plaintext=plaintext)
        for one in workloads
        if one.proxy and not one.gateway
    )


def _suggestion(workload: Workload, calls: Sequence[Call], *, plaintext: bool) -> Suggestion:
    denied = tuple(one for one in calls if one.denied >= one.count)
    odd = tuple(one for one in calls if one not in denied and not _can_be_written(one))
    bare = tuple(one for one in calls if one not in denied and one not in odd and not one.principal)
    kept = [
        one
        for one in calls
        if one not in denied and one not in odd and (one.principal or plaintext)
    ]
    left_out = []
    if denied:
        left_out.append(LeftOut("a policy denies them already", denied))
    if bare and not plaintext:
        left_out.append(
            LeftOut(
                "they came in plaintext, from somebody without identity: give the caller a proxy, "
                "or take them in with --include-plaintext",
                bare,
            )
        )
    if odd:
        left_out.append(
            LeftOut(
                "their paths or methods hold characters that mean something else in policies", odd
            )
        )
    return Suggestion(workload, _permissions(kept), tuple(left_out))


def _permissions(calls: Iterable[Call]) -> tuple[Permission, ...]:
    """Callers that may do the same are one permission.

    Requests and connections are never in one: a rule that names methods holds for no connection.
    """
    by_caller: dict[tuple[str, bool], list[Call]] = {}
    for call in calls:
        by_caller.setdefault((call.principal, call.http), []).append(call)
    alike: dict[tuple[tuple[Operation, ...], bool], list[tuple[str, bool]]] = {}
    for caller, made in by_caller.items():
        alike.setdefault((_operations(made), bool(caller[0])), []).append(caller)
    found = [
        Permission(
            tuple(sorted(principal for principal, _ in callers)) if known else None,
            operations,
            tuple(call for caller in sorted(callers) for call in by_caller[caller]),
        )
        for (operations, known), callers in alike.items()
    ]
    return tuple(
        sorted(found, key=lambda one: (one.principals is None, one.principals or (), _first(one)))
    )


def _first(permission: Permission) -> tuple[tuple[int, ...], tuple[str, ...]]:
    return permission.operations[0].ports, permission.operations[0].methods


def _operations(calls: Iterable[Call]) -> tuple[Operation, ...]:
    """Only what was seen together: paths with the same methods, ports with the same of both."""
    methods: dict[tuple[int, str], set[str]] = {}
    opaque: set[int] = set()
    for call in calls:
        if call.http:
            methods.setdefault((call.port, call.path), set()).add(call.method)
        else:
            opaque.add(call.port)
    paths: dict[tuple[int, tuple[str, ...]], set[str]] = {}
    for (port, path), used in methods.items():
        paths.setdefault((port, tuple(sorted(used))), set()).add(path)
    ports: dict[tuple[tuple[str, ...], tuple[str, ...]], set[int]] = {}
    for (port, used_methods), known in paths.items():
        ports.setdefault((used_methods, tuple(sorted(known))), set()).add(port)
    found = [
        Operation(tuple(sorted(numbers)), used_methods, known)
        for (used_methods, known), numbers in ports.items()
    ]
    if opaque:
        found.append(Operation(tuple(sorted(opaque))))
    return tuple(sorted(found, key=lambda one: (one.ports, one.methods, one.paths)))


def _can_be_written(call: Call) -> bool:
    """Whether a policy can name the call and nothing else: ``/a*`` would mean all that begin so, and
    a method may be called ``*``.

    Segments ``{*}`` are the recording's own for numbers and ids, ``/{**}`` for too many paths.
    """
    if not call.http:
        return True
    if not _METHOD.fullmatch(call.method):
        return False
    if call.path == ANY_PATH:
        return True
    begin, *segments = call.path.split("/")
    return not begin and all(
        one == ANY_SEGMENT or _SEGMENT.fullmatch(one) is not None for one in segments
    )


def _rule(permission: Permission) -> Json:
    source: Json = (
        {"notPrincipals": ["*"]}
        if permission.principals is None
        else {"principals": [one.removeprefix(_SPIFFE) for one in permission.principals]}
    )
    return {
        "from": [{"source": source}],
        "to": [{"operation": _operation(one)} for one in permission.operations],
    }


def _operation(operation: Operation) -> Json:
    found: Json = {"ports": [str(port) for port in operation.ports]}
    if operation.methods:
        found["methods"] = list(operation.methods)
    if operation.paths:
        found["paths"] = list(operation.paths)
    return found
