"""An issuer of end users' tokens, for tests: keys, key sets, and tokens good and bad in every way."""

import hashlib
import hmac
import json
from collections.abc import Mapping

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from argosy.base.jwks import encoded

Claims = Mapping[str, object]


class Issuer:
    """Signs with RS256. ``kid`` names its key, in the key set and in tokens."""

    def __init__(self, name: str, kid: str = "key-1") -> None:
        self.name = name
        self.kid = kid
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def jwk(self) -> dict[str, str]:
        """The public key."""
        numbers = self._key.public_key().public_numbers()
        return {
            "kty": "RSA",
            "kid": self.kid,
            "alg": "RS256",
            "use": "sig",
            "n": encoded(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")),
            "e": encoded(numbers.e.to_bytes(3, "big")),
        }

    def key_set(self) -> str:
        return key_set(self)

    def token(self, claims: Claims | None = None, **header: object) -> str:
        """A token; ``claims`` are added to ``iss`` and ``sub``, and None takes one away."""
        told = {"alg": "RS256", "typ": "JWT", "kid": self.kid, **header}
        message = _message(told, {"iss": self.name, "sub": "user", **(claims or {})})
        signature = self._key.sign(message.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{message}.{encoded(signature)}"

    def unsigned(self, claims: Claims | None = None) -> str:
        """Says that it needs no signature (``alg: none``)."""
        told = {"alg": "none", "typ": "JWT", "kid": self.kid}
        return _message(told, {"iss": self.name, "sub": "user", **(claims or {})}) + "."

    def confused(self, claims: Claims | None = None) -> str:
        """Signed with HS256, the public key as the secret."""
        told = {"alg": "HS256", "typ": "JWT", "kid": self.kid}
        message = _message(told, {"iss": self.name, "sub": "user", **(claims or {})})
        secret = json.dumps(self.jwk()).encode()
        return f"{message}.{encoded(hmac.new(secret, message.encode(), hashlib.sha256).digest())}"


def key_set(*issuers: Issuer) -> str:
    return json.dumps({"keys": [issuer.jwk() for issuer in issuers]})


def _message(header: Claims, claims: Claims) -> str:
    kept = {name: value for name, value in claims.items() if value is not None}
    return f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(kept).encode())}"
