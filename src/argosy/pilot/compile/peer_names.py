"""Whom a client of the mesh expects behind a service: the identities of its workloads.

Trust domains that are aliases of the mesh's own stand for the same identities, so that a mesh can
change its name while certificates of the old one are still in use.
https://istio.io/latest/docs/tasks/security/authorization/authz-td-migration/
"""

from argosy.model.service import Service
from argosy.model.traffic import ExactName, NamePrefix, PeerNames, TrafficDefaults
from argosy.pilot.compile.endpoints import EndpointSummary


def peer_names(
    service: Service, endpoints: EndpointSummary, defaults: TrafficDefaults
) -> PeerNames:
    """While nobody is there to be named, whoever comes will be of the service's namespace."""
    names = (*service.peers, *endpoints.identities)
    if names:
        everywhere = (same for name in names for same in _in_every_domain(name, defaults))
        return tuple(ExactName(name) for name in dict.fromkeys(everywhere))
    domains = (defaults.trust_domain, *defaults.trust_domain_aliases)
    return tuple(NamePrefix(f"spiffe://{domain}/ns/{service.namespace}/") for domain in domains)


def _in_every_domain(name: str, defaults: TrafficDefaults) -> tuple[str, ...]:
    """An identity of the mesh by all the names that its certificate may carry."""
    own = f"spiffe://{defaults.trust_domain}/"
    if not name.startswith(own):
        return (name,)
    rest = name.removeprefix(own)
    return (name, *(f"spiffe://{alias}/{rest}" for alias in defaults.trust_domain_aliases))
