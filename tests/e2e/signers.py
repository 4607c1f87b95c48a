"""Authorities beside the mesh, as tests want them.

``RequestSigner`` does what cert-manager does with ``CertificateSigningRequest``: it watches for approved
requests in the name of its signers and writes ``status.certificate``
(https://cert-manager.io/docs/usage/kube-csr/). ``ExternalAuthority`` speaks
``istio.v1.auth.IstioCertificateService`` over TLS as istio-csr does, and only to who shows a certificate.
"""

import base64
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID
from mesh import Mesh, client_of

from argosy.base.names import TrustDomain
from argosy.citadel.grpc_service import (
    METHOD,
    SERVICE,
    CertificateRequest,
    CertificateResponse,
)
from argosy.citadel.signer import Authority, create_root, pem

_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=True,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"


def authority() -> Authority:
    return create_root(TrustDomain("elsewhere"), datetime.now(UTC))


def signed(by: Authority, csr: str, lifetime: timedelta = timedelta(hours=2)) -> str:
    """As cert-manager's issuers sign: the key and the names of the request."""
    request = x509.load_pem_x509_csr(csr.encode())
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    now = datetime.now(UTC)
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    leaf = (
        x509.CertificateBuilder()
        .subject_name(request.subject)
        .issuer_name(by.certificate.subject)
        .public_key(request.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + lifetime)
        .add_extension(names, critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_USAGE, critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .sign(by.key, hashes.SHA256())
    )
    return pem(leaf)


@dataclass
class RequestSigner:
    """``authorities`` by the names of the signers. ``seen`` are the requests that were signed."""

    api: httpx.Client
    authorities: dict[str, Authority]
    seen: list[dict[str, Any]] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.stopped.wait(0.05):
            for item in self.api.get(REQUESTS).json()["items"]:
                self._answer(item)

    def _answer(self, item: dict[str, Any]) -> None:
        status = item.get("status") or {}
        approved = any(one["type"] == "Approved" for one in status.get("conditions", ()))
        by = self.authorities.get(item["spec"]["signerName"])
        if not approved or by is None or status.get("certificate"):
            return
        csr = base64.b64decode(item["spec"]["request"]).decode()
        certificate = base64.b64encode(signed(by, csr).encode()).decode()
        name = item["metadata"]["name"]
        body = {**item, "status": {**status, "certificate": certificate}}
        answer = self.api.put(f"{REQUESTS}/{name}/status", json=body)
        if answer.status_code != 404:  # it may be gone: its asker does not wait for ever
            assert answer.is_success, answer.text
            self.seen.append(item)


@contextmanager
def signing(mesh: Mesh, authorities: dict[str, Authority]) -> Iterator[RequestSigner]:
    with client_of(mesh) as api:
        signer = RequestSigner(api, authorities)
        thread = threading.Thread(target=signer.run, daemon=True)
        thread.start()
        try:
            yield signer
        finally:
            signer.stopped.set()
            thread.join(10)


@dataclass
class ExternalAuthority:
    """``by`` signs now. ``asked`` counts; ``mischief`` changes the answers, or refuses by raising."""

    by: Authority
    port: int = 0
    asked: int = 0
    mischief: Callable[[list[str]], list[str]] = list

    def answer(self, body: bytes) -> bytes:
        self.asked += 1
        request: Any = CertificateRequest.FromString(body)
        chain = self.mischief([signed(self.by, request.csr), pem(self.by.root)])
        answered: bytes = CertificateResponse(cert_chain=chain).SerializeToString()
        return answered


@contextmanager
def external_authority(
    by: Authority, credentials: grpc.ServerCredentials
) -> Iterator[ExternalAuthority]:
    known = ExternalAuthority(by)
    server = grpc.server(futures.ThreadPoolExecutor(4))
    method = grpc.unary_unary_rpc_method_handler(lambda body, _: known.answer(body), None, None)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {METHOD: method}),)
    )
    known.port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield known
    finally:
        server.stop(0).wait()
