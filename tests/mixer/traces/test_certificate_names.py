"""Names of a workload, from a certificate as the mesh's authority signs it."""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from argosy.citadel.signer import WORKLOAD_FACTS
from argosy.mixer.traces.certificate_names import names_of

FACTS = "reviews-v1;default;reviews;v1;Kubernetes;app-of-reviews;v1"


def certificate(*names: x509.GeneralName) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(hours=1))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    return builder.sign(key, hashes.SHA256())


def facts(text: str) -> x509.OtherName:
    content = text.encode()
    length = bytes([len(content)]) if len(content) < 128 else bytes([0x81, len(content)])
    return x509.OtherName(WORKLOAD_FACTS, b"\x0c" + length + content)


def test_the_facts_tell_what_a_workload_is_called() -> None:
    uri = x509.UniformResourceIdentifier("spiffe://cluster.local/ns/default/sa/reviews")
    found = names_of(certificate(uri, facts(FACTS)))
    assert found == {"reviews-v1", "reviews", "app-of-reviews"}


def test_long_facts() -> None:
    name = "w" * 100
    found = names_of(certificate(facts(f"{name};default;{name};v1;Kubernetes;;")))
    assert found == {name}


def test_a_certificate_without_facts_tells_nothing() -> None:
    assert names_of(certificate()) == frozenset()
    assert names_of(certificate(x509.DNSName("a.test"))) == frozenset()
