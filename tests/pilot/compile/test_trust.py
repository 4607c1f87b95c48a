"""Who else signs: an address, and TLS under a name; what is wrong there lets nobody sign instead."""

import pytest

from argosy.api.core import ConfigMap
from argosy.api.meta import Metadata
from argosy.model.signing import ExternalAuthority, ServerTrust
from argosy.pilot.compile.mesh import mesh
from argosy.pilot.compile.trust import UNUSABLE


def compiled(text: str) -> tuple[ExternalAuthority | None, list[str]]:
    config = ConfigMap(
        metadata=Metadata(name="istio", namespace="istio-system"), data={"mesh": f"ca: {text}"}
    )
    found = mesh(config)
    return found.value.authority, [problem.field for problem in found.problems]


@pytest.mark.parametrize(
    ("text", "trust"),
    [
        ("{address: 'ca.example:443'}", ServerTrust("ca.example")),
        ("{address: 'ca.example:443', tlsSettings: {mode: SIMPLE, sni: a.b}}", ServerTrust("a.b")),
        (
            "{address: 'ca.example:443', tlsSettings: {mode: MUTUAL, caCertificates: /r, "
            "clientCertificate: /c, privateKey: /k, sni: a.b, subjectAltNames: [c.d]}}",
            ServerTrust("c.d", "/r", "/c", "/k"),
        ),
        (
            "{address: 'ca.example:443', tlsSettings: {mode: SIMPLE, clientCertificate: /c}}",
            ServerTrust("ca.example"),
        ),
    ],
)
def test_an_authority_elsewhere(text: str, trust: ServerTrust) -> None:
    assert compiled(text) == (ExternalAuthority("ca.example", 443, trust), [])


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("{address: ca.example}", "address"),
        ("{address: 'https://ca.example:443/x'}", "address"),
        ("{address: 'ca.example:x'}", "address"),
        ("{address: 'a:1', istiodSide: false}", "istiodSide"),
        ("{address: 'a:1', requestTimeout: 0s}", "requestTimeout"),
        ("{address: 'a:1', tlsSettings: {mode: DISABLE}}", "tlsSettings.mode"),
        ("{address: 'a:1', tlsSettings: {mode: ISTIO_MUTUAL}}", "tlsSettings.mode"),
        ("{address: 'a:1', tlsSettings: {mode: MUTUAL}}", "tlsSettings.clientCertificate"),
        (
            "{address: 'a:1', tlsSettings: {mode: SIMPLE, insecureSkipVerify: true}}",
            "tlsSettings.insecureSkipVerify",
        ),
        (
            "{address: 'a:1', tlsSettings: {mode: SIMPLE, subjectAltNames: [a, b]}}",
            "tlsSettings.subjectAltNames",
        ),
    ],
)
def test_a_mistake_lets_nobody_sign(text: str, field: str) -> None:
    assert compiled(text) == (UNUSABLE, [f"data.mesh.ca.{field}"])
