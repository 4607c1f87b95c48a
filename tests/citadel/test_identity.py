"""SPIFFE ids by the letter of the specification, and who a certificate names."""

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from argosy.base.names import TrustDomain
from argosy.citadel.identity import Caller, Proof, SpiffeId, TrustDomains, caller_by_certificate
from argosy.citadel.refusal import RefusedError

DOMAIN = TrustDomain("cluster.local")
NOW = datetime(2026, 11, 23, tzinfo=UTC)


def certificate(*names: x509.GeneralName) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    nobody = x509.Name([])
    builder = x509.CertificateBuilder(nobody, nobody, key.public_key(), 1, NOW, NOW)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    return builder.sign(key, hashes.SHA256())


def test_an_identity_reads_as_istio_writes_it() -> None:
    identity = SpiffeId.parse("spiffe://cluster.local/ns/default/sa/bookinfo-productpage")
    assert identity == SpiffeId.of(DOMAIN, "default", "bookinfo-productpage")
    assert str(identity) == "spiffe://cluster.local/ns/default/sa/bookinfo-productpage"


segments = st.text("abcXYZ019-_.", min_size=1, max_size=30).filter(lambda s: s not in (".", ".."))


@given(st.text("abc019-_.", min_size=1, max_size=30), segments, segments)
def test_parse_is_the_inverse_of_str(domain: str, namespace: str, account: str) -> None:
    identity = SpiffeId.of(TrustDomain(domain), namespace, account)
    assert SpiffeId.parse(str(identity)) == identity


@given(st.text(max_size=60))
def test_any_text_parses_to_itself_or_not_at_all(text: str) -> None:
    try:
        identity = SpiffeId.parse("spiffe://" + text)
    except ValueError:
        return
    assert str(identity) == "spiffe://" + text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "spiffe://cluster.local",
        "spiffe://cluster.local/",
        "spiffe://cluster.local/ns/a/sa/b/",
        "spiffe://cluster.local//ns/a/sa/b",
        "spiffe://cluster.local/ns/a/sa/",
        "spiffe://cluster.local/ns/../sa/b",
        "spiffe://cluster.local/ns/./sa/b",
        "spiffe://cluster.local/sa/b/ns/a",
        "spiffe://cluster.local/ns/a/sa/b/sa/c",
        "spiffe://Cluster.local/ns/a/sa/b",
        "SPIFFE://cluster.local/ns/a/sa/b",
        "https://cluster.local/ns/a/sa/b",
        "spiffe:/cluster.local/ns/a/sa/b",
        "spiffe://cluster.local:443/ns/a/sa/b",
        "spiffe://user@cluster.local/ns/a/sa/b",
        "spiffe:///ns/a/sa/b",
        "spiffe://cluster.local/ns/a/sa/b?x=1",
        "spiffe://cluster.local/ns/a/sa/b#x",
        "spiffe://cluster.local/ns/a%2f/sa/b",
        "spiffe://cluster.local/ns/a/sa/b\n",
        "spiffe://cluster.local/ns/a/sa/b\x00",
        "spiffe://cluster.local/ns/ä/sa/b",
        "spiffe://" + "a" * 256 + "/ns/a/sa/b",
        "spiffe://cluster.local/ns/a/sa/" + "b" * 2048,
    ],
)
def test_other_spellings_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"SPIFFE id|trust domain"):
        SpiffeId.parse(text)


def test_a_certificate_names_its_caller() -> None:
    uri = x509.UniformResourceIdentifier("spiffe://cluster.local/ns/default/sa/curl")
    caller = caller_by_certificate(certificate(uri), TrustDomains(DOMAIN))
    assert caller == Caller(SpiffeId.of(DOMAIN, "default", "curl"), Proof.CERTIFICATE)


def test_a_mesh_that_changed_its_name_still_knows_its_old_certificates() -> None:
    uri = x509.UniformResourceIdentifier("spiffe://cluster.local/ns/default/sa/curl")
    trusted = TrustDomains(TrustDomain("shop.example.com"), frozenset({DOMAIN}))
    assert caller_by_certificate(certificate(uri), trusted).identity.trust_domain == DOMAIN


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "no subject alternative name"),
        ([x509.DNSName("a.example")], "one URI, this one has 0"),
        ([x509.UniformResourceIdentifier("spiffe://cluster.local/ns/a/sa/b")] * 2, "has 2"),
        ([x509.UniformResourceIdentifier("https://example.com")], "not a workload's"),
        ([x509.UniformResourceIdentifier("spiffe://other/ns/a/sa/b")], "another trust domain"),
    ],
)
def test_a_certificate_that_proves_nothing(names: list[x509.GeneralName], words: str) -> None:
    with pytest.raises(RefusedError, match=words) as refused:
        caller_by_certificate(certificate(*names), TrustDomains(DOMAIN))
    assert refused.value.code == 401


def test_a_caller_gets_only_its_own() -> None:
    own, other = SpiffeId.of(DOMAIN, "default", "curl"), SpiffeId.of(DOMAIN, "default", "reviews")
    caller = Caller(own, Proof.TOKEN)
    caller.require(own)
    with pytest.raises(RefusedError, match=r"sa/curl may not have .*sa/reviews") as refused:
        caller.require(other)
    assert refused.value.code == 403
