"""Which VirtualService rules a host: visibility, precedence and conflicts.

Sidecars give a host to one VirtualService: the one that names it most specifically, and among
equals the oldest. Gateways merge all that attach, in the same order.
https://istio.io/latest/docs/ops/best-practices/traffic-management/#split-virtual-services
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from argosy.api.networking_virtual_service import VirtualService
from argosy.base.names import Hostname, Namespace, ObjectKey
from argosy.base.problems import Problem
from argosy.model.route import MESH, Attachment
from argosy.pilot.compile.hostnames import is_wildcard, most_specific

EVERYWHERE = "*"
_UNKNOWN_TIME = "~"
"""Sorts after every timestamp."""


def exported_namespaces(vs: VirtualService) -> frozenset[str]:
    """``exportTo`` in words of namespaces: ``.`` is the object's own, ``~`` is none."""
    written = vs.spec.export_to or (EVERYWHERE,)
    own = vs.key.namespace
    return frozenset(own if name == "." else name for name in written if name != "~")


def exports_to(vs: VirtualService, namespace: Namespace) -> bool:
    exported = exported_namespaces(vs)
    return EVERYWHERE in exported or namespace in exported


def is_visible(attachment: Attachment, namespace: Namespace) -> bool:
    """Whether proxies in ``namespace`` may use it (``exportTo``)."""
    return EVERYWHERE in attachment.export_to or namespace in attachment.export_to


def rank(attachment: Attachment, namespace: Namespace) -> tuple[int, str, str, str]:
    """Sorts rivals for a client's namespace, best first.

    What is meant for that namespace alone goes before what is exported to it, and that before
    what is public; then by age, then by name and namespace.
    """
    if EVERYWHERE in attachment.export_to:
        reach = 2
    else:
        reach = 0 if attachment.object.namespace == namespace else 1
    return (
        reach,
        attachment.created or _UNKNOWN_TIME,
        attachment.object.name,
        attachment.object.namespace,
    )


def in_order(
    attachments: Iterable[Attachment], gateway: str, namespace: Namespace
) -> tuple[Attachment, ...]:
    """Those bound to ``gateway`` (or ``mesh``) that ``namespace`` sees, best first."""
    bound = [a for a in attachments if gateway in a.gateways and is_visible(a, namespace)]
    return tuple(sorted(bound, key=lambda a: rank(a, namespace)))


def winner(
    attachments: Iterable[Attachment], host: Hostname, namespace: Namespace
) -> Attachment | None:
    """The VirtualService whose rules sidecars in ``namespace`` apply to ``host``.

    HTTP rules and rules for opaque bytes are no rivals: the caller gives those of one sort.
    """
    candidates = [
        (is_wildcard(pattern), -len(pattern), rank(attachment, namespace), attachment)
        for attachment in attachments
        if MESH in attachment.gateways and is_visible(attachment, namespace)
        if (pattern := most_specific(attachment.hosts, host)) is not None and pattern != "*"
    ]
    best = min(candidates, key=lambda candidate: candidate[:3], default=None)
    return None if best is None else best[3]


def mesh_conflicts(
    attachments: Iterable[Attachment],
    limited: Callable[[Attachment, Hostname], Attachment] = lambda attachment, _: attachment,
) -> tuple[Problem, ...]:
    """One problem for each host that a VirtualService loses to another one.

    A VirtualService for some namespaces beside a public one is no conflict: it is an override.
    ``limited`` says how far one reaches for a host.
    """
    claims: defaultdict[Hostname, list[tuple[Attachment, int]]] = defaultdict(list)
    for attachment in attachments:
        if MESH in attachment.gateways:
            for index, host in enumerate(attachment.hosts):
                claims[host].append((limited(attachment, host), index))
    problems: list[Problem] = []
    for host, rivals in sorted(claims.items()):
        rivals.sort(key=lambda rival: rank(rival[0], Namespace("")))
        for position, (loser, index) in enumerate(rivals):
            better = _first_rival(loser, [rival for rival, _ in rivals[:position]])
            if better is not None:
                problems.append(_conflict(loser, index, host, better.object))
    return tuple(problems)


def _first_rival(loser: Attachment, better: Sequence[Attachment]) -> Attachment | None:
    for rival in better:
        both_public = EVERYWHERE in rival.export_to and EVERYWHERE in loser.export_to
        shared = (rival.export_to & loser.export_to) - {EVERYWHERE}
        same_sort = (rival.http and loser.http) or (rival.opaque and loser.opaque)
        if rival.object != loser.object and same_sort and (both_public or shared):
            return rival
    return None


def _conflict(loser: Attachment, index: int, host: Hostname, better: ObjectKey) -> Problem:
    return Problem(
        loser.object,
        f"spec.hosts[{index}]",
        "HostConflict",
        f"{better} rules host {host} for the sidecars already and is older, "
        "so these rules have no effect on it",
        "put all rules for one host into one VirtualService, or let that one delegate to this",
    )
