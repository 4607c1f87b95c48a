"""Certificate signing requests: PEM in, the public key out. Nothing else in a request counts."""

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from argosy.citadel.refusal import RefusedError

MAXIMUM_SIZE = 16_384
"""Bytes of a request; RSA with 8,192 bits takes about 3,000."""

MINIMUM_RSA_BITS = 2_048
"""Envoy refuses RSA keys below: https://github.com/envoyproxy/envoy/pull/5318"""

MAXIMUM_RSA_BITS = 8_192
"""Above, checking signatures costs more than a handshake should."""

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


def requested_key(csr: str) -> PublicKey:
    """The key of a PEM request, whose holder has signed it.

    Names and extensions that the request asks for are ignored: whoever signs knows the caller.
    Raises ``RefusedError`` (400) for anything but one well-formed, small request with a key
    that every Envoy of the mesh can verify.
    """
    if len(csr) > MAXIMUM_SIZE:
        raise RefusedError(400, f"the request is larger than {MAXIMUM_SIZE} bytes")
    if csr.count("-----BEGIN") != 1:
        raise RefusedError(400, "expected one PEM block, CERTIFICATE REQUEST")
    try:
        request = x509.load_pem_x509_csr(csr.encode())
        key = _allowed(request.public_key())
        signed = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm) as error:
        raise RefusedError(400, f"the certificate signing request is damaged: {error}") from error
    if not signed:
        raise RefusedError(400, "the request is not signed by the key that it holds")
    return key


def _allowed(key: object) -> PublicKey:
    match key:
        case ec.EllipticCurvePublicKey():
            # Envoy takes P-384 since 1.33: https://github.com/envoyproxy/envoy/pull/36369
            if not isinstance(key.curve, (ec.SECP256R1, ec.SECP384R1)):
                raise RefusedError(400, f"curve {key.curve.name}: use P-256 or P-384")
            return key
        case rsa.RSAPublicKey():
            if not MINIMUM_RSA_BITS <= key.key_size <= MAXIMUM_RSA_BITS:
                raise RefusedError(
                    400,
                    f"RSA with {key.key_size} bits: use {MINIMUM_RSA_BITS} to "
                    f"{MAXIMUM_RSA_BITS}, or better P-256",
                )
            return key
    # Ed25519 too: Envoy does not accept its signatures from a peer.
    # https://github.com/envoyproxy/envoy/issues/25727
    name = type(key).__name__.lstrip("_").removesuffix("PublicKey")
    raise RefusedError(400, f"keys of type {name} do not work with Envoy: use P-256")
