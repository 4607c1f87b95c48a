"""What cert-manager does to a mesh, through the mesh's Kubernetes API, and an ACME issuer for it.

cert-manager itself needs a Kubernetes cluster. For each certificate it makes a key and a request;
for each HTTP-01 challenge a Pod, a Service and an Ingress, which go away when the issuer has been
there; and at last it writes the Secret, by server-side apply. The objects are those of
https://github.com/cert-manager/cert-manager (``pkg/issuer/acme/http``, ``pkg/controller/certificates``),
the challenge is RFC 8555, section 8.3.
"""

import base64
import datetime
import json
import secrets
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from credentials import GATEWAYS
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from mesh import Mesh, client_of, eventually

CHALLENGES = "/.well-known/acme-challenge"
SOLVER_IMAGE = "quay.io/jetstack/cert-manager-acmesolver:v1.18.2"
SOLVER_PORT = 8089
_SOLVER = Path(__file__).with_name("acme_solver.py")
IMAGES = f"""
images:
  - match: ".*cert-manager-acmesolver(:.*)?"
    command: ["${{PYTHON}}", "{_SOLVER}"]
"""


class RefusedError(Exception):
    """The issuer has not seen what it asked for."""


class Issuer:
    """An authority with an intermediate one, which signs for who controls a name's port 80."""

    def __init__(self, port80: str) -> None:
        """``port80`` is the URL at which all names' port 80 is found."""
        self._port80 = port80
        self._account = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
        root = ec.generate_private_key(ec.SECP256R1())
        self._key = ec.generate_private_key(ec.SECP256R1())
        name, middle = _name("test root"), _name("test issuer")
        self._root = _authority(name, root.public_key(), name, root)
        self._certificate = _authority(middle, self._key.public_key(), name, root)

    @property
    def root(self) -> str:
        return _pem(self._root)

    def sign(self, request: x509.CertificateSigningRequest, solve: "CertManager") -> str:
        """The chain, leaf first, without the root. Raises RefusedError."""
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        for domain in names.get_values_for_type(x509.DNSName):
            token = secrets.token_urlsafe(32)
            key = f"{token}.{self._account}"
            with solve.challenge(domain, token, key):
                solve.check(domain, token, key)
                self.validate(domain, token, key)
        now = datetime.datetime.now(datetime.UTC)
        leaf = (
            x509.CertificateBuilder()
            .subject_name(request.subject)
            .issuer_name(self._certificate.subject)
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=1))
            .not_valid_after(now + datetime.timedelta(days=90))
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        return _pem(leaf) + _pem(self._certificate)

    def validate(self, domain: str, token: str, key: str) -> None:
        """Ask as Let's Encrypt does. Raises RefusedError."""
        answer = ask(self._port80, domain, token)
        if (answer.status_code, answer.text) != (200, key):
            raise RefusedError(f"{domain}: {answer.status_code} {answer.text[:200]}")


def ask(port80: str, domain: str, token: str) -> httpx.Response:
    return httpx.get(f"{port80}{CHALLENGES}/{token}", headers={"Host": domain}, timeout=15)


