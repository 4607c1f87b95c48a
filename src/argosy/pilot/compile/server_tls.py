"""``ServerTLSSettings`` → how a server speaks TLS.

https://istio.io/latest/docs/reference/config/networking/gateway/#ServerTLSSettings
"""

from argosy.api.networking_gateway import ServerTLSSettings
from argosy.model.secret import (
    AuthoritiesReference,
    FileAuthoritiesReference,
    FilePairReference,
    PairReference,
)
from argosy.model.server_tls import (
    AutoPassthroughTls,
    ClientCertificates,
    ClientChecks,
    MeshCertificates,
    PassthroughTls,
    ServerTls,
    TerminatedTls,
    TlsVersion,
)
from argosy.pilot.compile.report import Report

_CLIENTS = {
    "SIMPLE": ClientCertificates.IGNORED,
    "OPTIONAL_MUTUAL": ClientCertificates.ACCEPTED,
    "MUTUAL": ClientCertificates.REQUIRED,
    "ISTIO_MUTUAL": ClientCertificates.REQUIRED,
}

CIPHERS = frozenset(
    {
        *("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
        *("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"),
        *("ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305"),
        *("ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA", "AES128-GCM-SHA256", "AES128-SHA"),
        *("ECDHE-ECDSA-AES256-SHA", "ECDHE-RSA-AES256-SHA", "AES256-GCM-SHA384", "AES256-SHA"),
    }
)
"""What Envoy knows for TLS 1.2 and below; one that it does not know makes it refuse the listener.

https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/transport_sockets/tls/v3/common.proto
"""


def server_tls(written: ServerTLSSettings, report: Report) -> ServerTls:
    """What cannot be is the API's to report; unknown cipher suites are left out, and said so."""
    if written.mode == "PASSTHROUGH":
        return PassthroughTls()
    if written.mode == "AUTO_PASSTHROUGH":
        return AutoPassthroughTls()
    clients = _CLIENTS[written.mode]
    verifies = clients is not ClientCertificates.IGNORED
    return TerminatedTls(
        certificates=_certificates(written),
        clients=clients,
        authorities=_authorities(written) if verifies else None,
        checks=_checks(written) if verifies else ClientChecks(),
        lowest=_version(written.min_protocol_version),
        highest=_version(written.max_protocol_version),
        ciphers=_ciphers(written.cipher_suites, report.at("cipherSuites")),
    )


def _certificates(
    written: ServerTLSSettings,
) -> MeshCertificates | tuple[PairReference | FilePairReference, ...]:
    if written.mode == "ISTIO_MUTUAL":
        return MeshCertificates()
    if written.credential_names:
        return tuple(PairReference(name) for name in written.credential_names)
    if written.credential_name:
        return (PairReference(written.credential_name),)
    if written.tls_certificates:
        return tuple(
            FilePairReference(pair.server_certificate, pair.private_key)
            for pair in written.tls_certificates
        )
    return (FilePairReference(written.server_certificate, written.private_key),)


def _authorities(
    written: ServerTLSSettings,
) -> AuthoritiesReference | FileAuthoritiesReference | None:
    """Whom clients' certificates must come from; None: the mesh's authority, or anybody."""
    if written.mode == "ISTIO_MUTUAL" or written.insecure_skip_verify:
        return None
    if written.ca_cert_credential_name:
        return AuthoritiesReference(written.ca_cert_credential_name)
    if written.ca_certificates:
        return FileAuthoritiesReference(written.ca_certificates)
    names = written.credential_names or (written.credential_name,)
    return AuthoritiesReference(names[0])


def _checks(written: ServerTLSSettings) -> ClientChecks:
    if written.insecure_skip_verify and written.mode != "ISTIO_MUTUAL":
        return ClientChecks(skip=True)
    return ClientChecks(
        names=written.subject_alt_names,
        spki=written.verify_certificate_spki,
        hashes=written.verify_certificate_hash,
        crl=written.ca_crl,
    )


def _version(written: str) -> TlsVersion | None:
    return None if written == "TLS_AUTO" else TlsVersion(written)


def _ciphers(written: tuple[str, ...], report: Report) -> tuple[str, ...]:
    unknown = [name for name in written if name not in CIPHERS]
    for name in unknown:
        report.warning(
            "UnknownCipherSuite",
            f"{name} is not a cipher suite that proxies know, so it is left out",
            "write OpenSSL's names; those of TLS 1.3 cannot be chosen",
        )
    return tuple(dict.fromkeys(name for name in written if name in CIPHERS))
