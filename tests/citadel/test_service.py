"""The issuing service: own identity only, not too often, remembered."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from argosy.base.names import TrustDomain
from argosy.citadel.identity import SpiffeId, TrustDomains, identity_of
from argosy.citadel.limit import RateLimit
from argosy.citadel.refusal import RefusedError
from argosy.citadel.service import BURST, INTERVAL, CertificateService, ServerCertificate
from argosy.citadel.signer import create_root
from argosy.citadel.tokens import TokenAuthority, WorkloadToken

DOMAIN = TrustDomain("cluster.local")


class FakeClock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 11, 23, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


class Mesh:
    """A service with a clock to turn, and the pods that exist."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.trusted = TrustDomains(DOMAIN)
        self.pods = {"curl-1", "curl-2", "reviews-1"}
        self.root = create_root(DOMAIN, self.clock.now())
        tokens = TokenAuthority(ec.generate_private_key(ec.SECP256R1()), "demo")
        self.service = CertificateService(
            self.root, tokens, lambda: self.trusted, self.clock, is_current=self.is_current
        )

    def is_current(self, token: WorkloadToken) -> bool:
        return token.pod in self.pods

    def token(self, account: str, pod: str) -> str:
        return self.service.issue_token("default", account, pod=pod, pod_uid="u")[0]


def csr() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = builder.sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def leaf(chain: tuple[str, ...]) -> x509.Certificate:
    return x509.load_pem_x509_certificate(chain[0].encode())


async def test_a_token_gets_a_certificate_of_its_identity() -> None:
    mesh = Mesh()
    chain = await mesh.service.issue(csr(), mesh.token("curl", "curl-1"))
    assert identity_of(leaf(chain)) == SpiffeId.of(DOMAIN, "default", "curl")
    assert x509.load_pem_x509_certificate(chain[-1].encode()) == mesh.root.root


async def test_a_certificate_renews_itself() -> None:
    mesh = Mesh()
    chain = await mesh.service.issue(csr(), mesh.token("curl", "curl-1"))
    renewed = await mesh.service.issue(csr(), leaf(chain))
    assert identity_of(leaf(renewed)) == identity_of(leaf(chain))
    mesh.clock.seconds += 25 * 3600
    with pytest.raises(RefusedError, match="has expired"):
        await mesh.service.issue(csr(), leaf(chain))


async def test_a_new_certificate_names_the_trust_domain_of_now() -> None:
    mesh = Mesh()
    old = await mesh.service.issue(csr(), mesh.token("curl", "curl-1"))
    new = TrustDomain("shop.example.com")
    mesh.trusted = TrustDomains(new, frozenset({DOMAIN}))
    for proof in (leaf(old), mesh.token("curl", "curl-1")):
        chain = await mesh.service.issue(csr(), proof)
        assert identity_of(leaf(chain)) == SpiffeId.of(new, "default", "curl")
    mesh.trusted = TrustDomains(new)
    with pytest.raises(RefusedError, match="another trust domain"):
        await mesh.service.issue(csr(), leaf(old))


async def test_the_token_of_a_pod_that_is_gone_proves_nothing() -> None:
    mesh = Mesh()
    token = mesh.token("curl", "curl-1")
    mesh.pods.clear()
    with pytest.raises(RefusedError, match="default/curl-1 is gone") as refused:
        await mesh.service.issue(csr(), token)
    assert refused.value.code == 401


async def test_no_token_no_certificate() -> None:
    mesh = Mesh()
    for proof in ("", "x.y.z"):
        with pytest.raises(RefusedError, match="not valid") as refused:
            await mesh.service.issue(csr(), proof)
        assert refused.value.code == 401
    assert mesh.service.records() == ()


async def test_asking_too_often_harms_nobody_else() -> None:
    mesh = Mesh()
    request, token = csr(), mesh.token("curl", "curl-1")
    for _ in range(BURST):
        await mesh.service.issue(request, token)
    with pytest.raises(RefusedError, match="too often: wait 10 s") as refused:
        await mesh.service.issue(request, token)
    assert refused.value.code == 429
    await mesh.service.issue(request, mesh.token("curl", "curl-2"))
    await mesh.service.issue(request, mesh.token("reviews", "reviews-1"))
    mesh.clock.seconds += INTERVAL
    await mesh.service.issue(request, token)


async def test_the_last_certificate_of_each_workload_is_remembered() -> None:
    mesh = Mesh()
    await mesh.service.issue(csr(), mesh.token("curl", "curl-1"))
    await mesh.service.issue(csr(), mesh.token("reviews", "reviews-1"))
    mesh.clock.seconds += 60
    chain = await mesh.service.issue(csr(), mesh.token("curl", "curl-1"))
    reviews, curl = mesh.service.records()
    assert (reviews.identity.service_account, reviews.pod) == ("reviews", "reviews-1")
    assert curl.serial == f"{leaf(chain).serial_number:x}"
    assert curl.expires == leaf(chain).not_valid_after_utc
    assert curl.issued == mesh.clock.now()


def test_tokens_are_for_proper_names_only() -> None:
    with pytest.raises(RefusedError, match="namespace") as refused:
        Mesh().service.issue_token("a/b", "curl")
    assert refused.value.code == 400


def test_the_limit_forgets_who_asked_longest_ago() -> None:
    limit = RateLimit(burst=1, interval=100, capacity=2)
    assert limit.admit("a", 0) == 0
    assert limit.admit("a", 50) == 50
    assert limit.admit("b", 50) == 0
    assert limit.admit("a", 60) == 40
    assert limit.admit("c", 60) == 0  # b is forgotten
    assert limit.admit("b", 60) == 0
    assert limit.admit("c", 61) == 99


def test_the_control_planes_certificate_renews_in_its_half_life() -> None:
    clock = FakeClock()
    root = create_root(DOMAIN, clock.now())
    certificate = ServerCertificate(root, ["istiod.istio-system.svc"], clock)
    first = certificate.current()
    clock.seconds += 14 * 86_400
    assert certificate.current() is first
    clock.seconds += 2 * 86_400
    second = certificate.current()
    assert second is not first
    assert second.issued.not_after > first.issued.not_after
