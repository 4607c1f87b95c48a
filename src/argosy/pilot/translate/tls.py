"""Transport security: model → Envoy's TLS contexts and transport sockets.

Mesh certificates come from files that the agent renews and Envoy watches. The paths are
relative to Envoy's working directory, so that every proxy's configuration is equal bytes.
"""

from dataclasses import replace

from envoy.config.core.v3 import base_pb2, config_source_pb2, proxy_protocol_pb2
from envoy.extensions.transport_sockets.proxy_protocol.v3 import upstream_proxy_protocol_pb2
from envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2
from envoy.type.matcher.v3 import string_pb2

from argosy.model.secret import AuthoritiesReference, PairReference
from argosy.model.traffic import (
    NO_PARAMETERS,
    POST_QUANTUM,
    ExactName,
    OriginatedTls,
    PeerNames,
    ProxyProtocol,
    TerminatedTls,
    TlsParameters,
    UpstreamProtocol,
)
from argosy.pilot.translate import names
from argosy.pilot.translate.secret import secret_reference

TLS_SOCKET = "envoy.transport_sockets.tls"
RAW_BUFFER_SOCKET = "envoy.transport_sockets.raw_buffer"
PROXY_PROTOCOL_SOCKET = "envoy.transport_sockets.upstream_proxy_protocol"

CERTIFICATE_DIRECTORY = "./certs"
CERTIFICATE_FILE = "./certs/default.json"
ROOTS_FILE = "./certs/root.json"

SYSTEM_ROOTS = "/etc/ssl/certs/ca-certificates.crt"
"""Where Linux distributions of Debian's family keep the roots that the system trusts."""

MESH_CIPHERS = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
)
"""What an Istio sidecar accepts under TLS 1.2; TLS 1.3 brings its own."""

_TLS_VERSIONS = {
    "TLSV1_0": common_pb2.TlsParameters.TLSv1_0,
    "TLSV1_1": common_pb2.TlsParameters.TLSv1_1,
    "TLSV1_2": common_pb2.TlsParameters.TLSv1_2,
    "TLSV1_3": common_pb2.TlsParameters.TLSv1_3,
}

SERVER_ALPN = ("h2", "http/1.1")

MESH_ALPN = ("istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2")
"""Any of these in a client's hello says that its TLS is the mesh's, not the application's.

https://istio.io/latest/docs/ops/configuration/traffic-management/tls-configuration/
"""

MESH_HTTP_ALPN = ("istio-http/1.0", "istio-http/1.1", "istio-h2")
"""Any of these says moreover that what is inside is HTTP."""


def client_alpn(protocol: UpstreamProtocol) -> tuple[str, ...]:
    """What a client proxy offers in mesh TLS: a mark for the server's filter chains, then HTTP's.

    When the client's own protocol is kept, HTTP's are left out: with nothing negotiated the server detects
    HTTP/1.1 or HTTP/2 by the first bytes, so one list serves both.
    """
    match protocol:
        case UpstreamProtocol.HTTP2:
            return ("istio-h2", "istio", "h2")
        case UpstreamProtocol.HTTP1:
            return ("istio-http/1.1", "istio", "http/1.1")
        case UpstreamProtocol.DOWNSTREAM:
            return ("istio-http/1.1", "istio-h2", "istio")
        case UpstreamProtocol.TCP:
            return ("istio",)


def mesh_upstream_context(
    peers: PeerNames, sni: str, protocol: UpstreamProtocol, curves: tuple[str, ...] = ()
) -> tls_pb2.UpstreamTlsContext:
    """A client's end of mesh mTLS: its own certificate, the server pinned to ``peers``."""
    context = tls_pb2.UpstreamTlsContext(sni=sni)
    common = context.common_tls_context
    _versions(common)
    groups(common.tls_params, curves)
    common.alpn_protocols.extend(client_alpn(protocol))
    _mesh_secrets(common)
    combined = common.combined_validation_context
    combined.default_validation_context.SetInParent()
    _match_peers(combined.default_validation_context, peers)
    return context


