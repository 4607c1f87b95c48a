"""What signs, and whom the mesh trusts for its sake: PEM files in, a verified ``Issuer`` out.

The files are those of Istio's ``cacerts``: ``ca-key.pem``, ``ca-cert.pem``, ``root-cert.pem``,
between the two ``cert-chain.pem``, and perhaps ``ca-crl.pem``. Pure: no disk, no clock.
https://istio.io/latest/docs/tasks/security/cert-management/plugin-ca-cert/
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from argosy.citadel.signer import SKEW, Authority, SigningKey, pem

CA_KEY = "ca-key.pem"
CA_CERTIFICATE = "ca-cert.pem"
ROOT = "root-cert.pem"
CHAIN = "cert-chain.pem"
REVOCATIONS = "ca-crl.pem"
NEEDED = (CA_CERTIFICATE, CA_KEY, ROOT)
FILES = (*NEEDED, CHAIN, REVOCATIONS)

_T = TypeVar("_T", bound=x509.ExtensionType)

_SMALLEST_RSA = 2048
"""Bits; Envoy refuses shorter keys."""


class AuthorityError(Exception):
    """An authority that cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """``roots`` are all that ``root-cert.pem`` holds, the authority's own first.

    ``crl`` is PEM, empty when nothing is revoked.
    """

    authority: Authority
    roots: tuple[x509.Certificate, ...]
    crl: str = ""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate that signs, lower-case hexadecimal."""
        return fingerprint(self.authority.certificate)


def fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def self_made(authority: Authority) -> Issuer:
    return Issuer(authority, (authority.root,))


def issuer_from(files: Mapping[str, bytes], where: str, now: datetime) -> Issuer:
    """Verify ``files`` by their names. Raises ``AuthorityError``, which begins with ``where``."""
    lacking = [name for name in NEEDED if not files.get(name, b"").strip()]
    if lacking:
        raise AuthorityError(
            f"{where} has no {', '.join(lacking)}: it needs {', '.join(NEEDED)}, and "
            f"{CHAIN} when there are certificates between {CA_CERTIFICATE} and {ROOT}"
        )
    key = _key(files[CA_KEY], f"{where}: {CA_KEY}")
    certificate = _certificates(files, CA_CERTIFICATE, where)[0]
    roots = _certificates(files, ROOT, where)
    between = _certificates(files, CHAIN, where) if files.get(CHAIN, b"").strip() else []
    if certificate.public_key() != key.public_key():
        raise AuthorityError(
            f"{where}: {CA_KEY} is not the key of {CA_CERTIFICATE}: "
            "put the two that were made together"
        )
    path = _path(certificate, between, roots, where)
    for depth, each in enumerate(path):
        _require_authority(each, depth, now, where, root=depth == len(path) - 1)
    own = path[-1]
    crl = files.get(REVOCATIONS, b"").decode("ascii", "replace").strip()
    if crl:
        _require_revocations(crl, path, now, where)
    others = tuple(each for each in roots if each != own)
    return Issuer(Authority(key, path), (own, *others), f"{crl}\n" if crl else "")


def _key(content: bytes, what: str) -> SigningKey:
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except TypeError:
        raise AuthorityError(f"{what} is encrypted: store it without a password") from None
    except (ValueError, UnsupportedAlgorithm):
        # Without the cause: it must not carry a part of the key into a log.
        raise AuthorityError(f"{what} holds no private key in PEM form") from None
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < _SMALLEST_RSA:
            raise AuthorityError(f"{what} has {key.key_size} bits: RSA needs {_SMALLEST_RSA}")
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key
    raise AuthorityError(f"{what}: only ECDSA and RSA keys work with Envoy")


def _certificates(files: Mapping[str, bytes], name: str, where: str) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(files[name])
        for each in found:
            each.extensions  # noqa: B018  (parsed when read: a damaged one is found here)
    except ValueError as error:
        raise AuthorityError(
            f"{where}: {name} holds no certificate in PEM form: {error}"
        ) from error
    return found


def _path(
    certificate: x509.Certificate,
    between: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    where: str,
) -> tuple[x509.Certificate, ...]:
    """From the signing certificate to one of the roots, each signed by the next."""
    path = _upwards(certificate, between, roots)
    last = path[-1]
    if last not in roots:
        raise AuthorityError(
            f"{where}: {_name(last)} is signed by {last.issuer.rfc4514_string() or '(no name)'}, "
            f"which is neither in {ROOT} nor in {CHAIN}: the chain must lead from "
            f"{CA_CERTIFICATE} to {ROOT}"
        )
    if not _signed(last, last):
        raise AuthorityError(
            f"{where}: {_name(last)} in {ROOT} is not signed by itself: put the root there"
        )
    return path


def _upwards(
    certificate: x509.Certificate,
    between: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
) -> tuple[x509.Certificate, ...]:
    """Each signed by the next, up to a root or as far as it goes."""
    path = [certificate]
    while path[-1] not in roots:
        above = (one for one in (*roots, *between) if one not in path and _signed(path[-1], one))
        following = next(above, None)
        if following is None:
            break
        path.append(following)
    return tuple(path)


def require_chain(
    leaf: x509.Certificate,
    between: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    now: datetime,
) -> tuple[x509.Certificate, ...]:
    """From a workload's certificate to one of the roots. Raises ``AuthorityError``."""
    path = _upwards(leaf, between, roots)
    last = path[-1]
    if last not in roots or len(path) == 1:
        raise AuthorityError(
            f"{_name(last)} is signed by {last.issuer.rfc4514_string() or '(no name)'}, which is "
            "neither with it nor among the roots that caCertificates has for this signer"
        )
    for depth, each in enumerate(path[1:]):
        _require_authority(each, depth, now, "its chain", root=depth == len(path) - 2)
    return path


