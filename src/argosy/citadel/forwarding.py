"""Certificates that others sign for this mesh: what is asked of them, and what is taken from them.

An answer counts only when it is what the mesh itself would have signed: the key of the request, the
one identity that the caller has proved, no authority, a lifetime within bounds, and a chain to roots
that MeshConfig declares for the signer. Pure.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from argosy.citadel.identity import SpiffeId
from argosy.citadel.issuer import AuthorityError, extension, require_chain
from argosy.citadel.refusal import RefusedError
from argosy.citadel.requests import requested_key
from argosy.citadel.signer import SKEW, Issued, pem

LARGEST_ANSWER = 131_072
"""Bytes of a chain."""

LONGEST_CHAIN = 8
"""Certificates in an answer."""

SHORTEST_LIFE = timedelta(seconds=30)


def require_own_names(csr: str, identity: SpiffeId) -> None:
    """A request that is passed on may ask for its caller's identity and nothing else.

    Signers copy the names of a request. Raises ``RefusedError`` (400).
    """
    requested_key(csr)
    request = x509.load_pem_x509_csr(csr.encode())
    try:
        names = list(request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        asked = [str(extension.oid.dotted_string) for extension in request.extensions]
    except x509.ExtensionNotFound:
        names, asked = [], []
    except (ValueError, x509.DuplicateExtension) as error:
        raise RefusedError(400, f"the extensions of the request are damaged: {error}") from error
    if names != [x509.UniformResourceIdentifier(str(identity))]:
        raise RefusedError(
            400, f"a request for this signer must name {identity}, and nothing besides it"
        )
    if list(request.subject):
        raise RefusedError(400, "a request for this signer must have an empty subject")
    if len(asked) != 1:
        raise RefusedError(400, "a request for this signer may ask for no extension but its name")


def verified(
    answer: Sequence[str],
    csr: str,
    identity: SpiffeId,
    roots: Sequence[x509.Certificate],
    now: datetime,
    maximum: timedelta,
) -> Issued:
    """The answer as a chain, leaf first and root last. Raises ``RefusedError`` (502)."""
    try:
        certificates = _read("".join(answer))
        leaf, *between = certificates
        _require_leaf(leaf, csr, identity, now, maximum)
        chain = require_chain(leaf, between, roots, now)
    except (ValueError, AuthorityError) as error:
        raise RefusedError(502, f"what the signer answered is not taken: {error}") from error
    return Issued(
        tuple(map(pem, chain)),
        leaf.serial_number,
        leaf.not_valid_before_utc,
        leaf.not_valid_after_utc,
    )


def _read(text: str) -> list[x509.Certificate]:
    if len(text) > LARGEST_ANSWER:
        raise ValueError(f"it is larger than {LARGEST_ANSWER} bytes")
    try:
        found = x509.load_pem_x509_certificates(text.encode())
        for each in found:
            each.extensions  # noqa: B018  (parsed when read: a damaged one is found here)
    except (ValueError, x509.DuplicateExtension) as error:
        reason = str(error).partition(" See ")[0]
        raise ValueError(f"it holds no certificates in PEM form ({reason})") from error
    if len(found) > LONGEST_CHAIN:
        raise ValueError(f"it holds {len(found)} certificates, {LONGEST_CHAIN} are allowed")
    return found


def _require_leaf(
    leaf: x509.Certificate, csr: str, identity: SpiffeId, now: datetime, maximum: timedelta
) -> None:
    if _public(leaf.public_key()) != _public(requested_key(csr)):
        raise ValueError("it certifies another key than the one of the request")
    names = extension(leaf, x509.SubjectAlternativeName)
    uris = [] if names is None else names.get_values_for_type(x509.UniformResourceIdentifier)
    if uris != [str(identity)]:
        raise ValueError(f"it is for {', '.join(uris) or 'nobody'}, not for {identity}")
    others = [name for name in names or () if not isinstance(name, x509.UniformResourceIdentifier)]
    if others:
        raise ValueError(f"it is for {others[0].value!r} besides {identity}")
    constraints = extension(leaf, x509.BasicConstraints)
    usage = extension(leaf, x509.KeyUsage)
    if constraints is not None and constraints.ca:
        raise ValueError("it is an authority, not a workload's certificate")
    # https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md#43-key-usage, and Envoy's
    # SPIFFE validator refuses all others.
    if usage is None or not usage.digital_signature or usage.key_cert_sign or usage.crl_sign:
        raise ValueError(
            "its keyUsage is not a workload's: it needs digitalSignature, without keyCertSign and "
            "cRLSign"
        )
    purposes = extension(leaf, x509.ExtendedKeyUsage)
    for purpose in (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH):
        if purposes is not None and purpose not in purposes:
            raise ValueError(
                "it may not be used for both ends of TLS (extendedKeyUsage needs serverAuth and "
                "clientAuth)"
            )
    begins, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    if begins > now + SKEW:
        raise ValueError(f"it begins at {begins:%Y-%m-%d %H:%M:%S} UTC: compare the clocks")
    if ends < now + SHORTEST_LIFE:
        raise ValueError(f"it ends at {ends:%Y-%m-%d %H:%M:%S} UTC: compare the clocks")
    if ends - now > maximum:
        raise ValueError(
            f"it lives until {ends:%Y-%m-%d}, longer than {maximum.total_seconds() / 3600:g} h, "
            "the most that is allowed here"
        )


def _public(key: object) -> bytes:
    encode = getattr(key, "public_bytes", None)
    if encode is None:
        return b""
    found: bytes = encode(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return found
