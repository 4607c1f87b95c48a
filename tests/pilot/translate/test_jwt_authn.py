"""The filter that checks tokens: its requirements, and that Envoy takes every key set that we take."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2
from google.protobuf import json_format

from argosy.base.jwks import encoded, read_key_set
from argosy.base.names import Hostname
from argosy.model.authn import MtlsMode
from argosy.model.listener import InboundListener, InboundPort, ListenerSettings, UnknownPort
from argosy.model.request_authn import ClaimHeader, JwtProvider, JwtRule, NoKeys, RequestAuthn
from argosy.model.service import Protocol
from argosy.pilot.translate import names
from argosy.pilot.translate.inbound_listener import virtual_inbound
from argosy.pilot.translate.jwt_authn import jwt_authn, without_client_headers
from argosy.server.jwks.service import unverifiable_key_set
from argosy.testing.running_envoy import EnvoyError, static_cluster, validate
from argosy.testing.tokens import Issuer

ISSUER = Issuer("https://issuer.example.com")


def provider(issuer: str, keys: str = "keys", **more: Any) -> JwtProvider:
    return JwtProvider(JwtRule(issuer, NoKeys(), **more), keys)


def requires(proto: config_pb2.JwtAuthentication) -> Any:
    (rule,) = proto.rules
    assert rule.match.prefix == "/"
    return json_format.MessageToDict(rule.requires, preserving_proto_field_name=True)


def any_of(*items: object) -> object:
    return {"requires_any": {"requirements": list(items)}}


def optional(name: str) -> object:
    return any_of({"provider_name": name}, {"allow_missing": {}})


def test_one_issuer_s_token_is_good_or_missing() -> None:
    proto = jwt_authn(RequestAuthn((provider("a"),)))
    assert requires(proto) == optional("origins-0")
    assert proto.bypass_cors_preflight
    assert not proto.providers["origins-0"].clear_route_cache


def test_several_issuers_as_istio_has_them() -> None:
    proto = jwt_authn(RequestAuthn((provider("a"), provider("b")), choose_route_again=True))
    together = {"requires_all": {"requirements": [optional("origins-0"), optional("origins-1")]}}
    assert requires(proto) == any_of(
        {"provider_name": "origins-0"}, {"provider_name": "origins-1"}, together
    )
    assert [proto.providers[f"origins-{i}"].issuer for i in (0, 1)] == ["a", "b"]
    assert all(proto.providers[f"origins-{i}"].clear_route_cache for i in (0, 1))


def test_clients_do_not_write_what_applications_are_told_in() -> None:
    one = provider("a", claim_headers=(ClaimHeader("X-B", "b"), ClaimHeader("x-a", "a")))
    two = provider("b", payload_header="X-Payload", claim_headers=(ClaimHeader("x-b", "c"),))
    proto = without_client_headers(RequestAuthn((one, two)))
    assert proto is not None
    removed = [mutation.remove for mutation in proto.mutations.request_mutations]
    assert removed == ["x-a", "x-b", "x-payload"]
    assert without_client_headers(RequestAuthn((provider("a"),))) is None


def accepted(directory: Path, *key_sets: str) -> None:
    """Raises EnvoyError unless Envoy takes a listener with these key sets."""
    authn = RequestAuthn(tuple(provider(str(i), keys) for i, keys in enumerate(key_sets)))
    ports = (InboundPort(9080, 9080, Hostname("a.b"), Protocol.HTTP, MtlsMode.DISABLE),)
    listener = InboundListener(ports, (UnknownPort(None, MtlsMode.DISABLE),))
    settings = replace(ListenerSettings(), request_authn=authn)
    clusters = (
        names.inbound_cluster(9080),
        names.INBOUND_PASSTHROUGH_CLUSTER,
        names.BLACK_HOLE_CLUSTER,
    )
    validate(
        directory,
        listeners=[virtual_inbound(listener, settings)],
        clusters=[static_cluster(cluster, 1) for cluster in clusters],
    )


@pytest.mark.envoy
def test_envoy_takes_every_key_set_that_is_taken_here(tmp_path: Path) -> None:
    """One that it refused would take all configuration of a listener with it."""
    rsa = ISSUER.jwk()

    def point(group: ec.EllipticCurve, curve: str, size: int) -> dict[str, str]:
        numbers = ec.generate_private_key(group).public_key().public_numbers()
        x, y = (encoded(value.to_bytes(size, "big")) for value in (numbers.x, numbers.y))
        return {"kty": "EC", "crv": curve, "x": x, "y": y}

    edwards = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    usable: list[dict[str, str]] = [
        rsa,
        {name: rsa[name] for name in ("kty", "n", "e")},
        {**rsa, "alg": "PS256"},
        {**rsa, "n": encoded(b"\xff" * 128)},
        {**rsa, "n": encoded(b"\xff" * 1024)},
        {**rsa, "n": encoded(b"\x01" + b"\xff" * 256)},
        {**rsa, "e": encoded(b"\x03")},
        point(ec.SECP256R1(), "P-256", 32),
        {**point(ec.SECP256R1(), "P-256", 32), "alg": "ES256"},
        {**point(ec.SECP384R1(), "P-384", 48), "alg": "ES384"},
        {**point(ec.SECP521R1(), "P-521", 66), "alg": "ES512"},
        edwards,
        {**edwards, "alg": "EdDSA", "kid": "e\n\"'é"},
        {**edwards, "x": encoded(b"\xff" * 32)},
        {"kty": "oct", "k": encoded(b"\x01")},
        {"kty": "oct", "k": encoded(b"secret"), "alg": "HS512"},
    ]
    sets = [read_key_set(json.dumps({"keys": [key]})).text for key in usable]
    accepted(tmp_path, *sets, unverifiable_key_set())


@pytest.mark.envoy
def test_envoy_refuses_a_listener_with_a_key_set_without_keys(tmp_path: Path) -> None:
    """That is why there is a key that nobody has."""
    with pytest.raises(EnvoyError, match="invalid local jwks"):
        accepted(tmp_path, '{"keys": []}')
