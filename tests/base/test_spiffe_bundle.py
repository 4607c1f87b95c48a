"""Bundles of SPIFFE: only authorities come out of them, or nothing."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from argosy.base.names import TrustDomain
from argosy.base.spiffe_bundle import MAX_AUTHORITIES, BundleError, read_bundle
from argosy.citadel.identity import SpiffeId
from argosy.citadel.signer import create_root, pem, sign_workload
from argosy.proxy.certificates import make_request

ROOT = create_root(TrustDomain("partner"), datetime.now(UTC))
DER = base64.b64encode(ROOT.root.public_bytes(Encoding.DER)).decode()
KEY = {"use": "x509-svid", "kty": "EC", "x5c": [DER]}


def leaf() -> str:
    identity = SpiffeId.parse("spiffe://partner/ns/a/sa/b")
    _, csr = make_request(str(identity))
    chain = sign_workload(ROOT, csr, identity, datetime.now(UTC)).chain
    return "".join(chain[0].splitlines()[1:-1])


def test_the_authorities_come_out() -> None:
    others = [{"use": "jwt-svid", "kid": "x"}, {"kty": "EC"}, "text"]
    document = {"keys": [*others, KEY, KEY], "spiffe_sequence": 3, "spiffe_refresh_hint": 10}
    assert read_bundle(json.dumps(document)) == pem(ROOT.root)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ([], "no list named keys"),
        ({"keys": {}}, "no list named keys"),
        ({"keys": []}, "has the use x509-svid"),
        ({"keys": [{**KEY, "use": "sig"}]}, "has the use x509-svid"),
        ({"keys": [{"use": "x509-svid"}]}, "one certificate in x5c"),
        ({"keys": [{**KEY, "x5c": [DER, DER]}]}, "one certificate in x5c"),
        ({"keys": [{**KEY, "x5c": ["!"]}]}, "no certificate"),
        ({"keys": [{**KEY, "x5c": [DER[:40]]}]}, "no certificate"),
        ({"keys": [{**KEY, "x5c": [leaf()]}]}, "not a CA"),
        ({"keys": [KEY] * (MAX_AUTHORITIES + 1)}, "are allowed"),
    ],
)
def test_anything_else_is_refused(document: Any, reason: str) -> None:
    text = document if isinstance(document, str) else json.dumps(document)
    with pytest.raises(BundleError, match=reason):
        read_bundle(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.text() | st.integers(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["keys", "use", "x5c"]), inner)
        ),
    )
)
def test_no_text_does_harm(document: object) -> None:
    try:
        read_bundle(json.dumps(document))
    except BundleError:
        return
    raise AssertionError("no authority can come of this")
