"""The issuing service: own identity only, not too often, remembered."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from argosy.base.names import TrustDomain
from argosy.citadel.identity import SpiffeId, identity_of
from argosy.citadel.issuer import self_made
from argosy.citadel.limit import RateLimit
from argosy.citadel.refusal import RefusedError
from argosy.citadel.service import (
    BURST,
    INTERVAL,
    CertificateService,
    NoOtherSigners,
    Rules,
    ServerCertificate,
)
from argosy.citadel.signer import create_intermediate, create_root, pem, sign_workload
from argosy.citadel.statistics import Statistics
from argosy.citadel.tokens import TokenAuthority, WorkloadToken
from argosy.citadel.trust import Trust
from argosy.model.secret import TrustAnchor

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
        self.pods = {"curl-1", "curl-2", "reviews-1", "agent-1"}
        self.root = create_root(DOMAIN, self.clock.now())
        tokens = TokenAuthority(ec.generate_private_key(ec.SECP256R1()), "demo")
        self.trust = Trust(
            self_made(create_intermediate(self.root, DOMAIN, self.clock.now())), DOMAIN
        )
        self.rules = Rules(nodes=frozenset({("istio-system", "node-agent")}))
        self.service = CertificateService(
            lambda: self.trust,
            tokens,
            self.clock,
            rules=self.rules,
            is_current=self.is_current,
            shares_node=lambda caller, wanted: wanted.service_account == "neighbour",
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
    return _read(chain[0])


def _read(text: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(text.encode())


async def test_a_token_gets_a_certificate_of_its_identity() -> None:
    mesh = Mesh()
    chain = await mesh.service.issue(csr(), mesh.token("curl", "curl-1"))
    assert identity_of(leaf(chain)) == SpiffeId.of(DOMAIN, "default", "curl")
    assert x509.load_pem_x509_certificate(chain[-1].encode()) == mesh.root.root


async def test_a_certificate_renews_itself() -> None:
    mesh = Mesh()
    chain = await mesh.service.issue(csr(), mesh.token("curl", "curl-1"))
    renewed = await mesh.service.issue(csr(), [leaf(chain)])
    assert identity_of(leaf(renewed)) == identity_of(leaf(chain))
    mesh.clock.seconds += 25 * 3600
    with pytest.raises(RefusedError, match="has expired"):
        await mesh.service.issue(csr(), [leaf(chain)])


class Chosen(NoOtherSigners):
    """Every workload has that signer."""

    def __init__(self, signer: str) -> None:
        self.signer = signer

    def choices(self, identity: SpiffeId, pod: str) -> frozenset[str] | None:
        return frozenset((self.signer,))


@pytest.mark.parametrize("signer", ["signers.example/foo", "foo", "signers.example/bar", ""])
def test_a_certificate_of_another_signer_than_its_own_proves_nothing(signer: str) -> None:
    mesh = Mesh()
    now, curl = mesh.clock.now(), SpiffeId.of(DOMAIN, "default", "curl")
    names = ("signers.example/foo", "signers.example/bar")
    others = {name: create_intermediate(create_root(DOMAIN, now), DOMAIN, now) for name in names}
    anchors = (TrustAnchor(pem(one.root), (), (name,)) for name, one in others.items())
    trust = replace(mesh.trust, anchors=tuple(anchors))
    tokens = TokenAuthority(ec.generate_private_key(ec.SECP256R1()), "demo")
    service = CertificateService(lambda: trust, tokens, mesh.clock, others=Chosen(signer))
    known = x509.load_pem_x509_certificates(trust.client_roots_pem.encode())
    assert set(known) == {*trust.roots, *(one.root for one in others.values())}
    for name, one in others.items():
        shown = [*map(_read, sign_workload(one, csr(), curl, now).chain[:-1])]
        assert len(shown) == 2
        if signer and name.endswith(signer):
            assert service.authenticate(shown).identity == curl
            shown = shown[:1]  # Nothing leads to the root then.
        with pytest.raises(RefusedError, match="is not of its signer") as refused:
            service.authenticate(shown)
        assert refused.value.code == 401
    own = sign_workload(trust.authority, csr(), curl, now).chain
    assert service.authenticate([leaf(own)]).identity == curl


def test_where_nobody_else_signs_clients_are_known_by_the_meshs_own_roots() -> None:
    trust = Mesh().trust
    assert trust.client_roots_pem == trust.roots_pem


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
    authorities = [root]
    certificate = ServerCertificate(lambda: authorities[-1], ["istiod.istio-system.svc"], clock)
    first = certificate.current()
    clock.seconds += 14 * 86_400
    assert certificate.current() is first
    clock.seconds += 2 * 86_400
    second = certificate.current()
    assert second is not first
    assert second.issued.not_after > first.issued.not_after
    authorities.append(create_root(DOMAIN, clock.now()))
    assert certificate.current() is not second, "another authority signs now"


async def test_a_lifetime_may_be_asked_for_up_to_the_maximum() -> None:
    mesh = Mesh()
    token = mesh.token("curl", "curl-1")
    hour = leaf(await mesh.service.issue(csr(), token, lifetime=timedelta(hours=1)))
    assert hour.not_valid_after_utc - mesh.clock.now() == timedelta(hours=1)
    assert mesh.clock.now() - hour.not_valid_before_utc == timedelta(minutes=2)
    for nothing in (None, timedelta(), timedelta(seconds=-5)):
        usual = leaf(await mesh.service.issue(csr(), token, lifetime=nothing))
        assert usual.not_valid_after_utc - mesh.clock.now() == timedelta(hours=24)
    with pytest.raises(RefusedError, match="2160 h at most") as refused:
        await mesh.service.issue(csr(), token, lifetime=timedelta(days=91))
    assert refused.value.code == 400


NEIGHBOUR = "spiffe://cluster.local/ns/default/sa/neighbour"


async def test_a_node_gets_the_certificates_of_its_pods_only() -> None:
    mesh = Mesh()
    token = mesh.service.issue_token("istio-system", "node-agent", pod="agent-1", pod_uid="u")[0]
    chain = await mesh.service.issue(csr(), token, impersonated=NEIGHBOUR)
    assert str(identity_of(leaf(chain))) == NEIGHBOUR
    with pytest.raises(RefusedError, match=r"no pod of .* runs on the node") as refused:
        await mesh.service.issue(
            csr(), token, impersonated="spiffe://cluster.local/ns/default/sa/far-away"
        )
    assert refused.value.code == 403
    with pytest.raises(RefusedError, match="another trust domain"):
        await mesh.service.issue(
            csr(), token, impersonated="spiffe://other/ns/default/sa/neighbour"
        )
    with pytest.raises(RefusedError, match="not a workload's SPIFFE id"):
        await mesh.service.issue(csr(), token, impersonated="neighbour")


async def test_who_is_no_node_gets_nobody_elses_certificate() -> None:
    mesh = Mesh()
    with pytest.raises(RefusedError, match="is no node") as refused:
        await mesh.service.issue(csr(), mesh.token("curl", "curl-1"), impersonated=NEIGHBOUR)
    assert refused.value.code == 403
    assert mesh.service.records() == ()


async def test_a_node_account_without_a_pod_proves_no_node() -> None:
    mesh = Mesh()
    token = mesh.service.issue_token("istio-system", "node-agent")[0]
    with pytest.raises(RefusedError, match="by the token of its pod"):
        await mesh.service.issue(csr(), token, impersonated=NEIGHBOUR)


async def test_certificates_under_an_alias_are_renewed_under_the_name() -> None:
    mesh = Mesh()
    before = await mesh.service.issue(csr(), mesh.token("curl", "curl-1"))
    mesh.trust = replace(mesh.trust, trust_domain=TrustDomain("new-td"), aliases=("cluster.local",))
    renewed = await mesh.service.issue(csr(), [leaf(before)])
    assert str(identity_of(leaf(renewed))) == "spiffe://new-td/ns/default/sa/curl"
    mesh.trust = replace(mesh.trust, aliases=())
    with pytest.raises(RefusedError, match="another trust domain"):
        await mesh.service.issue(csr(), [leaf(before)])


async def test_what_happened_is_counted() -> None:
    mesh = Mesh()
    token = mesh.token("curl", "curl-1")
    await mesh.service.issue(csr(), token)
    for proof, request, options in (
        ("nonsense", csr(), {}),
        ((), csr(), {}),
        (token, "no request", {}),
        (token, csr(), {"lifetime": timedelta(days=400)}),
        (token, csr(), {"impersonated": "spiffe://cluster.local/ns/default/sa/reviews"}),
    ):
        with pytest.raises(RefusedError):
            await mesh.service.issue(request, proof, **options)  # type: ignore[arg-type]
    for _ in range(BURST - 2):
        await mesh.service.issue(csr(), token)
    with pytest.raises(RefusedError, match="too often"):
        await mesh.service.issue(csr(), token)
    assert mesh.service.statistics == Statistics(
        requests=BURST + 5,
        issued=BURST - 1,
        unauthenticated=2,
        unreadable=1,
        forbidden=2,
        limited=1,
    )
