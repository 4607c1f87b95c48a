"""PeerAuthentication → what a workload demands of its callers.

Policies hold for the mesh (root namespace, no selector), a namespace, a workload, or one of its
ports; the narrower wins, and UNSET inherits from the wider. Of several at the same level the
oldest wins. https://istio.io/latest/docs/reference/config/security/peer_authentication/
"""

from collections.abc import Iterable
from dataclasses import dataclass

from argosy.api.security import MutualTLS, PeerAuthentication
from argosy.base.names import Namespace
from argosy.base.problems import Problem
from argosy.model.authn import MtlsMode
from argosy.model.workload import Labels
from argosy.pilot.compile.report import Report


@dataclass(frozen=True, slots=True)
class Demands:
    """``ports`` are the workload's own, sorted; every other port has ``other_ports``."""

    other_ports: MtlsMode = MtlsMode.PERMISSIVE
    ports: tuple[tuple[int, MtlsMode], ...] = ()

    def mode(self, port: int | None) -> MtlsMode:
        """None stands for every port without a rule of its own."""
        return next((mode for number, mode in self.ports if number == port), self.other_ports)


def demands(
    root: Iterable[PeerAuthentication],
    own: Iterable[PeerAuthentication],
    namespace: Namespace,
    labels: Labels,
) -> Demands:
    """``root`` are the root namespace's policies, ``own`` those of the workload's ``namespace``."""
    mesh = _oldest(policy for policy in root if not _selector(policy))
    candidates = [p for p in own if p.metadata.namespace == namespace]
    wide = _oldest(policy for policy in candidates if not _selector(policy))
    narrow = _oldest(
        policy for policy in candidates if _selector(policy) and _selector(policy) <= set(labels)
    )
    mode = MtlsMode.PERMISSIVE
    for policy in (mesh, wide, narrow):
        if policy is not None:
            mode = _mode(policy.spec.mtls, mode)
    if narrow is None:
        return Demands(mode)
    ports = {port: _mode(written, mode) for port, written in narrow.spec.port_level_mtls.items()}
    return Demands(mode, tuple(sorted(ports.items())))


def check(policies: Iterable[PeerAuthentication]) -> tuple[Problem, ...]:
    """The policies of one namespace that never hold, because an older one does."""
    problems: list[Problem] = []
    winners: dict[frozenset[tuple[str, str]], PeerAuthentication] = {}
    for policy in sorted(policies, key=_age):
        report = Report(policy.key, "", problems)
        selector = frozenset(_selector(policy))
        winner = winners.setdefault(selector, policy)
        if winner is not policy:
            for_whom = "the same workloads" if selector else "the whole namespace"
            report.warning(
                "PeerAuthenticationConflict",
                f"{winner.key} is older and holds for {for_whom}, so this policy is ignored",
                "merge the two, or delete one",
            )
    return tuple(problems)


def _selector(policy: PeerAuthentication) -> set[tuple[str, str]]:
    selector = policy.spec.selector
    return set(selector.match_labels.items()) if selector is not None else set()


def _age(policy: PeerAuthentication) -> tuple[str, str]:
    """RFC 3339 in UTC sorts as text; names break ties."""
    return (policy.metadata.creation_timestamp, policy.metadata.name)


def _oldest(policies: Iterable[PeerAuthentication]) -> PeerAuthentication | None:
    return min(policies, key=_age, default=None)


def _mode(written: MutualTLS | None, inherited: MtlsMode) -> MtlsMode:
    if written is None or written.mode == "UNSET":
        return inherited
    return MtlsMode(written.mode)