def originated_upstream_context(
    tls: OriginatedTls, protocol: UpstreamProtocol
) -> tls_pb2.UpstreamTlsContext:
    """TLS with the user's own certificates. Without ``sni`` the cluster must set ``auto_sni``."""
    context = tls_pb2.UpstreamTlsContext(sni=tls.sni)
    common = context.common_tls_context
    _versions(common)
    if tls.parameters is not None:
        _parameters(common, tls.parameters)
    if protocol is UpstreamProtocol.HTTP2:
        common.alpn_protocols.append("h2")
    if isinstance(tls.certificate, PairReference):
        common.tls_certificate_sds_secret_configs.append(secret_reference(tls.certificate))
    elif tls.certificate is not None:
        certificate = common.tls_certificates.add()
        certificate.certificate_chain.filename = tls.certificate.certificate
        certificate.private_key.filename = tls.certificate.key
    if isinstance(tls.ca, AuthoritiesReference):
        combined = common.combined_validation_context
        combined.validation_context_sds_secret_config.CopyFrom(secret_reference(tls.ca))
        validation = combined.default_validation_context
        validation.SetInParent()
        if tls.crl:
            validation.crl.filename = tls.crl
        _match_peers(validation, tls.peers)
        return context
    validation = common.validation_context
    if tls.skip_verify:
        validation.trust_chain_verification = (
            common_pb2.CertificateValidationContext.ACCEPT_UNTRUSTED
        )
        return context
    validation.trusted_ca.filename = tls.ca or SYSTEM_ROOTS
    if tls.crl:
        validation.crl.filename = tls.crl
    _match_peers(validation, tls.peers)
    return context


def mesh_downstream_context(
    trust_domains: tuple[str, ...], parameters: TlsParameters = NO_PARAMETERS
) -> tls_pb2.DownstreamTlsContext:
    """A server's end of mesh mTLS: the client must show a certificate of these trust domains."""
    context = tls_pb2.DownstreamTlsContext()
    context.require_client_certificate.value = True
    common = context.common_tls_context
    _versions(common)
    _parameters(common, replace(parameters, ciphers=parameters.ciphers or MESH_CIPHERS))
    common.alpn_protocols.extend(SERVER_ALPN)
    _mesh_secrets(common)
    validation = common.combined_validation_context.default_validation_context
    validation.SetInParent()
    for trust_domain in trust_domains:
        _uri(validation).prefix = f"spiffe://{trust_domain}/"
    return context


def terminated_downstream_context(
    terminated: TerminatedTls, defaults: TlsParameters, *, http: bool
) -> tls_pb2.DownstreamTlsContext:
    """A server's end of TLS with the user's own files."""
    context = tls_pb2.DownstreamTlsContext()
    common = context.common_tls_context
    _versions(common)
    params = common.tls_params
    own = terminated.minimum if terminated.minimum in _TLS_VERSIONS else defaults.minimum
    ciphers = terminated.ciphers or defaults.ciphers or MESH_CIPHERS
    _parameters(common, TlsParameters(own, ciphers, defaults.curves))
    if terminated.maximum in _TLS_VERSIONS:
        params.tls_maximum_protocol_version = _TLS_VERSIONS[terminated.maximum]
    groups(params, defaults.curves)
    if http:
        common.alpn_protocols.extend(SERVER_ALPN)
    certificate = common.tls_certificates.add()
    certificate.certificate_chain.filename = terminated.certificate.certificate
    certificate.private_key.filename = terminated.certificate.key
    context.require_client_certificate.value = bool(terminated.ca) and not terminated.optional
    if terminated.ca:
        validation = common.validation_context
        validation.trusted_ca.filename = terminated.ca
        if terminated.crl:
            validation.crl.filename = terminated.crl
        validation.verify_certificate_spki.extend(terminated.spki)
        validation.verify_certificate_hash.extend(terminated.hashes)
        _match_peers(validation, tuple(ExactName(name) for name in terminated.names))
    return context


def tls_transport_socket(
    context: tls_pb2.UpstreamTlsContext | tls_pb2.DownstreamTlsContext,
) -> base_pb2.TransportSocket:
    socket = base_pb2.TransportSocket(name=TLS_SOCKET)
    socket.typed_config.Pack(context, deterministic=True)
    return socket


