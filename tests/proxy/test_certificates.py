"""The runner against a real authority."""

import asyncio
import json
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from argosy.base.clock import SystemClock
from argosy.base.names import TrustDomain
from argosy.citadel.identity import SpiffeId
from argosy.citadel.signer import create_intermediate, create_root, pem
from argosy.proxy.certificates import (
    CertificateRunner,
    Standing,
    fingerprint,
    make_request,
)
from argosy.proxy.secret_files import Roots
from argosy.testing.certificate_runners import (
    DOMAIN,
    REVIEWS,
    FakeAuthority,
    leaf,
    runner_for,
    running,
    secret,
    until,
)


async def test_the_first_certificate_is_installed(tmp_path: Path) -> None:
    authority = FakeAuthority()
    runner = runner_for(authority, tmp_path / "certs")
    async with running(runner):
        await runner.ready()
        state = runner.state
    assert state.certificate is not None
    assert state.certificate.serial == f"{leaf(tmp_path / 'certs').serial_number:x}"
    roots = json.loads((tmp_path / "certs" / "root.json").read_bytes())["resources"][0]
    trusted = roots["validation_context"]["trusted_ca"]["inline_string"]
    assert x509.load_pem_x509_certificate(trusted.encode()) == authority.root.root
    key = secret(tmp_path / "certs")["private_key"]["inline_string"]
    private = serialization.load_pem_private_key(key.encode(), None)
    assert private.public_key() == leaf(tmp_path / "certs").public_key()


async def test_every_renewal_has_a_new_key(tmp_path: Path) -> None:
    authority = FakeAuthority()
    runner = runner_for(authority, tmp_path)
    async with running(runner):
        await runner.ready()
        first = leaf(tmp_path)
        runner.renew()
        await until(lambda: leaf(tmp_path) != first)
    assert leaf(tmp_path).public_key() != first.public_key()
    assert len(authority.requests) == 2


async def test_pem_follows_and_comes_back_after_a_restart(tmp_path: Path) -> None:
    authority, shared = FakeAuthority(), tmp_path / "shared"
    for renewals in (1, 0):
        runner = runner_for(authority, tmp_path, shared)
        async with running(runner):
            await runner.ready()
            for _ in range(renewals):
                first = leaf(tmp_path)
                runner.renew()
                await until(partial(lambda old: leaf(tmp_path) != old, first))
        shown = (shared / "cert-chain.pem").read_bytes()
        assert x509.load_pem_x509_certificate(shown) == leaf(tmp_path)
        assert len([file.unlink() for file in shared.iterdir()]) == 4
    assert len(authority.requests) == 2, "what is left from before is good enough"


async def test_short_lives_are_renewed_in_time(tmp_path: Path) -> None:
    authority = FakeAuthority()
    authority.lifetime = timedelta(seconds=6)
    runner = runner_for(authority, tmp_path)
    async with running(runner):
        await runner.ready()
        first = leaf(tmp_path)
        started = time.monotonic()
        await until(lambda: leaf(tmp_path) != first)
    assert 2.0 < time.monotonic() - started < 6


async def test_an_outage_keeps_the_certificate_and_is_told(tmp_path: Path) -> None:
    authority = FakeAuthority()
    runner = runner_for(authority, tmp_path)
    async with running(runner):
        await runner.ready()
        first = leaf(tmp_path)
        authority.down = True
        runner.renew()
        await until(lambda: runner.state.failures >= 2)
        assert runner.state.last_failure == "connection refused"
        assert leaf(tmp_path) == first
        authority.down = False
        await until(lambda: leaf(tmp_path) != first)
        await until(lambda: runner.state.failures == 0)


async def test_a_disk_that_refuses_is_retried(tmp_path: Path) -> None:
    (tmp_path / "certs").write_text("in the way")
    runner = runner_for(FakeAuthority(), tmp_path / "certs")
    async with running(runner):
        await asyncio.sleep(0.1)
        assert runner.state.certificate is None
        (tmp_path / "certs").unlink()
        async with asyncio.timeout(10):
            await runner.ready()
    assert leaf(tmp_path / "certs")


async def test_another_issuer_means_another_certificate(tmp_path: Path) -> None:
    """Both roots are written first; what signs now must have signed what the workload shows."""
    authority = FakeAuthority()
    async with running(runner := runner_for(authority, tmp_path)):
        await runner.ready()
        before = leaf(tmp_path)
        old, new = authority.root, create_root(DOMAIN, datetime.now(UTC))
        authority.more_roots = (new.root,)
        authority.tell()
        await until(lambda: runner.state.roots == authority.now().roots.version)
        assert leaf(tmp_path) == before, "new roots alone change no certificate"
        authority.root, authority.more_roots = (
            create_intermediate(new, DOMAIN, datetime.now(UTC)),
            (old.root,),
        )
        authority.tell()
        await until(lambda: leaf(tmp_path) != before)
        await until(lambda: runner.state.issuer == authority.now().issuer)
    chain = secret(tmp_path)["certificate_chain"]["inline_string"]
    shown = x509.load_pem_x509_certificates(chain.encode())
    assert shown[1:] == [authority.root.certificate, new.root], "the root is last, as in Istio"


