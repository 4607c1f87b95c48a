"""Certificates as X509-SVID and RFC 5280 want them, also in OpenSSL's eyes."""

import ipaddress
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from argosy.base.names import TrustDomain
from argosy.citadel.identity import SpiffeId, identity_of
from argosy.citadel.refusal import RefusedError
from argosy.citadel.requests import MAXIMUM_SIZE
from argosy.citadel.signer import (
    WORKLOAD_FACTS,
    Authority,
    create_intermediate,
    create_root,
    server_credential,
    sign_workload,
)

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DOMAIN = TrustDomain("cluster.local")
REVIEWS = SpiffeId.of(DOMAIN, "default", "bookinfo-reviews")

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@pytest.fixture(scope="module")
def root() -> Authority:
    return create_root(DOMAIN, NOW)


def csr(key: Key, *, san: str = "", common_name: str = "") -> str:
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    if san:
        names = x509.SubjectAlternativeName(
            [x509.UniformResourceIdentifier(san), x509.DNSName("istiod.istio-system.svc")]
        )
        builder = builder.add_extension(names, critical=False)
        builder = builder.add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.PEM).decode()


def p256() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def leaf_of(chain: tuple[str, ...]) -> x509.Certificate:
    return x509.load_pem_x509_certificate(chain[0].encode())


def test_a_workload_certificate_has_the_profile_of_an_svid(root: Authority) -> None:
    key = p256()
    issued = sign_workload(root, csr(key), REVIEWS, NOW)
    leaf = leaf_of(issued.chain)
    assert leaf.public_key() == key.public_key()
    assert identity_of(leaf) == REVIEWS
    assert leaf.not_valid_before_utc == NOW - timedelta(minutes=2)
    assert leaf.not_valid_after_utc == NOW + timedelta(hours=24) == issued.not_after
    assert leaf.serial_number == issued.serial
    assert leaf.subject == x509.Name([])
    get = leaf.extensions.get_extension_for_class
    assert get(x509.SubjectAlternativeName).critical
    assert list(get(x509.SubjectAlternativeName).value) == [
        x509.UniformResourceIdentifier("spiffe://cluster.local/ns/default/sa/bookinfo-reviews")
    ]
    usage = get(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert usage.value.key_encipherment
    assert not usage.value.key_cert_sign
    assert not usage.value.crl_sign
    assert set(get(x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    }
    assert get(x509.BasicConstraints).critical
    assert not get(x509.BasicConstraints).value.ca
    identifier = root.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    assert get(x509.AuthorityKeyIdentifier).value.key_identifier == identifier.value.digest
    assert get(x509.SubjectKeyIdentifier).value == x509.SubjectKeyIdentifier.from_public_key(
        key.public_key()
    )
    leaf.verify_directly_issued_by(root.certificate)


@pytest.mark.parametrize("size", [1, 127, 128, 255, 256, 700])
def test_facts_of_a_workload_are_one_more_name(root: Authority, size: int) -> None:
    """As UTF8String in DER (X.690, 8.1.3): OpenSSL shows it, and the identity is as without."""
    facts = "reviews;" + "x" * (size - 8) if size > 8 else "x" * size
    issued = sign_workload(root, csr(p256()), REVIEWS, NOW, facts=facts)
    names = leaf_of(issued.chain).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    (other,) = names.value.get_values_for_type(x509.OtherName)
    assert other.type_id == WORKLOAD_FACTS
    assert other.value.endswith(facts.encode())
    assert identity_of(leaf_of(issued.chain)) == REVIEWS
    done = subprocess.run(
        ["openssl", "x509", "-noout", "-ext", "subjectAltName"],
        input=issued.chain[0],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"UTF8:{facts}" in done.stdout.replace("othername: ", "").replace(" ", "") or (
        facts in done.stdout
    )


def test_what_the_request_wishes_for_is_ignored(root: Authority) -> None:
    request = csr(p256(), san="spiffe://cluster.local/ns/kube-system/sa/admin", common_name="root")
    leaf = leaf_of(sign_workload(root, request, REVIEWS, NOW).chain)
    assert identity_of(leaf) == REVIEWS
    assert leaf.subject == x509.Name([])
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert len(names) == 1
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_serials_do_not_repeat(root: Authority) -> None:
    request = csr(p256())
    serials = {sign_workload(root, request, REVIEWS, NOW).serial for _ in range(20)}
    assert len(serials) == 20


def test_openssl_accepts_the_chain_through_an_intermediate(root: Authority, tmp_path: Path) -> None:
    intermediate = create_intermediate(root, DOMAIN, NOW)
    issued = sign_workload(intermediate, csr(p256()), REVIEWS, NOW)
    assert len(issued.chain) == 3
    for name, text in zip(("leaf", "between", "root"), issued.chain, strict=True):
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        f"openssl verify -x509_strict -purpose sslclient -attime {int(NOW.timestamp())} "
        "-CAfile root -untrusted between leaf",
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "leaf: OK", done.stderr


def test_authorities_are_authorities(root: Authority) -> None:
    intermediate = create_intermediate(root, DOMAIN, NOW)
    for authority, length in ((root, 1), (intermediate, 0)):
        get = authority.certificate.extensions.get_extension_for_class
        assert get(x509.BasicConstraints).critical
        assert get(x509.BasicConstraints).value == x509.BasicConstraints(True, length)
        assert get(x509.KeyUsage).critical
        assert get(x509.KeyUsage).value.key_cert_sign
        assert not get(x509.KeyUsage).value.digital_signature
        public = authority.certificate.public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey)
        assert isinstance(public.curve, ec.SECP256R1)
    assert "PRIVATE" not in repr(root)


def test_a_leaf_does_not_outlive_its_issuer() -> None:
    short = create_root(DOMAIN, NOW, lifetime=timedelta(hours=3))
    assert sign_workload(short, csr(p256()), REVIEWS, NOW).not_after == NOW + timedelta(hours=3)
    with pytest.raises(RefusedError, match="expired on 2026-11-23") as refused:
        sign_workload(short, csr(p256()), REVIEWS, NOW + timedelta(hours=3))
    assert refused.value.code == 503


def test_a_server_certificate_names_hosts_and_addresses(root: Authority) -> None:
    names = ["istiod.istio-system.svc", "istiod.istio-system", "10.244.0.1", "fd00::1"]
    credential = server_credential(root, names, NOW)
    leaf = leaf_of(credential.issued.chain)
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert found.get_values_for_type(x509.DNSName) == names[:2]
    assert found.get_values_for_type(x509.IPAddress) == list(map(ipaddress.ip_address, names[2:]))
    purpose = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purpose) == [ExtendedKeyUsageOID.SERVER_AUTH]
    key = serialization.load_pem_private_key(bytes(credential.key), None)
    assert key.public_key() == leaf.public_key()
    assert "PRIVATE" not in repr(credential)


@pytest.mark.parametrize(
    "key",
    [
        p256(),
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(65_537, 2_048),
    ],
    ids=["P-256", "P-384", "RSA-2048"],
)
def test_keys_that_envoy_takes(root: Authority, key: ec.EllipticCurvePrivateKey) -> None:
    chain = sign_workload(root, csr(key), REVIEWS, NOW).chain
    assert leaf_of(chain).public_key() == key.public_key()


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (ec.generate_private_key(ec.SECP521R1()), "secp521r1: use P-256 or P-384"),
        (ec.generate_private_key(ec.SECP256K1()), "secp256k1"),
        (rsa.generate_private_key(65_537, 1_024), "RSA with 1024 bits"),
        (ed25519.Ed25519PrivateKey.generate(), "Ed25519"),
    ],
    ids=["P-521", "secp256k1", "RSA-1024", "Ed25519"],
)
def test_keys_that_do_not_work_are_refused(root: Authority, key: Key, words: str) -> None:
    with pytest.raises(RefusedError, match=words) as refused:
        sign_workload(root, csr(key), REVIEWS, NOW)
    assert refused.value.code == 400


