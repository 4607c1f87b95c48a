"""Secrets and ConfigMaps → the credentials in them, or why they cannot be used.

Both forms of Istio: ``kubernetes.io/tls`` (tls.crt, tls.key, ca.crt, ca.crl) and generic (cert, key,
cacert, crl). What Envoy would refuse is found here, because a refused secret holds up its listener.
https://istio.io/latest/docs/tasks/traffic-management/ingress/secure-ingress/#key-formats
"""

from collections.abc import Mapping

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from argosy.base.log import Secret
from argosy.base.names import Namespace, ObjectKey
from argosy.model.secret import AuthorityBundle, Flaw, KeyPair

CA_SUFFIX = "-cacert"
_CERTIFICATE_KEYS = ("cert", "tls.crt")
_PRIVATE_KEYS = ("key", "tls.key")
_AUTHORITY_KEYS = ("cacert", "ca.crt")
_REVOCATION_KEYS = ("crl", "ca.crl")
_KUBERNETES = "kubernetes://"
_CONFIG_MAP = "configmap://"
_SMALLEST_RSA = 2048
"""Bits; Envoy refuses shorter keys."""
_CURVES = ("secp256r1", "secp384r1", "secp521r1")


def locate(name: str, namespace: Namespace) -> ObjectKey | Flaw:
    """The object that a ``credentialName`` means for proxies in ``namespace``."""
    kind = "Secret"
    rest = name
    if name.startswith(_CONFIG_MAP):
        kind, rest = "ConfigMap", name.removeprefix(_CONFIG_MAP)
    elif name.startswith(_KUBERNETES):
        rest = name.removeprefix(_KUBERNETES)
    elif "://" in name:
        scheme = name.partition("://")[0]
        return Flaw(
            "CredentialNotSupported",
            f"credentials by {scheme}:// are not supported",
            "name a Secret, or configmap://NAME for authorities",
        )
    owner, slash, called = rest.rpartition("/")
    if slash and owner != namespace:
        return Flaw(
            "CredentialNotAllowed",
            f"the {kind} {rest} is in another namespace than the proxy, which may not read it",
            f"put it in the namespace {namespace}",
        )
    return ObjectKey(kind, namespace, called)


def missing(key: ObjectKey) -> Flaw:
    return Flaw(
        "CredentialNotFound",
        f"there is no {key.kind} {key.name} in the namespace {key.namespace}, "
        "where the proxies are that need it",
        "create it there: each proxy reads credentials of its own namespace only",
    )


def key_pair(key: ObjectKey, data: Mapping[str, bytes]) -> KeyPair | Flaw:
    """The certificate and key of a Secret: they belong together, and Envoy takes them."""
    chain_key, chain = _entry(data, _CERTIFICATE_KEYS)
    private_key, private = _entry(data, _PRIVATE_KEYS)
    if not chain or not private:
        lacking = "certificate (tls.crt, or cert)" if not chain else "key (tls.key, or key)"
        return _invalid(key, "", f"has no {lacking}", "create it with both entries")
    try:
        certificates = x509.load_pem_x509_certificates(chain)
    except ValueError:
        return _invalid(key, chain_key, "holds no certificate in PEM form", _PEM)
    try:
        loaded = serialization.load_pem_private_key(private, None)
    except TypeError:
        return _invalid(
            key, private_key, "holds a key that is encrypted", "store it without a password"
        )
    except (ValueError, UnsupportedAlgorithm):
        return _invalid(key, private_key, "holds no private key in PEM form", _PEM)
    leaf = certificates[0]
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if leaf.public_key().public_bytes(*form) != loaded.public_key().public_bytes(*form):
        return Flaw(
            "CredentialMismatch",
            f"the key of {key} does not belong to its certificate",
            "store the key with which the certificate was requested, and the leaf first in the chain",
            private_key,
        )
    match loaded:
        case rsa.RSAPrivateKey() if loaded.key_size >= _SMALLEST_RSA:
            algorithm = "RSA"
        case ec.EllipticCurvePrivateKey() if loaded.curve.name in _CURVES:
            algorithm = "ECDSA"
        case _:
            return _invalid(
                key,
                private_key,
                "holds a key of a kind that proxies do not take",
                "use RSA with 2048 bits or more, or ECDSA with P-256, P-384 or P-521",
            )
    return KeyPair(chain, Secret(private), algorithm, leaf.not_valid_after_utc)


def authorities(key: ObjectKey, data: Mapping[str, bytes]) -> AuthorityBundle | Flaw:
    """The authorities in a Secret or ConfigMap, and what they have revoked."""
    roots_key, roots = _entry(data, _AUTHORITY_KEYS)
    if not roots:
        return _invalid(
            key,
            "",
            "has no certificates of authorities (ca.crt, or cacert)",
            f"add them, or create the Secret {key.name}{CA_SUFFIX} with them",
        )
    try:
        x509.load_pem_x509_certificates(roots)
    except ValueError:
        return _invalid(key, roots_key, "holds no certificate in PEM form", _PEM)
    crl_key, crl = _entry(data, _REVOCATION_KEYS)
    if crl:
        try:
            x509.load_pem_x509_crl(crl)
        except ValueError:
            return _invalid(key, crl_key, "holds no revocation list in PEM form", _PEM)
    return AuthorityBundle(roots, crl)


def holds_authorities(data: Mapping[str, bytes]) -> bool:
    return bool(_entry(data, _AUTHORITY_KEYS)[1])


_PEM = "paste the PEM text, from its BEGIN line to its END line"


def _entry(data: Mapping[str, bytes], keys: tuple[str, ...]) -> tuple[str, bytes]:
    """The first entry that is there, the generic form before the TLS one, as in Istio."""
    return next(((key, data[key]) for key in keys if data.get(key)), ("", b""))


def _invalid(key: ObjectKey, entry: str, what: str, hint: str) -> Flaw:
    about = f"{key}, key {entry}," if entry else f"{key}"
    return Flaw("InvalidCredential", f"{about} {what}", hint, entry)
