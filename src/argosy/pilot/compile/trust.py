"""MeshConfig's words about whom to trust besides the mesh itself.

https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig-CertificateData
"""

import re

from cryptography import x509

from argosy.api import meshconfig as api
from argosy.model.secret import TrustAnchor
from argosy.pilot.compile.report import Report

TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
DOMAIN_HINT = "a trust domain is 1 to 255 of a-z, 0-9, '.', '-' and '_'"


def trust_anchors(written: api.MeshConfig, report: Report) -> tuple[TrustAnchor, ...]:
    """An entry with a mistake is left out: nobody is trusted by mistake."""
    found = []
    for index, entry in enumerate(written.ca_certificates):
        anchor = _anchor(entry, report.at(f"caCertificates[{index}]"))
        if anchor is not None:
            found.append(anchor)
    return tuple(found)


def _anchor(entry: api.CertificateData, report: Report) -> TrustAnchor | None:
    if entry.spiffe_bundle_url:
        report.at("spiffeBundleUrl").error(
            "FieldNotSupported",
            "bundles are not fetched: this entry is not used, and certificates of "
            f"{', '.join(entry.trust_domains) or 'that mesh'} are refused",
            "paste the bundle's x509-svid certificates into pem",
        )
        return None
    if entry.cert_signers:
        report.at("certSigners").warning(
            "FieldNotSupported",
            "there are no signers by name here: the field has no effect",
            "remove it",
        )
    for index, domain in enumerate(entry.trust_domains):
        if not TRUST_DOMAIN.fullmatch(domain):
            report.at(f"trustDomains[{index}]").error(
                "InvalidValue",
                f"{domain!r} is no trust domain: this entry is not used",
                DOMAIN_HINT,
            )
            return None
    try:
        x509.load_pem_x509_certificates(entry.pem.encode())
    except ValueError:
        report.at("pem").error(
            "InvalidCertificate",
            "it holds no certificate in PEM form: this entry is not used",
            "paste the PEM text, from its BEGIN line to its END line",
        )
        return None
    pem = entry.pem.strip() + "\n"
    return TrustAnchor(pem, tuple(sorted(set(entry.trust_domains))))
