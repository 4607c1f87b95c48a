"""Secrets for ADS, and the references by which listeners and clusters name them."""

from typing import assert_never

from envoy.config.core.v3 import config_source_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from argosy.model.secret import (
    AuthoritiesReference,
    AuthorityBundle,
    FileAuthoritiesReference,
    FilePairReference,
    KeyPair,
    PairReference,
    SecretReference,
)
from argosy.pilot.translate import names


def secret_name(reference: SecretReference) -> str:
    match reference:
        case PairReference(name):
            return names.credential_secret(name)
        case AuthoritiesReference(name):
            return names.authorities_secret(name)
        case FilePairReference(certificate, key):
            return names.file_secret(certificate, key)
        case FileAuthoritiesReference(ca):
            return names.file_authorities_secret(ca)
        case _:
            assert_never(reference)


def secret_reference(reference: SecretReference) -> secret_pb2.SdsSecretConfig:
    """Asked of the control plane. Whoever needs it waits for it, however late it comes."""
    config = secret_pb2.SdsSecretConfig(name=secret_name(reference))
    config.sds_config.ads.SetInParent()
    config.sds_config.resource_api_version = config_source_pb2.V3
    config.sds_config.initial_fetch_timeout.SetInParent()
    return config


def secret(name: str, value: KeyPair | AuthorityBundle) -> secret_pb2.Secret:
    proto = secret_pb2.Secret(name=name)
    match value:
        case KeyPair(chain, key):
            proto.tls_certificate.certificate_chain.inline_bytes = chain
            proto.tls_certificate.private_key.inline_bytes = bytes(key)
        case AuthorityBundle(roots, crl):
            proto.validation_context.trusted_ca.inline_bytes = roots
            if crl:
                proto.validation_context.crl.inline_bytes = crl
        case _:
            assert_never(value)
    return proto


def file_secret(reference: FilePairReference | FileAuthoritiesReference) -> secret_pb2.Secret:
    """Paths only: Envoy reads the files, and reads them again when their directory changes."""
    proto = secret_pb2.Secret(name=secret_name(reference))
    match reference:
        case FilePairReference(certificate, key):
            pair = proto.tls_certificate
            pair.certificate_chain.filename = certificate
            pair.private_key.filename = key
            pair.watched_directory.path = _directory(certificate)
        case FileAuthoritiesReference(ca):
            proto.validation_context.trusted_ca.filename = ca
            proto.validation_context.watched_directory.path = _directory(ca)
        case _:
            assert_never(reference)
    return proto


def _directory(path: str) -> str:
    before, slash, _ = path.rpartition("/")
    return before if before else slash or "."