def other_key_in(request: str) -> str:
    """The request with another public key, under the old signature."""
    der = x509.load_pem_x509_csr(request.encode()).public_bytes(serialization.Encoding.DER)
    form = (serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    old = x509.load_pem_x509_csr(request.encode()).public_key()
    assert isinstance(old, ec.EllipticCurvePublicKey)
    forged = der.replace(old.public_bytes(*form), p256().public_key().public_bytes(*form))
    assert forged != der
    return x509.load_der_x509_csr(forged).public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize(
    ("request_text", "words"),
    [
        ("", "one PEM block"),
        ("not pem", "one PEM block"),
        ("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----", "damaged"),
        (csr(p256()).replace("CERTIFICATE REQUEST", "PRIVATE KEY"), "damaged"),
        (csr(p256()) * 2, "one PEM block"),
        ("x" * (MAXIMUM_SIZE + 1), "larger than 16384"),
        (other_key_in(csr(p256())), "not signed by the key"),
    ],
    ids=["empty", "text", "garbage", "wrong label", "two", "huge", "forged"],
)
def test_bad_requests_are_refused(root: Authority, request_text: str, words: str) -> None:
    with pytest.raises(RefusedError, match=words) as refused:
        sign_workload(root, request_text, REVIEWS, NOW)
    assert refused.value.code == 400
