"""Who else signs, and who else is trusted: signers of workloads, another authority, and the bundles of other trust domains.

https://istio.io/latest/docs/tasks/security/cert-management/custom-ca-k8s/ needs Kubernetes' signers and
cert-manager; here a client of the mesh's own API plays their part, with the same objects.
https://istio.io/latest/docs/ops/integrations/certmanager/ (istio-csr) needs a cluster; here it is an
authority with the same protocol.
"""

import base64
import json
import ssl
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from certificate_load import certificates, in_legacy, load, require_no_failure
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from key_server import KeyServer, key_server
from manifests import deployment, mesh_config, namespace, service
from mesh import SAMPLES, Mesh, eventually
from signers import ExternalAuthority, authority, external_authority, signing

from argosy.base.names import TrustDomain
from argosy.citadel.identity import SpiffeId
from argosy.citadel.signer import (
    Authority,
    create_root,
    pem,
    private_pem,
    server_credential,
    sign_workload,
)
from argosy.proxy.certificates import make_request

pytestmark = pytest.mark.e2e

PEER = Path(__file__).with_name("mtls_peer.py")
ASK = Path(__file__).with_name("ask_for_certificate.py")
GRPC = SAMPLES / "grpc-echo"
WITHOUT_PROXY = {"inject.istio.io/templates": "grpc-agent"}
FOO, BAR, LONE = "signers.example/foo", "signers.example/bar", "signers.example/lone"
SIGNERS = {name: authority() for name in (FOO, BAR, LONE)}
OTHER = authority()
"""Where ``ca`` signs."""

SERVER = authority()
"""By which servers outside are known."""

REFUSED = 503
OTHERS = ("bar", "lone")


def workloads(space: str) -> str:
    return "---\n".join(
        (
            namespace(space),
            deployment("web", image="mccutchen/go-httpbin", port=8080, namespace=space),
            service(
                "web", "web", {"name": "http", "port": 80, "targetPort": 8080}, namespace=space
            ),
            deployment("client", "/bin/sleep", "infinity", namespace=space),
        )
    )


def grpc_server(space: str) -> str:
    """Without a proxy, so that gRPC itself reads the certificates; for mutual TLS alone."""
    port: dict[str, object] = {"name": "grpc", "port": 7070}
    return "---\n".join(
        (
            deployment(
                "calls",
                *(sys.executable, str(GRPC / "server.py"), "7070"),
                port=7070,
                namespace=space,
                annotations=WITHOUT_PROXY,
            ),
            service("calls", "calls", port, namespace=space),
            f"""
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: calls, namespace: {space}}}
spec: {{selector: {{matchLabels: {{app: calls}}}}, mtls: {{mode: STRICT}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: calls, namespace: {space}}}
spec: {{host: calls.{space}.svc.cluster.local, trafficPolicy: {{tls: {{mode: ISTIO_MUTUAL}}}}}}
""",
        )
    )


def grpc_client(space: str) -> str:
    argv = ("/bin/sleep", "infinity")
    return deployment("caller", *argv, namespace=space, annotations=WITHOUT_PROXY)


def signer(space: str, name: str) -> str:
    """As in Istio's task."""
    return f"""
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {{name: signer, namespace: {space}}}
spec:
  environmentVariables: {{ISTIO_META_CERT_SIGNER: {name}}}
"""


def anchor(root: Authority, **more: object) -> str:
    return json.dumps({"pem": pem(root.root), **more})


def config(*anchors: str, more: str = "") -> str:
    listed = "".join(f"\n- {one}" for one in anchors)
    return mesh_config(f"caCertificates:{listed or ' []'}\n{more}")


