"""Which certificates are revoked: Envoys check it themselves, the control plane does it here."""

from collections.abc import Collection, Sequence

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
    return revoked_by(chain, revocation_lists(trust.crl), own)


def revoked_by(
    chain: Sequence[x509.Certificate],
    lists: Sequence[x509.CertificateRevocationList],
    own: Collection[x509.Certificate] = (),
) -> str:
    """The same by ``lists``; ``own`` are authorities that the peer need not send."""
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
