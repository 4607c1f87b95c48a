"""A small issuer of tokens, to try RequestAuthentication with.

issuer.py KEY keys                          the public key, as a JSON Web Key Set
issuer.py KEY token [NAME=VALUE ...]        a token; VALUE may be JSON
          [--issuer URL] [--subject NAME] [--expire SECONDS]

KEY is a file with the private key. It is made when it is not there.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

ISSUER = "https://issuer.example.com"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("key", type=Path)
    parser.add_argument("what", choices=("keys", "token"))
    parser.add_argument("claims", nargs="*", metavar="NAME=VALUE")
    parser.add_argument("--issuer", default=ISSUER)
    parser.add_argument("--subject", default="alice")
    parser.add_argument("--expire", type=int, default=3600, metavar="SECONDS")
    options = parser.parse_args()
    key = private_key(options.key)
    if options.what == "keys":
        public: Any = KeySet([key]).as_dict(private=False)
        sys.stdout.write(json.dumps(public) + "\n")
        return
    now = int(time.time())
    claims: dict[str, Any] = {
        "iss": options.issuer,
        "sub": options.subject,
        "iat": now,
        "exp": now + options.expire,
        **dict(claim(text) for text in options.claims),
    }
    header = {"alg": "RS256", "typ": "JWT", "kid": key.kid}
    sys.stdout.write(jwt.encode(header, claims, key, algorithms=["RS256"]) + "\n")


def private_key(path: Path) -> RSAKey:
    if path.exists():
        return RSAKey.import_key(json.loads(path.read_text()))
    key = RSAKey.generate_key(2048, parameters={"use": "sig", "alg": "RS256"}, auto_kid=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(key.as_dict(private=True), file)
    return key


def claim(text: str) -> tuple[str, Any]:
    """``groups=["a","b"]`` and ``age=7`` are JSON; ``name=alice`` is a text."""
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


if __name__ == "__main__":
    main()
