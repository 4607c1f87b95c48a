"""What a workload is called, as the authority wrote it into its certificate."""

from functools import lru_cache

from cryptography import x509

from argosy.mixer.caller import stated


@lru_cache(maxsize=4096)
def names_of(certificate: x509.Certificate) -> frozenset[str]:
    """The workload, its app and its canonical service; empty when the certificate tells of none."""
    facts = stated(certificate)
    return frozenset(filter(None, (facts.workload, facts.canonical_service, facts.app)))