async def test_another_trust_domain_means_another_certificate(tmp_path: Path) -> None:
    authority = FakeAuthority()
    async with running(runner := runner_for(authority, tmp_path)):
        await runner.ready()
        authority.identity = SpiffeId.of(TrustDomain("new-td"), "default", "reviews")
        authority.tell()
        await until(lambda: runner.state.identity == "spiffe://new-td/ns/default/sa/reviews")


async def test_a_certificate_that_another_signed_is_not_used_again(tmp_path: Path) -> None:
    authority = FakeAuthority()
    async with running(runner := runner_for(authority, tmp_path)):
        await runner.ready()
    root = authority.root
    authority.root = create_intermediate(root, DOMAIN, datetime.now(UTC))
    async with running(runner := runner_for(authority, tmp_path)):
        await runner.ready()
        assert len(authority.requests) == 2
        assert runner.state.issuer == fingerprint(authority.root.certificate)


class ChosenSigner(FakeAuthority):
    """Another than the mesh signs; the root is ``known`` to all, the mesh itself may have it too."""

    def __init__(self, name: str, of_mesh: str, known: FakeAuthority) -> None:
        super().__init__()
        self.name, self.of_mesh, self.root = name, of_mesh, known.root

    def now(self) -> Standing:
        domains = ((str(DOMAIN), pem(self.root.root)),)
        roots = Roots("v", self.of_mesh, "", domains, str(DOMAIN))
        return Standing(str(self.identity), roots, "", self.name)


async def test_a_certificate_of_the_same_signer_is_used_again_and_no_other(tmp_path: Path) -> None:
    """Whether or not the signers share their roots, with each other and with the mesh."""
    known, mesh = FakeAuthority(), FakeAuthority()
    for of_mesh in (pem(mesh.root.root), pem(known.root.root)):
        place = tmp_path / str(of_mesh == pem(mesh.root.root))
        for name, asked in (("foo", 1), ("foo", 0), ("bar", 1), ("bar", 0)):
            signer = ChosenSigner(name, of_mesh, known)
            async with running(runner := runner_for(signer, place)):
                await runner.ready()
                assert runner.state.signer == name
            assert len(signer.requests) == asked, (name, asked)
        async with running(runner := runner_for(known, place)):
            await runner.ready()
            assert runner.state.signer == ""
        assert leaf(place)
    assert len(known.requests) == 2, "the mesh signs itself when it shall"


async def test_a_certificate_from_an_earlier_run_is_used(tmp_path: Path) -> None:
    authority = FakeAuthority()
    first = runner_for(authority, tmp_path)
    async with running(first):
        await first.ready()
    authority.down = True
    second = runner_for(authority, tmp_path)
    async with running(second):
        await second.ready()
        assert second.state.certificate == first.state.certificate
    assert len(authority.requests) == 1


async def test_anothers_certificate_from_an_earlier_run_is_not_used(tmp_path: Path) -> None:
    authority = FakeAuthority()
    async with running(runner := runner_for(authority, tmp_path)):
        await runner.ready()
    curl = SpiffeId.of(DOMAIN, "default", "curl")
    other = FakeAuthority(curl)
    async with running(runner := runner_for(other, tmp_path)):
        await runner.ready()
        assert len(other.requests) == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ([], "a certificate and a root"),
        (["garbage", "garbage"], "no certificates"),
        ("another key", "another key"),
        ("another identity", "not spiffe://cluster.local/ns/default/sa/reviews"),
    ],
)
async def test_a_wrong_answer_is_not_installed(
    tmp_path: Path, answer: list[str] | str, words: str
) -> None:
    authority, watched = FakeAuthority(), FakeAuthority()

    async def issue(csr: str, _signer: str) -> Sequence[str]:
        if answer == "another key":
            return await authority.issue(make_request(str(REVIEWS))[1])
        if answer == "another identity":
            authority.identity = SpiffeId.of(DOMAIN, "default", "admin")
            return await authority.issue(csr)
        return answer

    runner = CertificateRunner(watched, tmp_path, issue, SystemClock())
    async with running(runner):
        await until(lambda: runner.state.failures >= 1)
    assert words in runner.state.last_failure
    assert sorted(os.listdir(tmp_path)) == ["control-plane.json", "root.json"]


async def test_the_key_is_neither_sent_nor_logged(tmp_path: Path) -> None:
    authority = FakeAuthority()
    with structlog.testing.capture_logs() as logs:
        async with running(runner := runner_for(authority, tmp_path)):
            await runner.ready()
    assert [entry["event"] for entry in logs] == ["certificate.installed"]
    assert "PRIVATE" not in repr(logs)
    assert "PRIVATE" not in authority.requests[0]
