"""Which certificates are revoked: Envoys check it themselves, the control plane does it here."""

from collections.abc import Sequence

from cryptography import x509

from argosy.citadel.issuer import revocation_lists
from argosy.citadel.trust import Trust


def revoked(chain: Sequence[x509.Certificate], trust: Trust) -> str:
    """Which certificate of a verified ``chain`` (leaf first) is revoked, or nothing.

    Intermediates that the peer did not send are those of the mesh's own authorities.
    """
    if not trust.crl:
        return ""
    own = {each for issuer in trust.trusted for each in issuer.authority.certificates}
    lists = revocation_lists(trust.crl)
    seen: set[x509.Certificate] = set()
    waiting = list(chain)
    while waiting:
        certificate = waiting.pop()
        if certificate in seen:
            continue
        seen.add(certificate)
        waiting += [each for each in own if each.subject == certificate.issuer]
        for each in lists:
            if each.issuer == certificate.issuer and each.get_revoked_certificate_by_serial_number(
                certificate.serial_number
            ):
                return f"serial {certificate.serial_number:x}"
    return ""