def _signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _require_authority(
    certificate: x509.Certificate, below: int, now: datetime, where: str, *, root: bool
) -> None:
    """RFC 5280, 4.2.1.3 and 4.2.1.9. ``below`` counts the authorities under this one."""
    about = f"{where}: {_name(certificate)}"
    if certificate.not_valid_after_utc <= now:
        raise AuthorityError(
            f"{about} expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC: renew it"
        )
    if certificate.not_valid_before_utc > now + SKEW:
        raise AuthorityError(
            f"{about} is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC: "
            "wait, or compare this machine's clock"
        )
    constraints = extension(certificate, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        raise AuthorityError(
            f"{about} is not a CA (basicConstraints CA:TRUE is missing), so nobody accepts what "
            "it signs: request it with that extension"
        )
    if constraints.path_length is not None and constraints.path_length < below:
        raise AuthorityError(
            f"{about} allows {constraints.path_length} authorities below it (pathlen) and the chain "
            f"has {below}: renew it with a larger pathlen, or sign with it directly"
        )
    usage = extension(certificate, x509.KeyUsage)
    if usage is None and not root:
        raise AuthorityError(f"{about} has no keyUsage: request it with keyCertSign and cRLSign")
    if usage is not None and not usage.key_cert_sign:
        raise AuthorityError(
            f"{about} may not sign certificates (keyUsage lacks keyCertSign): request it with it"
        )


def _require_revocations(
    text: str, path: Sequence[x509.Certificate], now: datetime, where: str
) -> None:
    """A proxy refuses every certificate of an authority without a list once there is one.

    https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/transport_sockets/tls/v3/common.proto
    """
    about = f"{where}: {REVOCATIONS}"
    try:
        lists = revocation_lists(text)
    except ValueError as error:
        raise AuthorityError(f"{about} holds no revocation list in PEM form: {error}") from error
    for position, authority in enumerate(path):
        own = [
            each
            for each in lists
            if each.issuer == authority.subject and each.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
        ]
        if not own:
            raise AuthorityError(
                f"{about} has no list signed by {_name(authority)}: with revocation lists, each "
                "authority of the chain needs one, or proxies refuse all that it signed"
            )
        for each in own:
            if each.next_update_utc is not None and each.next_update_utc <= now:
                raise AuthorityError(
                    f"{about}: the list of {_name(authority)} was good until "
                    f"{each.next_update_utc:%Y-%m-%d %H:%M} UTC, and proxies refuse all "
                    "certificates under an old list: publish a new one"
                )
            below = path[position - 1] if position else None
            if below is not None and each.get_revoked_certificate_by_serial_number(
                below.serial_number
            ):
                raise AuthorityError(
                    f"{about} revokes {_name(below)}, with which the mesh would sign: "
                    "use another certificate"
                )


def without_list(issuers: Sequence[Issuer]) -> tuple[str, ...]:
    """Authorities whose certificates proxies would refuse when these are all trusted together.

    None, if there is no list at all.
    """
    text = "".join(issuer.crl for issuer in issuers)
    if not text:
        return ()
    listed = {each.issuer for each in revocation_lists(text)}
    path = (each for issuer in issuers for each in issuer.authority.certificates)
    return tuple(dict.fromkeys(_name(each) for each in path if each.subject not in listed))


def revocation_lists(text: str) -> list[x509.CertificateRevocationList]:
    """All lists in a PEM text. Raises ``ValueError`` for anything else."""
    end = "-----END X509 CRL-----"
    parts = [part.strip() for part in text.split(end) if part.strip()]
    if not parts:
        raise ValueError("it is empty")
    return [x509.load_pem_x509_crl(f"{part}\n{end}\n".encode()) for part in parts]


def extension(certificate: x509.Certificate, kind: type[_T]) -> _T | None:
    """The certificate's extension of that kind, if it has one."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or f"serial {certificate.serial_number:x}"


def files_of(issuer: Issuer) -> dict[str, bytes]:
    """The public files of ``issuer``, for the disk; the key is not among them."""
    path = issuer.authority.certificates
    files = {
        CA_CERTIFICATE: pem(path[0]).encode(),
        CHAIN: "".join(map(pem, path)).encode(),
        ROOT: "".join(map(pem, issuer.roots)).encode(),
    }
    return {**files, REVOCATIONS: issuer.crl.encode()} if issuer.crl else files
