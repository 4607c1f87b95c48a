"""Who sends metrics, by its certificate; and what it may say. Pure."""

from dataclasses import dataclass

from msgspec import structs

from argosy.mixer.caller import Caller
from argosy.mixer.graph.edges import UNKNOWN, EdgeFacts, EdgeKey, Reporter


@dataclass(frozen=True, slots=True)
class Sender:
    """What is proven of who sends. ``principal`` is its SPIFFE id.

    ``workload`` empty: the certificate is of another signer, which states identities alone. Then
    which workload of its namespace it is, and its app and version, are its own word. Where the
    certificate states a workload, it states the other two as well, or that there are none.
    """

    namespace: str
    principal: str
    workload: str = ""
    app: str = ""
    version: str = ""

    @property
    def name(self) -> str:
        """One for all replicas."""
        return f"{self.namespace}/{self.workload}" if self.workload else self.principal


def sender_of(caller: Caller) -> Sender:
    stated = caller.stated
    return Sender(
        caller.identity.namespace,
        str(caller.identity),
        stated.workload,
        stated.app,
        stated.version,
    )


def proven(edge: EdgeKey, facts: EdgeFacts, reporter: Reporter, sender: Sender) -> EdgeFacts | None:
    """What a proxy tells, with its own end as its certificate has it; None: it is not its own end."""
    source = reporter is Reporter.SOURCE
    namespace, workload, principal = (
        (edge.source_namespace, edge.source, facts.source_principal)
        if source
        else (edge.destination_namespace, edge.destination, facts.destination_principal)
    )
    if namespace != sender.namespace or sender.workload not in ("", workload):
        return None
    own: dict[str, str] = {}
    if principal != UNKNOWN:
        # Under a trust domain that the mesh had before, perhaps.
        if _without_domain(principal) != _without_domain(sender.principal):
            return None
        own["principal"] = sender.principal
    if sender.workload:
        own |= {"app": sender.app or UNKNOWN, "version": sender.version or UNKNOWN}
    end = "source" if source else "destination"
    return structs.replace(facts, **{f"{end}_{name}": value for name, value in own.items()})


def _without_domain(principal: str) -> str:
    return principal.removeprefix("spiffe://").partition("/")[2]
