"""What policies would say of calls that were seen, and of those that were not. Pure.

The judge is the one of ``argosy authz can``: the compiled policies, as Envoy is given them.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from argosy.mixer.report.facts import Call, Workload
from argosy.mixer.report.measured import connection_of, request_of
from argosy.model.authz import Authorization
from argosy.pilot.compile.verdict import Connection, Request, Verdict, verdict

Authorizations = Callable[[Workload], Authorization]


@dataclass(frozen=True, slots=True)
class Judged:
    """``denied_already``: as it was when it was seen."""

    call: Call
    verdict: Verdict

    @property
    def denied_already(self) -> bool:
        return self.call.denied >= self.call.count


@dataclass(frozen=True, slots=True)
class Edge:
    """A caller and a workload between whom nothing was seen."""

    principal: str
    workload: Workload
    port: int
    allowed: bool


@dataclass(frozen=True, slots=True)
class Proof:
    """``judged`` are all calls that were seen; ``edges`` the pairs that were not."""

    judged: tuple[Judged, ...]
    edges: tuple[Edge, ...]

    @property
    def allowed(self) -> int:
        """How many of the calls that were allowed when they were seen are allowed again."""
        return sum(one.call.count for one in self.judged if one.verdict.allowed)

    @property
    def broken(self) -> tuple[Judged, ...]:
        """What went through when it was seen, and would not any more."""
        return tuple(
            one for one in self.judged if not one.verdict.allowed and not one.denied_already
        )

    @property
    def open(self) -> tuple[Edge, ...]:
        """Pairs that were not seen and would be let through all the same."""
        return tuple(edge for edge in self.edges if edge.allowed)


def proof(
    workloads: Sequence[Workload],
    callers: Iterable[str],
    calls: Sequence[Call],
    authorization: Authorizations,
) -> Proof:
    """``callers`` are SPIFFE ids of the mesh. Pairs are tried with a request to each port."""
    targets = [one for one in workloads if one.proxy and not one.gateway]
    by_name = {one.called: one for one in targets}
    held = {key: authorization(one) for key, one in by_name.items()}
    judged = tuple(
        Judged(call, verdict(held[key], connection_of(call), request_of(call)))
        for call in calls
        if (key := (call.namespace, call.workload)) in held
    )
    seen = {(call.principal, call.namespace, call.workload) for call in calls}
    edges = tuple(
        Edge(caller, one, port.number, _passes(held[one.called], caller, port.number))
        for one in targets
        for caller in sorted(set(callers))
        if (caller, *one.called) not in seen
        for port in one.ports
    )
    return Proof(judged, edges)


def _passes(held: Authorization, caller: str, port: int) -> bool:
    connection = Connection(identity=caller, address="", remote_address="", port=port)
    return verdict(held, connection, Request()).allowed
