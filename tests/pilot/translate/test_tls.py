"""Mesh TLS on the wire as Istio's sidecars expect it."""

import pytest
from envoy.extensions.transport_sockets.tls.v3 import common_pb2

from argosy.model.traffic import (
    ExactName,
    NamePrefix,
    OriginatedTls,
    UpstreamProtocol,
)
from argosy.pilot.translate import tls

PEERS = (ExactName("spiffe://a"),)


@pytest.mark.parametrize("protocol", list(UpstreamProtocol))
def test_every_client_is_recognised_as_the_meshs(protocol: UpstreamProtocol) -> None:
    offered = tls.mesh_upstream_context(PEERS, "a", protocol).common_tls_context.alpn_protocols
    assert set(offered) & set(tls.MESH_ALPN)
    says_http = bool(set(offered) & set(tls.MESH_HTTP_ALPN))
    assert says_http == (protocol is not UpstreamProtocol.TCP)


@pytest.mark.parametrize(
    ("protocol", "negotiated"),
    [
        (UpstreamProtocol.HTTP2, "h2"),
        (UpstreamProtocol.HTTP1, "http/1.1"),
        (UpstreamProtocol.DOWNSTREAM, None),
        (UpstreamProtocol.TCP, None),
    ],
)
def test_negotiation_never_contradicts_what_the_client_speaks(
    protocol: UpstreamProtocol, negotiated: str | None
) -> None:
    offered = tls.client_alpn(protocol)
    server = tls.mesh_downstream_context(("cluster.local",)).common_tls_context.alpn_protocols
    assert next((name for name in server if name in offered), None) == negotiated


def test_secrets_are_watched_files_with_relative_paths() -> None:
    common = tls.mesh_upstream_context(PEERS, "a", UpstreamProtocol.TCP).common_tls_context
    (certificate,) = common.tls_certificate_sds_secret_configs
    roots = common.combined_validation_context.validation_context_sds_secret_config
    assert (certificate.name, roots.name) == ("default", "ROOTCA")
    for config, path in ((certificate, "./certs/default.json"), (roots, "./certs/root.json")):
        assert config.sds_config.path_config_source.path == path
        assert config.sds_config.path_config_source.watched_directory.path == "./certs"


def test_peer_names_are_matched_by_kind() -> None:
    peers = (ExactName("spiffe://td/ns/a/sa/b"), NamePrefix("spiffe://td/ns/a/"), ExactName("x.y"))
    context = tls.mesh_upstream_context(peers, "sni", UpstreamProtocol.TCP)
    validation = context.common_tls_context.combined_validation_context.default_validation_context
    uri, prefix, dns = validation.match_typed_subject_alt_names
    assert uri.san_type == common_pb2.SubjectAltNameMatcher.URI
    assert uri.matcher.exact == "spiffe://td/ns/a/sa/b"
    assert prefix.matcher.prefix == "spiffe://td/ns/a/"
    assert (dns.san_type, dns.matcher.exact) == (common_pb2.SubjectAltNameMatcher.DNS, "x.y")


def test_servers_demand_a_certificate_of_the_mesh() -> None:
    context = tls.mesh_downstream_context(("cluster.local", "old.example"))
    assert context.require_client_certificate.value
    common = context.common_tls_context
    assert common.tls_params.tls_minimum_protocol_version == common_pb2.TlsParameters.TLSv1_2
    assert "ECDHE-ECDSA-AES256-GCM-SHA384" in common.tls_params.cipher_suites
    validation = common.combined_validation_context.default_validation_context
    prefixes = [name.matcher.prefix for name in validation.match_typed_subject_alt_names]
    assert prefixes == ["spiffe://cluster.local/", "spiffe://old.example/"]


def test_originated_tls_checks_the_server_unless_told_not_to() -> None:
    checked = tls.originated_upstream_context(OriginatedTls(), UpstreamProtocol.HTTP1)
    validation = checked.common_tls_context.validation_context
    assert validation.trusted_ca.filename == tls.SYSTEM_ROOTS
    assert validation.trust_chain_verification == (
        common_pb2.CertificateValidationContext.VERIFY_TRUST_CHAIN
    )
    trusting = tls.originated_upstream_context(
        OriginatedTls(skip_verify=True), UpstreamProtocol.HTTP1
    )
    assert trusting.common_tls_context.validation_context.trust_chain_verification == (
        common_pb2.CertificateValidationContext.ACCEPT_UNTRUSTED
    )


def test_originated_http2_is_negotiated() -> None:
    context = tls.originated_upstream_context(OriginatedTls(), UpstreamProtocol.HTTP2)
    assert list(context.common_tls_context.alpn_protocols) == ["h2"]