OF_SIGNERS = (
    # Workloads of foo and bar trust both roots, those of lone only their own.
    anchor(SIGNERS[FOO], certSigners=[FOO, BAR]),
    anchor(SIGNERS[BAR], certSigners=[FOO, BAR]),
    anchor(SIGNERS[LONE], certSigners=[LONE]),
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of servers outside and of the control plane towards them."""
    folder = tmp_path_factory.mktemp("tls")
    now = datetime.now(UTC)
    for name, names in (("ca", ["ca.example"]), ("bundle", ["127.0.0.1"]), ("ra", ["ra.example"])):
        made = server_credential(SERVER, names, now)
        (folder / f"{name}.crt").write_text("".join(made.issued.chain))
        (folder / f"{name}.key").write_bytes(bytes(made.key))
    key, csr = make_request("spiffe://elsewhere/ns/a/sa/control-plane")
    chain = sign_workload(
        SERVER, csr, SpiffeId.parse("spiffe://elsewhere/ns/a/sa/control-plane"), now
    )
    (folder / "ra.crt").write_text("".join(chain.chain))
    (folder / "ra.key").write_bytes(private_pem(key))
    (folder / "roots.pem").write_text(pem(SERVER.root))
    return folder


@pytest.fixture(scope="module")
def meshed(mesh: Mesh, files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    mesh.environment |= {
        "SSL_CERT_FILE": str(files / "roots.pem"),
        "ARGOSY_JWKS_ALLOWED": "127.0.0.1",
        "PILOT_JWT_PUB_KEY_REFRESH_INTERVAL": "1s",
    }
    legacy = "---\n".join(
        (
            namespace("legacy", {"istio-injection": "disabled"}),
            deployment("stranger", "/bin/sleep", "infinity", namespace="legacy"),
            workloads("plain"),
        )
    )
    file = tmp_path_factory.mktemp("yaml") / "workloads.yaml"
    file.write_text(legacy)
    mesh.up(file)
    return mesh


def status(mesh: Mesh, source: str, target: str) -> int:
    return mesh.status("deploy/client", f"http://web.{target}/get", namespace=source)


@pytest.mark.covers("MeshConfig.caCertificates[].certSigners[]")
def test_each_signer_signs_for_its_workloads(meshed: Mesh) -> None:
    """Certificates of signers that are asked by CertificateSigningRequests."""
    meshed.apply(config(*OF_SIGNERS))
    spaces = ("foo", *OTHERS)
    meshed.apply("---\n".join(namespace(n) + "---\n" + signer(n, n) for n in spaces))
    with signing(meshed, SIGNERS) as signer_:
        clients = "---\n".join(
            deployment("client", "/bin/sleep", "infinity", namespace=n) + "---\n" + grpc_client(n)
            for n in OTHERS
        )
        meshed.apply("---\n".join((workloads("foo"), grpc_server("foo"), clients)))
        of_foo = ("deploy/web", "deploy/client", "deploy/calls")
        meshed.argosy("wait", "-n", "foo", *of_foo, "--for", "ready")
        for space in OTHERS:
            meshed.argosy("wait", "-n", space, "deploy/client", "deploy/caller", "--for", "ready")
    assert (status(meshed, "foo", "foo"), status(meshed, "bar", "foo")) == (200, 200)
    assert status(meshed, "lone", "foo") == REFUSED
    cluster = "cluster.outbound|80||web.foo.svc.cluster.local;.ssl.fail_verify_error"
    assert meshed.stat("deploy/client", cluster, "lone") > 0
    assert status(meshed, "plain", "foo") == status(meshed, "foo", "plain") == REFUSED
    assert status(meshed, "plain", "plain") == 200
    asked = signer_.seen[0]["spec"]
    assert asked["usages"] == [
        "digital signature",
        "key encipherment",
        "server auth",
        "client auth",
    ]
    request = x509.load_pem_x509_csr(base64.b64decode(asked["request"]))
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert len(names.get_values_for_type(x509.UniformResourceIdentifier)) == len(list(names)) == 1
    table = meshed.argosy("certs").stdout
    rows = {line.split()[0].rpartition(".")[2]: line for line in table.splitlines()[1:]}
    assert (FOO in rows["foo"], BAR in rows["bar"], LONE in rows["lone"]) == (True, True, True)
    assert "Argosy intermediate" in rows["plain"]
    eventually(lambda: meshed.get("certificatesigningrequests") == [], "requests go away", 10)


def test_grpc_without_proxies_trusts_as_proxies_do(meshed: Mesh) -> None:
    """It reads PEM, and knows the control plane by other roots than its peers."""

    def call(space: str) -> str:
        target = "xds:///calls.foo.svc.cluster.local:7070"
        argv = (sys.executable, str(GRPC / "client.py"), "--target", target, "--timeout", "5")
        found = meshed.exec("deploy/caller", *argv, namespace=space, check=False)
        return found.stdout.strip()

    peer = "peer=spiffe://cluster.local/ns/bar/sa/default"
    eventually(lambda: call("bar").endswith(peer), "signers that trust each other", 20)
    assert call("lone").startswith("UNAVAILABLE")


def test_a_signer_that_nobody_named_signs_for_nobody(meshed: Mesh) -> None:
    """Fail closed: no certificate, no Envoy, and it is told why."""
    meshed.apply(namespace("lost") + "---\n" + signer("lost", "unheard-of"))
    meshed.apply(deployment("client", "/bin/sleep", "infinity", namespace="lost"))

    def reason() -> str:
        found = [
            one for one in certificates(meshed).values() if one["report"]["namespace"] == "lost"
        ]
        return found[0]["report"]["lastFailure"] if found else ""

    eventually(lambda: "there is no signer 'unheard-of' here" in reason(), "it is told", 20)
    pod = meshed.get("pods", "-n", "lost")[0]
    assert not any(
        one["type"] == "Ready" and one["status"] == "True" for one in pod["status"]["conditions"]
    )
    meshed.argosy("delete", "namespace", "lost")


@pytest.fixture(scope="module")
def ca(files: Path) -> Iterator[ExternalAuthority]:
    """Only who shows a certificate of ``SERVER`` is answered."""
    key, chain = (files / "ca.key").read_bytes(), (files / "ca.crt").read_bytes()
    roots = pem(SERVER.root).encode()
    credentials = grpc.ssl_server_credentials([(key, chain)], roots, require_client_auth=True)
    with external_authority(OTHER, credentials) as found:
        yield found


def asking(ca: ExternalAuthority, files: Path, name: str = "ca.example") -> str:
    settings = {
        "mode": "MUTUAL",
        "caCertificates": str(files / "roots.pem"),
        "clientCertificate": str(files / "ra.crt"),
        "privateKey": str(files / "ra.key"),
        "subjectAltNames": [name],
    }
    fields = {"address": f"127.0.0.1:{ca.port}", "requestTimeout": "5s", "tlsSettings": settings}
    return "ca: " + json.dumps(fields)


def in_plain(mesh: Mesh) -> list[dict[str, Any]]:
    found = certificates(mesh).values()
    return [one for one in found if one["report"]["namespace"] == "plain"]


@pytest.mark.covers(
    "MeshConfig.ca.address",
    "MeshConfig.ca.tlsSettings",
    "MeshConfig.ca.requestTimeout",
    "MeshConfig.ca.istiodSide",
)
def test_an_authority_elsewhere_signs(meshed: Mesh, ca: ExternalAuthority, files: Path) -> None:
    """Under load, from the mesh's own certificates to the other's."""
    everybody = anchor(OTHER)
    meshed.apply(config(*OF_SIGNERS, everybody))
    with load(meshed, 8, "plain") as found:
        meshed.apply(config(*OF_SIGNERS, everybody, more=asking(ca, files)))
        eventually(
            lambda: [one["issuer"] for one in in_plain(meshed)] == ["ca", "ca"], "they change", 20
        )
        eventually(
            lambda: all(one["report"]["issuer"] for one in in_plain(meshed)), "proxies say so", 20
        )
    require_no_failure(found, "another authority signs")
    assert ca.asked >= 2
    peer = in_legacy(meshed, PEER, [peer_of(OTHER, "spiffe://cluster.local/ns/legacy/sa/peer")])
    assert peer[0]["status"] == 200
    assert status(meshed, "bar", "foo") == 200, "those of signers are not concerned"


def test_what_is_not_right_is_handed_to_nobody(
    meshed: Mesh, ca: ExternalAuthority, files: Path
) -> None:
    """As an agent of Istio's asks, which is told why; workloads keep what they have."""
    me = "spiffe://cluster.local/ns/legacy/sa/peer"
    asked = {
        **peer_of(OTHER, me),
        "address": "10.244.0.1:15012",
        "roots": meshed.argosy("certs", "root", "-o", "name").stdout,
        "name": me,
    }

    def ask(**more: str) -> tuple[str, str]:
        (answer,) = in_legacy(meshed, ASK, [{**asked, **more}])
        return answer["code"], answer.get("message", "")

    def refuse(_chain: list[str]) -> list[str]:
        raise ValueError("not today")

    assert ask() == ("OK", "")
    code, why = ask(name="spiffe://cluster.local/ns/foo/sa/default")
    assert code == "INVALID_ARGUMENT"
    assert f"must name {me}" in why
    for by, mischief, told in (
        (authority(), list, "neither with it nor among the roots"),
        (OTHER, lambda _: [], "it holds no certificates"),
        (OTHER, refuse, "did not sign: "),
    ):
        ca.by, ca.mischief = by, mischief
        code, why = ask()
        assert (code, told in why) == ("UNAVAILABLE", True), why
    ca.by, ca.mischief = OTHER, list
    meshed.apply(config(*OF_SIGNERS, anchor(OTHER), more=asking(ca, files, "other.example")))
    code, why = ask()
    assert (code, "did not sign: " in why) == ("UNAVAILABLE", True), why
    assert status(meshed, "plain", "plain") == 200
    # A signer speaks for its own workloads, to the control plane too.
    posing = {**asked, **peer_of(SIGNERS[LONE], "spiffe://cluster.local/ns/foo/sa/default")}
    (answer,) = in_legacy(meshed, ASK, [posing])
    assert answer["code"] == "UNAUTHENTICATED"
    assert "is not of its signer" in answer["message"]


def peer_of(by: Authority, identity: str, host: str = "web.plain") -> dict[str, Any]:
    """A request with a certificate of ``by``, for ``mtls_peer.py``."""
    key, csr = make_request(identity)
    chain = sign_workload(by, csr, SpiffeId.parse(identity), datetime.now(UTC)).chain
    shown = {"certificate": "".join(chain), "key": private_pem(key).decode()}
    return {"host": host, "port": 80, **shown}


def bundle(*roots: Authority) -> str:
    """https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Trust_Domain_and_Bundle.md"""
    keys: list[dict[str, object]] = [{"use": "jwt-svid", "kty": "EC", "kid": "no authority"}]
    for root in roots:
        der = base64.b64encode(root.root.public_bytes(Encoding.DER)).decode()
        keys.append({"use": "x509-svid", "kty": "EC", "x5c": [der]})
    return json.dumps({"keys": keys, "spiffe_sequence": 1, "spiffe_refresh_hint": 60})


@pytest.fixture
def bundles(files: Path) -> Iterator[KeyServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files / "bundle.crt", files / "bundle.key")
    with key_server(context) as server:
        yield server


@pytest.mark.covers("MeshConfig.caCertificates[].spiffeBundleUrl")
def test_a_bundle_of_another_trust_domain(meshed: Mesh, bundles: KeyServer) -> None:
    old, new = create_root(TrustDomain("partner"), datetime.now(UTC)), authority()
    url = bundles.publish("/bundle", bundle(old))
    theirs = "spiffe://partner/ns/shop/sa/cart"
    asked = [
        peer_of(old, theirs),
        peer_of(new, theirs),
        peer_of(old, "spiffe://cluster.local/ns/plain/sa/default"),
    ]

    def answers() -> list[int]:
        return [answer["status"] for answer in in_legacy(meshed, PEER, asked)]

    text = json.dumps({"spiffeBundleUrl": url, "trustDomains": ["partner"]})
    own = (*OF_SIGNERS, text)
    meshed.apply(config(*own, more="trustDomainAliases: [partner]"))
    eventually(lambda: answers() == [200, 0, 0], "the bundle speaks for its domain", 20)
    bundles.publish("/bundle", bundle(old, new))
    eventually(lambda: answers() == [200, 200, 0], "a new authority in it", 20)
    bundles.publish("/bundle", bundle(new))
    eventually(lambda: answers() == [0, 200, 0], "an old one is withdrawn", 20)
    bundles.answers["/bundle"] = '{"keys": []}'

    def problems() -> str:
        return meshed.argosy("analyze", "-A", "-o", "json", check=False).stdout

    eventually(lambda: "BundleNotRefreshed" in problems(), "it is told", 20)
    assert "no key in it has the use x509-svid" in problems()
    assert answers() == [0, 200, 0], "the last good one stays in force"
    meshed.apply(config(*OF_SIGNERS))
    eventually(lambda: answers() == [0, 0, 0], "no longer", 20)
