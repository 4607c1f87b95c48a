"""What a workload is called, as the authority wrote it into its certificate."""

from functools import lru_cache

from cryptography import x509

from argosy.citadel.signer import WORKLOAD_FACTS
from argosy.model.standard_metrics import WORKLOAD_FACTS as FACTS

_NAMES = ("workload", "canonical_service", "app")


@lru_cache(maxsize=4096)
def names_of(certificate: x509.Certificate) -> frozenset[str]:
    """The workload, its app and its canonical service; empty when the certificate tells of none."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return frozenset()
    for name in extension.value.get_values_for_type(x509.OtherName):
        if name.type_id == WORKLOAD_FACTS:
            facts = dict(zip(FACTS, _text(name.value).split(";"), strict=False))
            return frozenset(filter(None, (facts.get(key, "") for key in _NAMES)))
    return frozenset()


def _text(der: bytes) -> str:
    """Of a UTF8String (X.690, 8.1.3): its length has one byte, or as many as the first one says."""
    size = 2 if der[1] < 128 else 2 + (der[1] & 127)
    return der[size:].decode(errors="replace")
