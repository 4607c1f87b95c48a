"""Whatever is sent to the authority: it refuses in words, in bounded time, and nothing else happens."""

import asyncio
import base64
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from argosy.base.clock import SystemClock
from argosy.base.names import TrustDomain
from argosy.citadel.grpc_service import CertificateApi, CertificateRequest, CertificateResponse
from argosy.citadel.identity import SpiffeId, identity_of
from argosy.citadel.issuer import AuthorityError, issuer_from, self_made
from argosy.citadel.refusal import RefusedError
from argosy.citadel.requests import MAXIMUM_SIZE, requested_key
from argosy.citadel.service import CertificateService
from argosy.citadel.signer import create_intermediate, create_root, pem, private_pem
from argosy.citadel.tokens import TokenAuthority
from argosy.citadel.trust import Trust

DOMAIN = TrustDomain("cluster.local")
NOW = datetime(2026, 11, 23, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP256R1())
CURL = SpiffeId.of(DOMAIN, "default", "curl")
TOKENS = TokenAuthority(KEY, "demo")
AUTHORITY = create_intermediate(
    create_root(DOMAIN, SystemClock().now()), DOMAIN, SystemClock().now()
)
SECONDS = 2.0
"""For one input; each takes a few ms, and a machine may be busy."""

_T = TypeVar("_T")
_E = TypeVar("_E", bound=Exception)


def tried(act: Callable[[], _T], refusal: type[_E]) -> _T | _E:
    """What it gives, or the refusal. Any other exception fails the test."""
    try:
        return act()
    except refusal as error:
        return error


_UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def csr(identity: str = "spiffe://cluster.local/ns/istio-system/sa/admin") -> bytes:
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)])
    builder = x509.CertificateSigningRequestBuilder(x509.Name([])).add_extension(names, True)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


GOOD = csr()


def as_pem(der: bytes) -> str:
    text = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{text}-----END CERTIFICATE REQUEST-----\n"


@st.composite
def damaged(draw: st.DrawFn, whole: bytes = GOOD) -> bytes:
    """A good input with bytes changed, cut out or put in."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        position = draw(st.integers(0, len(content)))
        match draw(st.integers(0, 2)):
            case 0 if position < len(content):
                content[position] = draw(st.integers(0, 255))
            case 1:
                del content[position : position + draw(st.integers(1, 40))]
            case _:
                content[position:position] = draw(st.binary(max_size=40))
    return bytes(content)


@_UNHURRIED
@given(st.one_of(st.text(max_size=400), damaged().map(as_pem), st.binary().map(as_pem)))
def test_a_signing_request_is_a_key_or_a_refusal(text: str) -> None:
    began = time.monotonic()
    key = tried(lambda: requested_key(text), RefusedError)
    if isinstance(key, RefusedError):
        assert key.code == 400
        assert len(key.message) < 1_000
    else:
        assert isinstance(key, ec.EllipticCurvePublicKey)
    assert time.monotonic() - began < SECONDS


def test_a_large_request_is_refused_before_it_is_read() -> None:
    began = time.monotonic()
    for text in ("A" * (MAXIMUM_SIZE + 1), "-----BEGIN " * 2_000):
        with pytest.raises(RefusedError) as refused:
            requested_key(text)
        assert refused.value.code == 400
    assert time.monotonic() - began < SECONDS


TOKEN = TOKENS.issue(CURL, NOW, pod="curl-1", pod_uid="u")[0]


@_UNHURRIED
@given(st.one_of(st.text(max_size=300), damaged(TOKEN.encode()).map(lambda b: b.decode("latin-1"))))
def test_a_token_is_ours_or_refused(text: str) -> None:
    """A changed token never says anything else than what was signed."""
    found = tried(lambda: TOKENS.verify(text, NOW), RefusedError)
    if isinstance(found, RefusedError):
        assert found.code == 401
        assert TOKEN not in found.message
    else:
        assert (found.namespace, found.service_account, found.pod) == ("default", "curl", "curl-1")


@given(st.timedeltas(min_value=timedelta(days=-400), max_value=timedelta(days=400)))
def test_a_token_holds_in_its_time_only(away: timedelta) -> None:
    found = tried(lambda: TOKENS.verify(TOKEN, NOW + away), RefusedError)
    if isinstance(found, RefusedError):
        assert not timedelta() <= away <= timedelta(minutes=59)
    else:
        assert timedelta(seconds=-31) <= away <= timedelta(hours=1, seconds=31)


def service() -> CertificateApi:
    trust = Trust(self_made(AUTHORITY), DOMAIN)
    issuing = CertificateService(lambda: trust, TOKENS, SystemClock())
    return CertificateApi(issuing, SystemClock())


metadata = st.dictionaries(
    st.sampled_from(["ImpersonatedIdentity", "CertSigner", "ClusterID", "x"]),
    st.one_of(st.text(max_size=40), st.floats(), st.booleans(), st.none(), st.lists(st.text())),
    max_size=4,
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    request: Any = CertificateRequest(
        csr=draw(st.sampled_from([as_pem(GOOD), "", "-----BEGIN X"]) | st.text(max_size=80)),
        validity_duration=draw(st.integers(-(2**63), 2**63 - 1)),
    )
    request.metadata.update(draw(metadata))
    body: bytes = request.SerializeToString()
    return body


@_UNHURRIED
@given(
    st.one_of(st.binary(max_size=300), requests(), requests().flatmap(damaged)),
    st.one_of(st.just(""), st.just("good"), st.text(max_size=40)),
)
def test_the_service_signs_for_its_caller_or_refuses(body: bytes, token: str) -> None:
    """Never another's name, never more than its words; whatever the bytes are."""
    good = TOKENS.issue(CURL, SystemClock().now())[0]
    began = time.monotonic()
    given_token = good if token == "good" else token
    answer = tried(
        lambda: asyncio.run(service().answer(body, "peer", given_token, ())), RefusedError
    )
    if isinstance(answer, RefusedError):
        assert answer.code in (400, 401, 403)
        assert good not in answer.message
    else:
        assert token == "good"
        response: Any = CertificateResponse.FromString(answer)
        leaf = x509.load_pem_x509_certificate(response.cert_chain[0].encode())
        assert identity_of(leaf) == CURL
        left = leaf.not_valid_after_utc - datetime.now(UTC)
        assert timedelta() < left <= timedelta(days=90)
    assert time.monotonic() - began < SECONDS


FILES = {
    "ca-key.pem": private_pem(AUTHORITY.key),
    "ca-cert.pem": pem(AUTHORITY.certificate).encode(),
    "root-cert.pem": pem(AUTHORITY.root).encode(),
}


@_UNHURRIED
@given(st.sampled_from(sorted(FILES)), st.data())
def test_a_damaged_authority_is_refused_without_a_part_of_its_key(
    name: str, data: st.DataObject
) -> None:
    broken = data.draw(damaged(FILES[name]) | st.binary(max_size=200))
    files = {**FILES, name: broken}
    found = tried(lambda: issuer_from(files, "Secret cacerts", SystemClock().now()), AuthorityError)
    if isinstance(found, AuthorityError):
        assert FILES["ca-key.pem"].splitlines()[1].decode() not in str(found)
    else:  # the damage was outside of what is read
        assert found.authority.certificates == AUTHORITY.certificates