def raw_buffer_transport_socket() -> base_pb2.TransportSocket:
    socket = base_pb2.TransportSocket(name=RAW_BUFFER_SOCKET)
    socket.typed_config.Pack(raw_buffer_pb2.RawBuffer())
    return socket


def proxy_protocol_transport_socket(
    version: ProxyProtocol, inner: base_pb2.TransportSocket
) -> base_pb2.TransportSocket:
    """``inner``, preceded by a PROXY header with the client's address."""
    config = upstream_proxy_protocol_pb2.ProxyProtocolUpstreamTransport()
    config.config.version = (
        proxy_protocol_pb2.ProxyProtocolConfig.V1
        if version is ProxyProtocol.V1
        else proxy_protocol_pb2.ProxyProtocolConfig.V2
    )
    config.transport_socket.CopyFrom(inner)
    socket = base_pb2.TransportSocket(name=PROXY_PROTOCOL_SOCKET)
    socket.typed_config.Pack(config, deterministic=True)
    return socket


def secret(name: str, path: str) -> secret_pb2.SdsSecretConfig:
    """A secret that Envoy reads from ``path`` and reads again when its directory changes."""
    config = secret_pb2.SdsSecretConfig(name=name)
    source = config.sds_config
    source.resource_api_version = config_source_pb2.V3
    source.path_config_source.path = path
    source.path_config_source.watched_directory.path = CERTIFICATE_DIRECTORY
    return config


_ONLY_TLS_1_3 = frozenset(POST_QUANTUM.curves)


def _versions(common: tls_pb2.CommonTlsContext) -> None:
    common.tls_params.tls_minimum_protocol_version = common_pb2.TlsParameters.TLSv1_2
    common.tls_params.tls_maximum_protocol_version = common_pb2.TlsParameters.TLSv1_3


def _parameters(common: tls_pb2.CommonTlsContext, parameters: TlsParameters) -> None:
    params = common.tls_params
    if parameters.minimum in _TLS_VERSIONS:
        params.tls_minimum_protocol_version = _TLS_VERSIONS[parameters.minimum]
    params.cipher_suites.extend(parameters.ciphers)
    groups(params, parameters.curves)


def groups(params: common_pb2.TlsParameters, curves: tuple[str, ...]) -> None:
    """The groups for the key exchange. Where only TLS 1.3 has them, no earlier version is spoken:
    it could do with a key exchange of another kind."""
    del params.ecdh_curves[:]
    params.ecdh_curves.extend(curves)
    if curves and set(curves) <= _ONLY_TLS_1_3:
        params.tls_minimum_protocol_version = common_pb2.TlsParameters.TLSv1_3
        params.tls_maximum_protocol_version = common_pb2.TlsParameters.TLSv1_3


def _mesh_secrets(common: tls_pb2.CommonTlsContext) -> None:
    common.tls_certificate_sds_secret_configs.append(_CERTIFICATE)
    common.combined_validation_context.validation_context_sds_secret_config.CopyFrom(MESH_ROOTS)


def _match_peers(validation: common_pb2.CertificateValidationContext, peers: PeerNames) -> None:
    for peer in peers:
        if isinstance(peer, ExactName):
            if "://" in peer.value:
                _uri(validation).exact = peer.value
            else:
                _dns(validation).exact = peer.value
        else:
            _uri(validation).prefix = peer.value


def _uri(validation: common_pb2.CertificateValidationContext) -> string_pb2.StringMatcher:
    return _name(validation, common_pb2.SubjectAltNameMatcher.URI)


def _dns(validation: common_pb2.CertificateValidationContext) -> string_pb2.StringMatcher:
    return _name(validation, common_pb2.SubjectAltNameMatcher.DNS)


def _name(
    validation: common_pb2.CertificateValidationContext,
    kind: common_pb2.SubjectAltNameMatcher.SanType.ValueType,
) -> string_pb2.StringMatcher:
    san = validation.match_typed_subject_alt_names.add(san_type=kind)
    return san.matcher


_CERTIFICATE = secret(names.DEFAULT_SECRET, CERTIFICATE_FILE)
MESH_ROOTS = secret(names.ROOT_SECRET, ROOTS_FILE)
