"""The mesh's own authority: who gets which certificate, and what changes under load without a failure.

`foo` has sidecars; `legacy` has none.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from certificate_load import (
    WORKLOADS,
    certificates,
    get,
    in_legacy,
    load,
    require_no_failure,
    roots,
    state_of,
)
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from manifests import deployment, mesh_config
from mesh import ARGOSY, Mesh, client_of, eventually, processes

from argosy.base.names import TrustDomain
from argosy.citadel.identity import SpiffeId, identity_of
from argosy.citadel.signer import create_intermediate, create_root, pem, private_pem
from argosy.citadel.tokens import TokenAuthority
from argosy.platforms.local.launcher import ADS_PORT
from argosy.platforms.local.network import GATEWAY
from argosy.proxy.node_doors import BURST, PER_SECOND

pytestmark = pytest.mark.e2e

ASK = Path(__file__).with_name("ask_for_certificate.py")


@pytest.fixture(scope="module")
def meshed(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    file = tmp_path_factory.mktemp("yaml") / "workloads.yaml"
    file.write_text(WORKLOADS)
    mesh.environment["CA_TRUSTED_NODE_ACCOUNTS"] = "legacy/default"
    mesh.up(file)
    eventually(lambda: get(mesh) == 200, "the client reaches the server", seconds=20)
    return mesh


def test_the_table_shows_what_the_proxies_themselves_use(meshed: Mesh) -> None:
    eventually(lambda: len(certificates(meshed)) == 4, "three pods and the gateway have one")
    (web, *_) = [pod for pod in certificates(meshed) if pod.startswith("web-")]

    def shown() -> int:
        text = meshed.envoy(f"{web}.foo", "/certs")
        return int(json.loads(text)["certificates"][0]["cert_chain"][0]["serial_number"], 16)

    eventually(
        lambda: shown() == int(certificates(meshed)[web]["report"]["serial"], 16),
        "the serial of the table is that of Envoy",
        seconds=20,
    )
    report = certificates(meshed)[web]["report"]
    assert report["identity"] == "spiffe://cluster.local/ns/foo/sa/default"
    begins, ends = (datetime.fromisoformat(report[key]) for key in ("notBefore", "notAfter"))
    assert timedelta(hours=24) <= ends - begins <= timedelta(hours=24, minutes=3), "and the skew"
    renewal = datetime.fromisoformat(report["renewAt"]) - begins
    assert timedelta(hours=11.5) < renewal < timedelta(hours=12.5), "half of its life"
    assert "root" in meshed.argosy("certs", "root").stdout


def test_the_root_is_rotated_under_load(meshed: Mesh) -> None:
    """Both are trusted, then all switch, then the old one goes: and no request fails."""
    before = roots(meshed)
    plan = meshed.argosy("certs", "rotate-root", "--dry-run").stdout
    assert "1. every proxy trusts both roots" in plan
    assert roots(meshed) == before
    with load(meshed, 8) as found:
        told = meshed.argosy("certs", "rotate-root").stdout
    require_no_failure(found, "rotation of the root")
    after = roots(meshed)
    assert after != before
    assert after.count("BEGIN CERTIFICATE") == 1
    for step in ("1. every proxy trusts", "2. every proxy shows", "3. no proxy trusts"):
        assert step in told
    for pod in certificates(meshed):
        assert told.count(f"proven: {pod}.") == 3, told
    old_root = x509.load_pem_x509_certificate(before.encode())
    issuers = {one["root"] for one in certificates(meshed).values()}
    assert old_root.subject.rfc4514_string() not in issuers


def _envoy_of(mesh: Mesh, pod: str) -> int:
    (found,) = [
        pid for pid, line, cwd in processes() if cwd.endswith(f"/foo/{pod}") and "envoy" in line
    ]
    return found


def _control_plane(mesh: Mesh) -> int:
    wanted = re.compile(rf"argosy\.server --directory \S*/{mesh.name} ")
    (found,) = [pid for pid, line, _ in processes() if wanted.search(line)]
    return found


def test_a_rotation_waits_for_a_proxy_and_outlives_the_control_plane(meshed: Mesh) -> None:
    """A stopped Envoy cannot prove anything, so nothing goes on; a new control plane knows where."""
    before = roots(meshed)
    (pod, *_) = [pod for pod in certificates(meshed) if pod.startswith("web-")]
    stopped = _envoy_of(meshed, pod)
    os.kill(stopped, signal.SIGSTOP)
    try:
        done = meshed.argosy("certs", "rotate-root", "--timeout", "4", check=False)
        assert done.returncode == 4, done.stdout + done.stderr
        assert f"waits for {pod}.foo: it does not say that it uses the new roots" in done.stderr
        both = roots(meshed)
        assert both.count("BEGIN CERTIFICATE") == 2
        assert before in both
        assert "trust" in meshed.argosy("status").stdout
        os.kill(_control_plane(meshed), signal.SIGKILL)
        eventually(lambda: roots(meshed) == both, "a new control plane has the same step", 30)
    finally:
        os.kill(stopped, signal.SIGCONT)
    told = meshed.argosy("certs", "rotate-root", "--watch").stdout
    assert "and no proxy trusts another" in told
    after = roots(meshed)
    assert after.count("BEGIN CERTIFICATE") == 1
    assert after in both
    assert after != before
    eventually(lambda: get(meshed) == 200, "all is well", 20)


@pytest.mark.covers("MeshConfig.trustDomain", "MeshConfig.trustDomainAliases[]")
def test_the_trust_domain_changes_its_name_under_load(meshed: Mesh) -> None:
    """S-18's certificates: the new name with the old as its alias, then the new name alone."""

    def identities() -> set[str]:
        return {one["report"]["identity"].split("/")[2] for one in certificates(meshed).values()}

    assert identities() == {"cluster.local"}
    with load(meshed, 14) as found:
        meshed.apply(mesh_config("trustDomain: new-td\ntrustDomainAliases: [cluster.local]\n"))
        eventually(lambda: identities() == {"new-td"}, "all certificates are under it", 30)
        meshed.apply(mesh_config("trustDomain: new-td\n"))
    require_no_failure(found, "change of the trust domain")
    answer = meshed.call("deploy/client", "http://web.foo/headers", namespace="foo")[0]
    assert answer.status == 200
    assert "new-td" in meshed.argosy("certs", "root").stdout
    assert "CERTIFICATE" in meshed.argosy("status").stdout


