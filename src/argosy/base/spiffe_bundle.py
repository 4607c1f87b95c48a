"""SPIFFE bundles: the certificates of a trust domain's authorities, out of a JSON Web Key Set.

https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Trust_Domain_and_Bundle.md
https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md#6-representation-in-the-spiffe-bundle
"""

import base64
import binascii
import json

from cryptography import x509
from cryptography.hazmat.primitives import serialization

MAX_AUTHORITIES = 64

_USE = "x509-svid"


class BundleError(Exception):
    """The text is no bundle that authorities can be taken from; the message says why."""


def read_bundle(text: str) -> str:
    """The authorities as PEM, in the order of the bundle. Raises BundleError.

    Keys for another use are left out, as the standard demands; there must be one for this.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"it is not JSON: {error}") from error
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        raise BundleError("it has no list named keys")
    found = [key for key in keys if isinstance(key, dict) and key.get("use") == _USE]
    if not found:
        raise BundleError(f"no key in it has the use {_USE}: nobody would be trusted")
    if len(found) > MAX_AUTHORITIES:
        raise BundleError(f"it has {len(found)} authorities, {MAX_AUTHORITIES} are allowed")
    return "".join(dict.fromkeys(_authority(key, index) for index, key in enumerate(found)))


def _authority(key: dict[str, object], index: int) -> str:
    chain = key.get("x5c")
    if not isinstance(chain, list) or len(chain) != 1 or not isinstance(chain[0], str):
        raise BundleError(f"authority {index} does not have one certificate in x5c")
    try:
        certificate = x509.load_der_x509_certificate(base64.b64decode(chain[0], validate=True))
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        pem = certificate.public_bytes(serialization.Encoding.PEM)
    except x509.ExtensionNotFound:
        raise BundleError(f"authority {index} is not a CA") from None
    except (ValueError, binascii.Error) as error:
        raise BundleError(f"authority {index} is no certificate: {error}") from error
    if not constraints.ca:
        raise BundleError(f"authority {index} is not a CA")
    return pem.decode()
