"""MeshConfig's words about whom to trust besides the mesh itself, and who else signs.

https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig-CertificateData
https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig-CA
"""

import re
from dataclasses import replace
from datetime import timedelta
from urllib.parse import urlsplit

from cryptography import x509

from argosy.api import meshconfig as api
from argosy.api.networking_destination_rule import ClientTLSSettings
from argosy.base.names import ObjectKey
from argosy.base.problems import Problem, Severity
from argosy.model.request_authn import KeySource
from argosy.model.secret import TrustAnchor
from argosy.model.signing import ExternalAuthority, ServerTrust
from argosy.pilot.compile.report import Report
from argosy.pilot.compile.request_authn import KeysFailure

TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
DOMAIN_HINT = "a trust domain is 1 to 255 of a-z, 0-9, '.', '-' and '_'"
_SIGNER = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?")
_SIGNER_HINT = "a signer is <domain>/<name>, such as clusterissuers.cert-manager.io/foo"
_LONGEST_SIGNER = 571
"""https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#signers"""


def trust_anchors(written: api.MeshConfig, report: Report) -> tuple[TrustAnchor, ...]:
    """An entry with a mistake is left out: nobody is trusted by mistake."""
    found = []
    for index, entry in enumerate(written.ca_certificates):
        place = f"caCertificates[{index}]"
        anchor = _anchor(entry, place, report.at(place))
        if anchor is not None:
            found.append(anchor)
    return tuple(found)


def external_authority(written: api.MeshConfig, report: Report) -> ExternalAuthority | None:
    """Whom ``ca`` names. What is wrong there is told, and then nobody signs in its place."""
    if written.ca is None:
        return None
    here = report.at("ca")
    ca, mistakes = written.ca, len(report.problems)
    host, port = _address(ca.address)
    if not host or not port:
        here.at("address").error(
            "InvalidValue", f"{ca.address!r} is no host and port", "write host:port"
        )
    if not ca.istiod_side:
        here.at("istiodSide").error(
            "FieldNotSupported",
            "agents ask the control plane only: workloads get no certificates",
            "leave it out; the control plane passes their requests on",
        )
    if ca.request_timeout <= 0:
        here.at("requestTimeout").error("InvalidValue", "it must be more than 0", "write 10s")
    tls = _server_trust(ca.tls_settings, host, here.at("tlsSettings"))
    if len(report.problems) > mistakes:
        return UNUSABLE
    return ExternalAuthority(host, port, tls, timedelta(milliseconds=ca.request_timeout))


UNUSABLE = ExternalAuthority("", 0, ServerTrust(""))
"""Stands for a ``ca`` with mistakes: the mesh must not sign where another was to."""


def with_roots(anchor: TrustAnchor, roots: str) -> TrustAnchor:
    """Of a bundle that has been fetched."""
    return replace(anchor, roots=roots)


def fetch_problem(config: ObjectKey, anchor: TrustAnchor, failure: KeysFailure) -> Problem:
    """Of a bundle that could not be fetched."""
    assert anchor.bundle is not None
    told = (
        f"the bundle at {anchor.bundle.url} could not be fetched since {failure.since}: "
        f"{failure.reason}; the next try is at {failure.next_try}"
    )
    field = f"data.mesh.{anchor.place}.spiffeBundleUrl"
    if failure.kept:
        return Problem(
            config,
            field,
            "BundleNotRefreshed",
            f"{told}. The one that was fetched before stays in force",
            "see that the control plane can reach it",
            Severity.WARNING,
        )
    return Problem(
        config,
        field,
        "BundleNotFetched",
        f"{told}. Until then certificates of {', '.join(anchor.domains)} are refused",
        "see that the control plane can reach it, or write the certificates into pem",
    )


def _address(text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        if parts.path or parts.query or parts.fragment or parts.username is not None:
            return "", 0
        return parts.hostname or "", parts.port or 0
    except ValueError:
        return "", 0


def _server_trust(written: ClientTLSSettings | None, host: str, report: Report) -> ServerTrust:
    """Without settings the server is one that the system trusts."""
    if written is None:
        return ServerTrust(host)
    if written.mode not in ("SIMPLE", "MUTUAL"):
        report.at("mode").error(
            "InvalidValue",
            f"an authority is not asked in mode {written.mode}: its answers must be its own",
            "write SIMPLE, or MUTUAL with clientCertificate and privateKey",
        )
    for field, value in (
        ("credentialName", written.credential_name),
        ("caCrl", written.ca_crl),
        ("insecureSkipVerify", written.insecure_skip_verify),
    ):
        if value:
            report.at(field).error(
                "FieldNotSupported",
                "an authority is known by files and by its name",
                "write caCertificates, and subjectAltNames where its name is not that of address",
            )
    if len(written.subject_alt_names) > 1:
        report.at("subjectAltNames").error(
            "FieldNotSupported", "an authority has one name here", "leave the others out"
        )
    mutual = written.mode == "MUTUAL"
    if mutual and not (written.client_certificate and written.private_key):
        report.at("clientCertificate").error(
            "MissingField", "mode MUTUAL needs clientCertificate and privateKey", "write both"
        )
    name = next(iter(written.subject_alt_names), "") or written.sni or host
    return ServerTrust(
        name,
        written.ca_certificates,
        written.client_certificate if mutual else "",
        written.private_key if mutual else "",
    )


def _anchor(entry: api.CertificateData, place: str, report: Report) -> TrustAnchor | None:
    for index, domain in enumerate(entry.trust_domains):
        if not TRUST_DOMAIN.fullmatch(domain):
            report.at(f"trustDomains[{index}]").error(
                "InvalidValue",
                f"{domain!r} is no trust domain: this entry is not used",
                DOMAIN_HINT,
            )
            return None
    for index, signer in enumerate(entry.cert_signers):
        if len(signer) > _LONGEST_SIGNER or not _SIGNER.fullmatch(signer):
            report.at(f"certSigners[{index}]").error(
                "InvalidValue",
                f"{signer!r} is no signer: this entry is not used",
                _SIGNER_HINT,
            )
            return None
    domains = tuple(sorted(set(entry.trust_domains)))
    signers = tuple(sorted(set(entry.cert_signers)))
    if entry.spiffe_bundle_url:
        return _fetched(entry, TrustAnchor("", domains, signers, place=place), report)
    try:
        x509.load_pem_x509_certificates(entry.pem.encode())
    except ValueError:
        report.at("pem").error(
            "InvalidCertificate",
            "it holds no certificate in PEM form: this entry is not used",
            "paste the PEM text, from its BEGIN line to its END line",
        )
        return None
    return TrustAnchor(entry.pem.strip() + "\n", domains, signers, place=place)


def _fetched(entry: api.CertificateData, anchor: TrustAnchor, report: Report) -> TrustAnchor | None:
    """A bundle says nothing of its trust domain, so the entry must."""
    url = entry.spiffe_bundle_url
    if entry.pem:
        report.at("spiffeBundleUrl").error(
            "InvalidValue", "pem and spiffeBundleUrl exclude each other", "make two entries"
        )
        return None
    if not anchor.domains:
        report.at("spiffeBundleUrl").error(
            "MissingField",
            "a bundle that is fetched speaks for the trust domains that are named, and none is: "
            "this entry is not used",
            "write trustDomains",
        )
        return None
    if not _is_https(url):
        report.at("spiffeBundleUrl").error(
            "InvalidValue", f"{url!r} is no https URL: this entry is not used", "write https://..."
        )
        return None
    return replace(anchor, bundle=KeySource(url, bundle=True))


def _is_https(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