KNOCKING = Path(__file__).with_name("knocking.py")
_REDIRECT = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: foo}
spec:
  hosts: [web.foo.svc.cluster.local]
  http:
  - match: [{uri: {exact: /moved}}]
    redirect: {uri: /get, redirectCode: 308}
  - route: [{destination: {host: web.foo.svc.cluster.local}}]
"""


@contextmanager
def knocking(mesh: Mesh, address: str) -> Iterator[list[dict[str, Any]]]:
    """The stranger connects as fast as it can; what it saw is complete afterwards."""
    rounds: list[dict[str, Any]] = []
    process = subprocess.Popen(
        [
            *(str(ARGOSY), "exec", "-n", "legacy", "-i", "deploy/stranger", "--"),
            *(sys.executable, str(KNOCKING), address),
        ],
        env=mesh.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        rounds.append(json.loads(process.stdout.readline()))
        yield rounds
        text, _ = process.communicate(timeout=20)
        rounds += map(json.loads, text.splitlines())
    finally:
        process.kill()
        process.wait()


def test_who_knocks_without_end_is_heard_now_and_then_and_others_at_once(meshed: Mesh) -> None:
    """Meanwhile a new proxy gets its certificate and configuration, and another one a change."""
    late = deployment("late", "/bin/sleep", "infinity", namespace="foo")
    with knocking(meshed, f"{GATEWAY}:{ADS_PORT}") as rounds:
        began = time.monotonic()
        meshed.apply(late + "---\n" + _REDIRECT)
        eventually(
            lambda: meshed.status("deploy/client", "http://web.foo/moved", namespace="foo") == 308,
            "a change is with the client's proxy",
        )
        eventually(
            lambda: meshed.status("deploy/late", "http://web.foo/moved", namespace="foo") == 308,
            "a new proxy has all it needs",
        )
        waited = time.monotonic() - began
    meshed.delete(late + "---\n" + _REDIRECT)
    connected = sum(one["connected"] for one in rounds)
    most = BURST + PER_SECOND * sum(one["seconds"] for one in rounds) + 1
    sys.stdout.write(f"\n{connected} connections in {len(rounds)} rounds, {waited:.1f} s\n")
    assert connected < sum(one["tried"] for one in rounds)
    assert rounds[0]["connected"] >= BURST / 2, "what it may"
    assert connected <= most, rounds

    def connects() -> bool:
        script = f"import socket; socket.create_connection(({GATEWAY!r}, {ADS_PORT}), 0.9)"
        argv = (sys.executable, "-c", script)
        done = meshed.exec("deploy/stranger", *argv, namespace="legacy", check=False)
        return done.returncode == 0

    eventually(connects, "after a pause it may connect again", 5)


# The certificate service, asked from a pod without a sidecar.


class Service:
    """``istio.v1.auth.IstioCertificateService`` as an agent outside finds it."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._address = state_of(mesh).certificate_service.read_text().strip()
        self.roots = roots(mesh)

    def ask(self, **wanted: Any) -> dict[str, Any]:
        (answer,) = self.ask_all([wanted])
        return answer

    def ask_all(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        common = {"address": self._address, "roots": self.roots}
        return in_legacy(self._mesh, ASK, [{**common, **wanted} for wanted in requests])

    def token(self, namespace: str, pod: str, **more: Any) -> str:
        """As the node gets it for one of its pods."""
        spec = {"boundObjectRef": {"kind": "Pod", "name": pod}, **more}
        with client_of(self._mesh) as client:
            path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default/token"
            token: str = client.post(path, json={"spec": spec}).json()["status"]["token"]
        return token

    def forged(self, mesh: str, issued: datetime, pod: str) -> str:
        """Signed with the mesh's own key: only what it says is wrong."""
        content = (state_of(self._mesh).authority / "token-key.pem").read_bytes()
        key = serialization.load_pem_private_key(content, None)
        identity = SpiffeId.parse("spiffe://new-td/ns/foo/sa/default")
        return TokenAuthority(key, mesh).issue(identity, issued, pod=pod)[0]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def asked(meshed: Mesh) -> Service:
    return Service(meshed)


@pytest.fixture(scope="module")
def client_pod(meshed: Mesh) -> str:
    (pod,) = [one for one in certificates(meshed) if one.startswith("client-")]
    return pod


def test_a_token_gets_a_certificate_of_its_own_identity(asked: Service, client_pod: str) -> None:
    """The leaf first, the root last; names in the request do not matter."""
    answer = asked.ask(token=asked.token("foo", client_pod), seconds=3600)
    assert answer["code"] == "OK", answer
    leaf, intermediate, root = (
        x509.load_pem_x509_certificate(text.encode()) for text in answer["chain"]
    )
    assert identity_of(leaf).service_account == "default"
    assert identity_of(leaf).namespace == "foo"
    leaf.verify_directly_issued_by(intermediate)
    intermediate.verify_directly_issued_by(root)
    assert answer["chain"][-1] == asked.roots
    left = leaf.not_valid_after_utc - datetime.now(UTC)
    assert timedelta(minutes=58) < left <= timedelta(hours=1)


def test_a_node_agent_gets_the_identities_of_its_own_pods(asked: Service, meshed: Mesh) -> None:
    """The pod without a sidecar runs as an account that MeshConfig's operator trusts with that."""
    (pod,) = [one["metadata"]["name"] for one in meshed.get("pods", "-n", "legacy")]
    token = asked.token("legacy", pod)
    domain = certificates_domain(meshed)
    here, nowhere = (
        {"token": token, "metadata": {"ImpersonatedIdentity": f"spiffe://{domain}/ns/{rest}"}}
        for rest in ("foo/sa/default", "foo/sa/somebody-elsewhere")
    )
    granted, refused = asked.ask_all([here, nowhere])
    assert granted["code"] == "OK", granted
    leaf = x509.load_pem_x509_certificate(granted["chain"][0].encode())
    assert str(identity_of(leaf)) == f"spiffe://{domain}/ns/foo/sa/default"
    assert refused["code"] == "PERMISSION_DENIED"
    assert "runs on the node" in refused["message"]


def certificates_domain(mesh: Mesh) -> str:
    domain: str = json.loads(mesh.argosy("certs", "root", "-o", "json").stdout)["trustDomain"]
    return domain


@pytest.fixture(scope="module")
def refusals(asked: Service, meshed: Mesh, client_pod: str) -> dict[str, dict[str, Any]]:
    """The answers to requests that nobody may make, by what is wrong with them."""
    good = asked.token("foo", client_pod)
    now = datetime.now(UTC)
    victim = "spiffe://new-td/ns/istio-system/sa/istio-ingressgateway"
    requests: dict[str, dict[str, Any]] = {
        "no token": {},
        "another audience": {"token": asked.token("foo", client_pod, audiences=["vault"])},
        "expired": {"token": asked.forged(meshed.name, now - timedelta(hours=2), client_pod)},
        "another mesh": {"token": asked.forged("other", now, client_pod)},
        "a pod that is gone": {"token": asked.forged(meshed.name, now, "client-gone")},
        "no request": {"token": good, "body": "\x0a\x7f garbage"},
        "another's identity": {"token": good, "metadata": {"ImpersonatedIdentity": victim}},
        "too long": {"token": good, "seconds": 91 * 86_400},
        "another signer": {"token": good, "metadata": {"CertSigner": "clusterissuers.x/foo"}},
        "too large": {"token": good, "body": "x" * 100_000},
    }
    return dict(zip(requests, asked.ask_all(list(requests.values())), strict=True))


@pytest.mark.parametrize(
    ("case", "code", "words"),
    [
        ("no token", "UNAUTHENTICATED", "a workload token or a client certificate is required"),
        ("another audience", "UNAUTHENTICATED", "aud"),
        ("expired", "UNAUTHENTICATED", "expired"),
        ("another mesh", "UNAUTHENTICATED", "not valid"),
        ("a pod that is gone", "UNAUTHENTICATED", "is gone"),
        ("no request", "INVALID_ARGUMENT", "no IstioCertificateRequest"),
        ("another's identity", "PERMISSION_DENIED", "is no node"),
        ("too long", "INVALID_ARGUMENT", "at most"),
        ("another signer", "PERMISSION_DENIED", "whoever signs for all"),
        ("too large", "RESOURCE_EXHAUSTED", "larger than max"),
    ],
)
def test_who_does_not_prove_it_gets_nothing(
    refusals: dict[str, dict[str, Any]], case: str, code: str, words: str
) -> None:
    assert refusals[case]["code"] == code, refusals[case]
    assert words in refusals[case]["message"], refusals[case]


def test_an_authority_in_the_secret_cacerts_takes_over_under_load(meshed: Mesh) -> None:
    """S-19 as Istio's task has it: the chain that proxies show leads to the root of the Secret."""
    root = create_root(TrustDomain("example.org"), datetime.now(UTC))
    own = create_intermediate(root, TrustDomain("example.org"), datetime.now(UTC))
    files = {
        "ca-cert.pem": pem(own.certificate),
        "ca-key.pem": private_pem(own.key).decode(),
        "root-cert.pem": pem(root.root),
        "cert-chain.pem": "".join(map(pem, own.certificates)),
    }
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "cacerts", "namespace": "istio-system"},
        "stringData": files,
    }
    with load(meshed, 8) as found:
        meshed.apply(json.dumps(secret))
        eventually(lambda: roots(meshed) == pem(root.root), "the Secret's root alone", 30)
    require_no_failure(found, "an authority is plugged in")
    command = ("openssl", "s_client", "-alpn", "istio", "-showcerts", "-connect", "web.foo:80")
    shown = meshed.exec("deploy/stranger", *command, namespace="legacy", check=False).stdout
    leaf, intermediate, last = x509.load_pem_x509_certificates(shown.encode())
    assert (intermediate, last) == (own.certificate, root.root)
    leaf.verify_directly_issued_by(intermediate)
    refused = meshed.argosy("certs", "rotate-root", check=False)
    assert "comes from the Secret cacerts" in refused.stderr
    assert (
        "PRIVATE" not in meshed.argosy("get", "secret", "-n", "istio-system", "-o", "yaml").stdout
    )
