"""What others sign: taken only when it is what the mesh would have signed."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from argosy.base.names import TrustDomain
from argosy.citadel.forwarding import LARGEST_ANSWER, require_own_names, verified
from argosy.citadel.identity import SpiffeId
from argosy.citadel.refusal import RefusedError
from argosy.citadel.signer import Authority, create_intermediate, create_root, pem
from argosy.proxy.certificates import make_request

NOW = datetime(2026, 7, 1, tzinfo=UTC)
DOMAIN = TrustDomain("cluster.local")
ME = SpiffeId.parse("spiffe://cluster.local/ns/foo/sa/default")
ROOT = create_root(DOMAIN, NOW)
BETWEEN = create_intermediate(ROOT, DOMAIN, NOW)
STRANGER = create_root(DOMAIN, NOW)
OLD = create_root(DOMAIN, NOW - timedelta(days=400), timedelta(days=300))
BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
DAY = timedelta(days=1)
KEY, CSR = make_request(str(ME))
NOBODY = x509.Name([])


def usage(**more: bool) -> x509.KeyUsage:
    none = dict.fromkeys(
        (
            "content_commitment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return x509.KeyUsage(**{**none, "digital_signature": True, "key_encipherment": True, **more})


@dataclass(frozen=True)
class Leaf:
    """A certificate as a signer may make it; the defaults are right."""

    by: Authority = BETWEEN
    key: ec.EllipticCurvePublicKey | None = None
    names: tuple[x509.GeneralName, ...] = (x509.UniformResourceIdentifier(str(ME)),)
    begins: datetime = NOW - timedelta(minutes=1)
    ends: datetime = NOW + DAY
    ca: bool = False
    usage: x509.KeyUsage | None = field(default_factory=usage)
    purposes: tuple[x509.ObjectIdentifier, ...] = BOTH

    def chain(self) -> list[str]:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.by.certificate.subject)
            .public_key(self.key or KEY.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.begins)
            .not_valid_after(self.ends)
            .add_extension(x509.BasicConstraints(ca=self.ca, path_length=None), critical=True)
        )
        if self.names:
            builder = builder.add_extension(x509.SubjectAlternativeName(self.names), critical=True)
        if self.usage is not None:
            builder = builder.add_extension(self.usage, critical=True)
        if self.purposes:
            builder = builder.add_extension(x509.ExtendedKeyUsage(self.purposes), critical=False)
        made = builder.sign(self.by.key, hashes.SHA256())
        return [pem(made), *map(pem, self.by.certificates)]


def verdict(answer: list[str], roots: tuple[x509.Certificate, ...] = (ROOT.root,)) -> str:
    """Nothing when it is taken."""
    try:
        verified(answer, CSR, ME, roots, NOW, timedelta(days=90))
    except RefusedError as error:
        return f"{error.code}: {error.message}"
    return ""


def test_a_chain_is_taken_however_it_comes() -> None:
    chain = Leaf().chain()
    assert len(chain) == 3
    for answer in (chain, chain[:-1], ["".join(chain)]):
        found = verified(answer, CSR, ME, (ROOT.root,), NOW, timedelta(days=90))
        assert list(found.chain) == chain, "the root goes with it"
        assert (found.not_before, found.not_after) == (NOW - timedelta(minutes=1), NOW + DAY)
    assert verdict(replace(Leaf(), purposes=()).chain()) == ""


OTHER = ec.generate_private_key(ec.SECP256R1()).public_key()
SERVICE = x509.DNSName("istiod.istio-system.svc")
URI = x509.UniformResourceIdentifier


@pytest.mark.parametrize(
    ("leaf", "reason"),
    [
        (Leaf(key=OTHER), "another key"),
        (Leaf(names=(URI("spiffe://cluster.local/ns/foo/sa/admin"),)), "not for spiffe"),
        (Leaf(names=(URI(str(ME)), URI("spiffe://cluster.local/ns/a/sa/b"))), "not for spiffe"),
        (Leaf(names=(URI(str(ME)), SERVICE)), "besides"),
        (Leaf(names=(SERVICE,)), "for nobody"),
        (Leaf(names=()), "for nobody"),
        (Leaf(ca=True), "an authority"),
        (Leaf(usage=usage(key_cert_sign=True)), "keyUsage"),
        (Leaf(usage=usage(digital_signature=False)), "keyUsage"),
        (Leaf(usage=None), "keyUsage"),
        (Leaf(purposes=BOTH[:1]), "both ends"),
        (Leaf(begins=NOW + timedelta(hours=1)), "begins"),
        (Leaf(ends=NOW + timedelta(seconds=5)), "ends"),
        (Leaf(ends=NOW + 91 * DAY), "longer than 2160 h"),
        (Leaf(by=STRANGER), "neither with it nor among the roots"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_right_is_refused(leaf: Leaf, reason: str) -> None:
    told = verdict(leaf.chain())
    assert told.startswith("502: what the signer answered is not taken")
    assert reason in told


def test_a_chain_must_lead_to_a_declared_root_through_authorities() -> None:
    chain = Leaf().chain()
    assert "neither with it" in verdict([chain[0]]), "the one between is missing"
    assert "neither with it" in verdict(chain, ())
    assert "neither with it" in verdict(chain, (STRANGER.root,))
    assert "expired" in verdict(Leaf(by=OLD).chain(), (OLD.root,))
    leaf = x509.load_pem_x509_certificate(chain[0].encode())
    assert "neither with it" in verdict(chain, (leaf,)), "a workload's certificate is no root"


@pytest.mark.parametrize(
    "change",
    [
        lambda _: [],
        lambda _: ["nonsense"],
        lambda chain: [chain[0][:100]],
        lambda chain: [*chain, *chain[1:] * 5],
        lambda chain: [*chain, " " * LARGEST_ANSWER],
    ],
)
def test_nonsense_is_refused(change: Callable[[list[str]], list[str]]) -> None:
    assert "not taken" in verdict(change(Leaf().chain()))


def request(*extensions: x509.ExtensionType, name: x509.Name = NOBODY) -> str:
    builder = x509.CertificateSigningRequestBuilder(subject_name=name)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    signed = builder.sign(KEY, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


OWN = x509.SubjectAlternativeName([URI(str(ME))])
NAMED = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "system:masters")])


@pytest.mark.parametrize(
    "csr",
    [
        request(),
        request(x509.SubjectAlternativeName([URI("spiffe://cluster.local/ns/foo/sa/admin")])),
        request(x509.SubjectAlternativeName([URI(str(ME)), SERVICE])),
        request(OWN, x509.BasicConstraints(ca=True, path_length=None)),
        request(OWN, name=NAMED),
        "nonsense",
    ],
    ids=["no name", "another", "one more", "an authority", "a subject", "nonsense"],
)
def test_a_request_that_is_passed_on_names_its_caller_only(csr: str) -> None:
    require_own_names(CSR, ME)
    with pytest.raises(RefusedError) as error:
        require_own_names(csr, ME)
    assert error.value.code == 400
