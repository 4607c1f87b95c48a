"""The rules of a report that need to see traffic; of what nobody has measured they say nothing."""

from collections.abc import Iterator
from dataclasses import dataclass

from argosy.mixer.report.checks import held, rule_field
from argosy.mixer.report.facts import Call, Facts, Workload
from argosy.mixer.report.findings import (
    EGRESS,
    EGRESS_UNKNOWN,
    MTLS_TRAFFIC,
    NOWHERE,
    UNUSED_ALLOW,
    Finding,
    Outcome,
    Severity,
)
from argosy.model.authz import Action, Policy, Rule
from argosy.pilot.compile.verdict import Connection, Request, meets


@dataclass(frozen=True, slots=True)
class Share:
    """Of what was measured inside the mesh."""

    mutual_tls: int
    total: int

    @property
    def percent(self) -> float:
        """Rounded down, so that 100 means all."""
        return int(self.mutual_tls * 1000 / self.total) / 10 if self.total else 100.0


def mutual_tls_share(facts: Facts, namespace: str = "") -> Share | None:
    """None where nothing was measured. With ``namespace`` of what it receives."""
    if facts.edges is None:
        return None
    inside = [
        edge
        for edge in facts.edges
        if edge.destination and (not namespace or edge.namespace == namespace)
    ]
    encrypted = sum(edge.mutual_tls for edge in inside)
    total = sum(edge.mutual_tls + edge.plaintext for edge in inside)
    return Share(encrypted, total) if total else None


def plaintext_traffic(facts: Facts) -> Iterator[Outcome]:
    for edge in facts.edges or ():
        if not edge.destination or not edge.mutual_tls + edge.plaintext:
            continue
        source = f"{edge.source_namespace}/{edge.source}"
        finding = Finding(
            Severity.HIGH,
            f"{edge.plaintext} of {edge.mutual_tls + edge.plaintext} requests or connections from "
            f"{source} came in plaintext",
            "give the caller a proxy, then demand STRICT",
        )
        title = f"Traffic {source} → {edge.namespace}/{edge.destination}"
        yield Outcome(MTLS_TRAFFIC, edge.namespace, title, finding if edge.plaintext else None)


def destinations_outside(facts: Facts) -> Iterator[Outcome]:
    for edge in facts.edges or ():
        if edge.destination:
            continue
        source = f"{edge.source_namespace}/{edge.source}"
        title = f"Traffic {source} → {edge.host}"
        unknown = Finding(
            Severity.MEDIUM,
            f"{edge.total} requests or connections went to destinations that nothing names",
            "write a ServiceEntry for them, and set outboundTrafficPolicy to REGISTRY_ONLY",
        )
        yield Outcome(
            EGRESS_UNKNOWN, edge.source_namespace, title, None if edge.registered else unknown
        )
        if edge.registered:
            listed = Finding(
                Severity.INFO,
                f"{edge.total} requests or connections went to {edge.host}",
                "check that it is meant to",
            )
            yield Outcome(EGRESS, edge.source_namespace, title, listed)


def unused_permissions(facts: Facts) -> Iterator[Outcome]:
    """ALLOW rules that no observed call has met; of workloads that were not called nothing is known."""
    if facts.calls is None:
        return
    places = dict(facts.places)
    calls: dict[tuple[str, str], list[Call]] = {}
    for call in facts.calls:
        calls.setdefault((call.namespace, call.workload), []).append(call)
    holders: dict[Policy, list[Workload]] = {}
    for workload in facts.workloads:
        for policy in workload.policies:
            holders.setdefault(policy, []).append(workload)
    for policy in held(facts.workloads):
        if policy.action is not Action.ALLOW or policy.dry_run:
            continue
        seen = [call for one in holders[policy] for call in calls.get(one.called, ())]
        if not seen:
            continue
        key = policy.object
        for rule in policy.rules:
            title = f"AuthorizationPolicy {key.namespace}/{key.name} rules[{rule.index}]"
            finding = Finding(
                Severity.LOW,
                f"none of {sum(call.count for call in seen)} calls that were observed needs it",
                "remove it, if the time that was observed is long enough",
                places.get((key, rule_field(rule)), NOWHERE),
            )
            used = any(is_met(rule, call) for call in seen)
            yield Outcome(UNUSED_ALLOW, key.namespace, title, None if used else finding)


def is_met(rule: Rule, call: Call) -> bool:
    """Of what a recording tells of a call: no address, host, header or token."""
    return meets(rule, connection_of(call), request_of(call))


def connection_of(call: Call) -> Connection:
    return Connection(identity=call.principal, address="", remote_address="", port=call.port)


def request_of(call: Call) -> Request | None:
    return Request(call.method, path=an_example(call.path)) if call.http else None


def an_example(template: str) -> str:
    """A path that a template stands for."""
    return template.replace("{**}", "a/b").replace("{*}", "0") or "/"


MEASURED = (plaintext_traffic, destinations_outside, unused_permissions)
