"""A server's end of TLS, as users configure it: ``DownstreamTlsContext``."""

from envoy.extensions.transport_sockets.tls.v3 import common_pb2, tls_pb2

from argosy.model.server_tls import (
    ClientCertificates,
    MeshCertificates,
    TerminatedTls,
    TlsVersion,
)
from argosy.model.traffic import NO_PARAMETERS, TlsParameters
from argosy.pilot.translate.secret import secret_reference
from argosy.pilot.translate.tls import MESH_ROOTS, SERVER_ALPN, groups, mesh_downstream_context

_VERSIONS = {
    TlsVersion.TLS1_0: common_pb2.TlsParameters.TLSv1_0,
    TlsVersion.TLS1_1: common_pb2.TlsParameters.TLSv1_1,
    TlsVersion.TLS1_2: common_pb2.TlsParameters.TLSv1_2,
    TlsVersion.TLS1_3: common_pb2.TlsParameters.TLSv1_3,
}


def terminated_context(
    value: TerminatedTls,
    trust_domains: tuple[str, ...],
    *,
    http: bool,
    mesh: TlsParameters = NO_PARAMETERS,
    other: TlsParameters = NO_PARAMETERS,
) -> tls_pb2.DownstreamTlsContext:
    """``http``: HTTP/2 and HTTP/1.1 are negotiated.

    ``mesh`` and ``other``: MeshConfig's parameters of mesh mTLS and of any other, which hold where
    ``value`` says nothing.
    """
    if isinstance(value.certificates, MeshCertificates):
        context = mesh_downstream_context(trust_domains, mesh)
        common = context.common_tls_context
        if not http:
            del common.alpn_protocols[:]
            common.alpn_protocols.append("istio")
        if value.ciphers:
            del common.tls_params.cipher_suites[:]
        _parameters(common.tls_params, value, mesh.minimum)
        groups(common.tls_params, mesh.curves)
        _checks(common.combined_validation_context.default_validation_context, value)
        return context
    context = tls_pb2.DownstreamTlsContext()
    required = value.clients is ClientCertificates.REQUIRED
    context.require_client_certificate.value = required
    common = context.common_tls_context
    _parameters(common.tls_params, value, other.minimum)
    if not value.ciphers:
        common.tls_params.cipher_suites.extend(other.ciphers)
    groups(common.tls_params, other.curves)
    if http:
        common.alpn_protocols.extend(SERVER_ALPN)
    for reference in value.certificates:
        common.tls_certificate_sds_secret_configs.append(secret_reference(reference))
    if value.clients is ClientCertificates.IGNORED:
        return context
    combined = common.combined_validation_context
    combined.default_validation_context.SetInParent()
    _checks(combined.default_validation_context, value)
    # Without any authority Envoy would not insist on a certificate, even where nobody verifies it.
    wanted = MESH_ROOTS if value.authorities is None else secret_reference(value.authorities)
    combined.validation_context_sds_secret_config.CopyFrom(wanted)
    return context


def _parameters(
    params: common_pb2.TlsParameters, value: TerminatedTls, default_minimum: str
) -> None:
    usual = TlsVersion.TLS1_2 if default_minimum == "TLS_AUTO" else TlsVersion(default_minimum)
    params.tls_minimum_protocol_version = _VERSIONS[value.lowest or usual]
    params.tls_maximum_protocol_version = _VERSIONS[value.highest or TlsVersion.TLS1_3]
    params.cipher_suites.extend(value.ciphers)


def _checks(validation: common_pb2.CertificateValidationContext, value: TerminatedTls) -> None:
    checks = value.checks
    if checks.skip:
        validation.trust_chain_verification = (
            common_pb2.CertificateValidationContext.ACCEPT_UNTRUSTED
        )
        return
    if checks.names and isinstance(value.certificates, MeshCertificates):
        del validation.match_typed_subject_alt_names[:]  # they say more than the trust domain
    for name in checks.names:
        kinds = (
            (common_pb2.SubjectAltNameMatcher.URI,)
            if "://" in name
            else (common_pb2.SubjectAltNameMatcher.DNS, common_pb2.SubjectAltNameMatcher.EMAIL)
        )
        for kind in kinds:
            validation.match_typed_subject_alt_names.add(san_type=kind).matcher.exact = name
    validation.verify_certificate_spki.extend(checks.spki)
    validation.verify_certificate_hash.extend(checks.hashes)
    if checks.crl:
        validation.crl.filename = checks.crl
