"""CertificateSigningRequest of ``certificates.k8s.io``: what signers beside the mesh are asked by.

https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/certificate-signing-request-v1/
"""

import base64
import binascii
from collections.abc import Iterable, Mapping

from argosy.api.meta import Int32, KubernetesPart, Object
from argosy.api.typed import Mistake

_BEGIN = b"-----BEGIN CERTIFICATE REQUEST-----"
SHORTEST_SECONDS = 600
"""https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/"""


class CertificateSigningRequestSpec(KubernetesPart, frozen=True, kw_only=True):
    """``request`` is PEM in base64."""

    request: str = ""
    signer_name: str = ""
    usages: tuple[str, ...] = ()
    expiration_seconds: Int32 | None = None
    username: str = ""
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = {}


class CertificateSigningRequestCondition(KubernetesPart, frozen=True, kw_only=True):
    """``type`` is Approved, Denied or Failed."""

    type: str
    status: str = "True"
    reason: str = ""
    message: str = ""
    last_update_time: str = ""
    last_transition_time: str = ""


class CertificateSigningRequestStatus(KubernetesPart, frozen=True, kw_only=True):
    """``certificate`` is PEM in base64: the leaf, then what leads to the root."""

    certificate: str = ""
    conditions: tuple[CertificateSigningRequestCondition, ...] = ()


class CertificateSigningRequest(Object, frozen=True, kw_only=True):
    api_version: str = "certificates.k8s.io/v1"
    kind: str = "CertificateSigningRequest"
    spec: CertificateSigningRequestSpec = CertificateSigningRequestSpec()
    status: CertificateSigningRequestStatus | None = None


def validate_certificate_signing_request(value: CertificateSigningRequest) -> Iterable[Mistake]:
    spec = value.spec
    if not _is_request(spec.request):
        yield Mistake(
            "spec.request",
            "InvalidValue",
            "it is no certificate signing request in PEM form, in base64",
            "write what base64 -w0 makes of the PEM file",
        )
    domain, slash, name = spec.signer_name.partition("/")
    if not (domain and slash and name):
        yield Mistake(
            "spec.signerName",
            "InvalidValue",
            f"{spec.signer_name!r} is no signer",
            "write <domain>/<name>, such as clusterissuers.cert-manager.io/foo",
        )
    if spec.expiration_seconds is not None and spec.expiration_seconds < SHORTEST_SECONDS:
        yield Mistake(
            "spec.expirationSeconds",
            "InvalidValue",
            f"it must be at least {SHORTEST_SECONDS}",
            "leave it out, or write more",
        )


def _is_request(text: str) -> bool:
    """By its form; whoever signs looks into it."""
    try:
        return base64.b64decode(text, validate=True).strip().startswith(_BEGIN)
    except (ValueError, binascii.Error):
        return False
