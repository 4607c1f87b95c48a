"""``argosy certs``: the table, the roots, the rotation as it is told."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from argosy.citadel.reports import CertificateReport
from argosy.server.http import services

Argosy = Callable[..., Any]


def moment(hours: float) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat()


def shown(mesh: Any, **changed: Any) -> None:
    report = CertificateReport(
        "default",
        "reviews-1",
        running=True,
        identity="spiffe://cluster.local/ns/default/sa/reviews",
        bundle="b1",
        serial="abc123",
        issuer="ff00",
        not_before=moment(-1),
        not_after=moment(23.5),
        renew_at=moment(11.5),
        **changed,
    )
    root = services.AuthorityCertificate(
        "CN=Argosy root 12345678,O=cluster.local",
        root=True,
        signs=True,
        serial="1",
        fingerprint="ab" * 32,
        not_before=moment(-1),
        not_after=moment(87_000),
        pem="",
    )
    mesh.trusts.shown = services.CertificateOverview(
        "new-td",
        ("old-td",),
        "10.244.0.1:40000",
        False,
        "-----BEGIN CERTIFICATE-----\n",
        True,
        (root,),
        (services.WorkloadCertificate(report, "CN=Argosy intermediate 1,O=x", root.subject),),
        (services.CertificateWarning("error", "root", "the root expires in 3 days"),),
    )


def test_the_table(argosy: Argosy, mesh: Any) -> None:
    shown(mesh)
    answer = argosy("certs")
    head, row = answer.out.splitlines()
    assert head.split("   ")[0] == "WORKLOAD"
    assert "reviews-1.default" in row
    assert "spiffe://cluster.local/ns/default/sa/reviews" in row
    assert "Argosy intermediate 1" in row
    assert "abc123" in row
    assert "in 23h29m" in row
    assert "in 11h29m" in row
    assert "Error: the root expires in 3 days" in answer.err


def test_wide_names_the_root_and_the_last_failure(argosy: Argosy, mesh: Any) -> None:
    shown(mesh, failures=3, last_failure="connection refused")
    answer = argosy("certs", "-o", "wide")
    assert "Argosy root 12345678" in answer.out
    assert "connection refused" in answer.out


def test_the_roots(argosy: Argosy, mesh: Any) -> None:
    shown(mesh)
    answer = argosy("certs", "root")
    assert "new-td (also old-td)" in answer.out
    assert "10.244.0.1:40000" in answer.out
    assert "root, signs" in answer.out
    assert argosy("certs", "root", "-o", "name").out == "-----BEGIN CERTIFICATE-----\n"


def rotation(step: str, done: int, missing: str = "") -> services.RotationStatus:
    names = ("trust", "switch", "withdraw")
    steps = tuple(
        services.RotationStep(
            name,
            f"title of {name}",
            done=index < done,
            proofs=(services.RotationProof("a.default", missing if index == done else "", "77"),)
            if index <= done
            else (),
        )
        for index, name in enumerate(names)
    )
    return services.RotationStatus(
        step != "", step, steps, "CN=root", "CN=new", "2026-01-01", "", ("a.default",)
    )


def test_each_step_and_each_proof_is_told_once(argosy: Argosy, mesh: Any) -> None:
    late = "its agent has not fetched the new roots yet"
    mesh.trusts.rotations = [
        rotation("trust", 0, late),
        rotation("trust", 0),
        rotation("switch", 1, late),
        rotation("withdraw", 2, late),
        rotation("", 3),
    ]
    answer = argosy("certs", "rotate-root")
    assert answer.code == 0
    assert answer.out.splitlines() == [
        "1. title of trust",
        "    proven: a.default (serial 77)",
        "2. title of switch",
        "    proven: a.default (serial 77)",
        "3. title of withdraw",
        "    proven: a.default (serial 77)",
        "The root is CN=root, and no proxy trusts another.",
    ]
    assert mesh.trusts.begun == [False]


def test_watching_begins_nothing(argosy: Argosy, mesh: Any) -> None:
    mesh.trusts.rotations = [rotation("withdraw", 2), rotation("", 3)]
    answer = argosy("certs", "rotate-root", "--watch")
    assert "3. title of withdraw" in answer.out
    assert mesh.trusts.begun == []


def test_a_dry_run_changes_nothing(argosy: Argosy, mesh: Any) -> None:
    mesh.trusts.rotations = [rotation("", 0)]
    answer = argosy("certs", "rotate-root", "--dry-run")
    assert "The root is CN=root. A rotation would do:" in answer.out
    assert "3. title of withdraw" in answer.out
    assert "a.default" in answer.out
    assert mesh.trusts.begun == [True]


def test_a_proxy_that_proves_nothing_is_named(argosy: Argosy, mesh: Any) -> None:
    mesh.trusts.rotations = [rotation("trust", 0, "its agent has not reported")]
    answer = argosy("certs", "rotate-root", "--timeout", "0.3")
    assert answer.code == 4
    assert "waits for a.default: its agent has not reported" in answer.err
    assert "not every proxy has proven the step" in answer.err


@pytest.mark.parametrize("arguments", [("--dry-run",), ()])
def test_a_plugged_in_root_is_not_rotated_here(
    argosy: Argosy, mesh: Any, arguments: tuple[str, ...]
) -> None:
    mesh.trusts.refusal = "the root is not made here"
    answer = argosy("certs", "rotate-root", *arguments)
    assert answer.code == 1
    assert "the root is not made here" in answer.err
