"""What is in a Secret, and what makes it useless: found before a proxy gets it."""

from argosy.base.names import Namespace, ObjectKey
from argosy.model.secret import AuthorityBundle, Flaw, KeyPair
from argosy.pilot.compile.credentials import authorities, key_pair, locate
from argosy.testing.certificates import ScratchAuthority

AUTHORITY = ScratchAuthority()
ECDSA = AUTHORITY.credential("a.example.com")
RSA = AUTHORITY.credential("a.example.com", rsa=True)
KEY = ObjectKey("Secret", Namespace("istio-system"), "site")


def pair(**data: str) -> KeyPair | Flaw:
    return key_pair(KEY, {key.replace("_", "."): text.encode() for key, text in data.items()})


def test_both_forms_and_both_algorithms() -> None:
    for own, algorithm in ((ECDSA, "ECDSA"), (RSA, "RSA")):
        for found in (
            pair(tls_crt=own.certificate, tls_key=own.key),
            pair(cert=own.certificate, key=own.key),
        ):
            assert isinstance(found, KeyPair)
            assert found.algorithm == algorithm
            assert bytes(found.key) == own.key.encode()
            assert "PRIVATE" not in repr(found)


def test_what_is_wrong_is_said_and_nothing_of_the_key() -> None:
    cases = {
        "CredentialMismatch": pair(tls_crt=ECDSA.certificate, tls_key=RSA.key),
        "InvalidCredential": pair(tls_crt=ECDSA.certificate, tls_key="no key"),
    }
    for code, found in cases.items():
        assert isinstance(found, Flaw)
        assert (found.code, found.key) == (code, "tls.key")
        assert "no key" not in found.message
    for found in (pair(tls_key=ECDSA.key), pair(tls_crt=ECDSA.certificate), pair()):
        assert isinstance(found, Flaw)
        assert found.code == "InvalidCredential"
    malformed = pair(tls_crt="x", tls_key=ECDSA.key)
    assert isinstance(malformed, Flaw)
    assert malformed.key == "tls.crt"


def test_authorities_and_what_they_revoke() -> None:
    found = authorities(KEY, {"ca.crt": ECDSA.roots.encode()})
    assert found == AuthorityBundle(ECDSA.roots.encode())
    for data in ({}, {"cacert": b"x"}, {"ca.crt": ECDSA.roots.encode(), "ca.crl": b"x"}):
        assert isinstance(authorities(KEY, data), Flaw)


def test_names_mean_objects_of_the_proxys_own_namespace() -> None:
    namespace = Namespace("istio-system")
    assert locate("site", namespace) == KEY
    assert locate("kubernetes://site", namespace) == KEY
    assert locate("kubernetes://istio-system/site", namespace) == KEY
    assert locate("configmap://roots", namespace) == ObjectKey("ConfigMap", namespace, "roots")
    for name, code in (
        ("kubernetes://other/site", "CredentialNotAllowed"),
        ("sds://provider", "CredentialNotSupported"),
    ):
        found = locate(name, namespace)
        assert isinstance(found, Flaw)
        assert found.code == code
