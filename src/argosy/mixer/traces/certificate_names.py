"""What a workload is called, as the authority wrote it into its certificate."""

from functools import lru_cache

from cryptography import x509

from argosy.mixer.caller import stated_facts
from argosy.model.standard_metrics import WORKLOAD_FACTS

_NAMES = ("workload", "canonical_service", "app")


@lru_cache(maxsize=4096)
def names_of(certificate: x509.Certificate) -> frozenset[str]:
    """The workload, its app and its canonical service; empty when the certificate tells of none."""
    facts = dict(zip(WORKLOAD_FACTS, stated_facts(certificate).split(";"), strict=False))
    return frozenset(filter(None, (facts.get(name, "") for name in _NAMES)))