class CertManager:
    """A client of the mesh's API, as the controller is of Kubernetes'."""

    def __init__(self, mesh: Mesh, ingress_class: str = "istio") -> None:
        self._mesh = mesh
        self._class = ingress_class
        self._api = client_of(mesh)

    def close(self) -> None:
        self._api.close()

    def issue(self, name: str, domain: str, issuer: Issuer) -> str:
        """A new key and certificate into the Secret ``name`` where the gateways are; its serial."""
        key = ec.generate_private_key(ec.SECP256R1())
        request = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([]))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), critical=False)
            .sign(key, hashes.SHA256())
        )
        chain = issuer.sign(request, self)
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        data = {"tls.crt": chain.encode(), "tls.key": pem, "ca.crt": issuer.root.encode()}
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": name,
                "namespace": GATEWAYS,
                "labels": {"controller.cert-manager.io/fao": "true"},
                "annotations": {
                    "cert-manager.io/alt-names": domain,
                    "cert-manager.io/certificate-name": name,
                    "cert-manager.io/common-name": "",
                    "cert-manager.io/ip-sans": "",
                    "cert-manager.io/issuer-group": "cert-manager.io",
                    "cert-manager.io/issuer-kind": "ClusterIssuer",
                    "cert-manager.io/issuer-name": "letsencrypt-staging",
                    "cert-manager.io/uri-sans": "",
                },
            },
            "type": "kubernetes.io/tls",
            "data": {entry: base64.b64encode(value).decode() for entry, value in data.items()},
        }
        self._call(
            "PATCH",
            f"/api/v1/namespaces/{GATEWAYS}/secrets/{name}",
            params={"fieldManager": "cert-manager-certificates-issuing", "force": "true"},
            headers={"Content-Type": "application/apply-patch+yaml"},
            content=json.dumps(secret),
        )
        return f"{x509.load_pem_x509_certificate(chain.encode()).serial_number:X}"

    @contextmanager
    def challenge(self, domain: str, token: str, key: str) -> Iterator[None]:
        """Present it, and take it away after."""
        labels = {
            "acme.cert-manager.io/http-domain": str(zlib.adler32(domain.encode())),
            "acme.cert-manager.io/http-token": str(zlib.adler32(token.encode())),
            "acme.cert-manager.io/http01-solver": "true",
        }
        made: list[tuple[str, str]] = []

        def create(version: str, kind: str, spec: object, **metadata: object) -> str:
            plural = {"Pod": "pods", "Service": "services", "Ingress": "ingresses"}[kind]
            root = "/api/v1" if version == "v1" else f"/apis/{version}"
            place = f"{root}/namespaces/default/{plural}"
            named = {"generateName": "cm-acme-http-solver-", "labels": labels, **metadata}
            body = {"apiVersion": version, "kind": kind, "metadata": named, "spec": spec}
            name: str = self._call("POST", place, json=body)["metadata"]["name"]
            made.append((place, name))
            return name

        try:
            pod = create("v1", "Pod", _solver(domain, token, key), annotations=_NOT_INJECTED)
            port = {"name": "http", "port": SOLVER_PORT, "targetPort": SOLVER_PORT}
            wanted = {"type": "NodePort", "ports": [port], "selector": labels}
            service = create("v1", "Service", wanted, annotations={"auth.istio.io/8089": "NONE"})
            rule = {"host": domain, "http": {"paths": [_path(token, service)]}}
            ingress = {"ingressClassName": self._class, "rules": [rule]}
            create("networking.k8s.io/v1", "Ingress", ingress)
            self._mesh.argosy("wait", f"pod/{pod}", "--for", "ready")
            yield
        finally:
            for place, name in made:
                self._call("DELETE", f"{place}/{name}")

    def check(self, domain: str, token: str, key: str) -> None:
        """Before the issuer is asked to come: wait until the challenge is answered."""
        url = self._mesh.url
        eventually(lambda: ask(url, domain, token).text == key, "the self check", 30)

    def solvers(self) -> list[str]:
        """What is left of challenges."""
        paths = ("/api/v1", "/api/v1", "/apis/networking.k8s.io/v1")
        found = []
        for root, plural in zip(paths, ("pods", "services", "ingresses"), strict=True):
            listed = self._call("GET", f"{root}/namespaces/default/{plural}")["items"]
            names = [item["metadata"]["name"] for item in listed]
            found += [f"{plural}/{n}" for n in names if n.startswith("cm-acme-http-solver-")]
        return found

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        answer = self._api.request(method, path, **options)
        assert answer.is_success, (method, path, answer.text)
        found: dict[str, Any] = answer.json()
        return found


_NOT_INJECTED = {"sidecar.istio.io/inject": "false"}


def _solver(domain: str, token: str, key: str) -> dict[str, object]:
    flags = {"listen-port": SOLVER_PORT, "domain": domain, "token": token, "key": key}
    container = {
        "name": "acmesolver",
        "image": SOLVER_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "args": [f"--{flag}={value}" for flag, value in flags.items()],
        "ports": [{"name": "http", "containerPort": SOLVER_PORT}],
        "resources": {
            "requests": {"cpu": "10m", "memory": "64Mi"},
            "limits": {"cpu": "100m", "memory": "64Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "OnFailure",
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "containers": [container],
    }


def _path(token: str, service: str) -> dict[str, object]:
    backend = {"service": {"name": service, "port": {"number": SOLVER_PORT}}}
    return {
        "path": f"{CHALLENGES}/{token}",
        "pathType": "ImplementationSpecific",
        "backend": backend,
    }


def _authority(
    name: x509.Name,
    key: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    signer: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(signer, hashes.SHA256())
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
