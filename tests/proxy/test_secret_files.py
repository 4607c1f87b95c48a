"""The files that Envoy reads: whole, private, replaced by rename."""

import json
import os
import threading
from pathlib import Path

import pytest

from argosy.base.log import Secret
from argosy.proxy.secret_files import (
    KeyPair,
    Roots,
    read_key_pair,
    versions_of,
    write_certificate,
    write_pem,
    write_pem_roots,
    write_roots,
)

PAIR = KeyPair(Secret(b"KEY\n"), ("LEAF\n", "BETWEEN\n"))
FILES = ["control-plane.json", "default.json", "root.json"]


def write_secrets(directory: Path, pair: KeyPair, roots: str, version: str) -> None:
    write_roots(directory, Roots(version, roots))
    write_certificate(directory, pair, version)


def test_each_file_is_a_discovery_response_with_one_secret(tmp_path: Path) -> None:
    write_secrets(tmp_path / "certs", PAIR, "ROOT\n", "abc")
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
    assert json.loads((tmp_path / "certs" / "default.json").read_text()) == {
        "version_info": "abc",
        "resources": [
            {
                "@type": kind,
                "name": "default",
                "tls_certificate": {
                    "certificate_chain": {"inline_string": "LEAF\nBETWEEN\n"},
                    "private_key": {"inline_string": "KEY\n"},
                },
            }
        ],
    }
    assert json.loads((tmp_path / "certs" / "root.json").read_text()) == {
        "version_info": versions_of(Roots("abc", "ROOT\n"))["ROOTCA"],
        "resources": [
            {
                "@type": kind,
                "name": "ROOTCA",
                "validation_context": {"trusted_ca": {"inline_string": "ROOT\n"}},
            }
        ],
    }


def test_the_control_plane_is_known_by_the_meshs_own_roots(tmp_path: Path) -> None:
    """With other trust domains, each root speaks for its own only; none of them for the mesh."""
    domains = (("here", "OWN\n"), ("there", "OTHER\n"))
    write_roots(tmp_path, Roots("v", "OWN\n", "CRL\n", domains))

    def context(file: str) -> object:
        return json.loads((tmp_path / file).read_text())["resources"][0]["validation_context"]

    assert context("control-plane.json") == {
        "trusted_ca": {"inline_string": "OWN\n"},
        "crl": {"inline_string": "CRL\n"},
    }
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
    assert context("root.json") == {
        "custom_validator_config": {
            "name": "envoy.tls.cert_validator.spiffe",
            "typed_config": {
                "@type": f"{kind}.SPIFFECertValidatorConfig",
                "trust_domains": [
                    {"name": "here", "trust_bundle": {"inline_string": "OWN\n"}},
                    {"name": "there", "trust_bundle": {"inline_string": "OTHER\n"}},
                ],
            },
        }
    }


OWN, OTHERS = ("here", "OWN\nANCHOR\n"), ("there", "OTHER\n")
SIGNERS = ("here", "SIGNER\n")


@pytest.mark.parametrize(
    ("domains", "peers"),
    [
        ((), "OWN\n"),
        ((OWN, OTHERS), "OWN\nANCHOR\n"),
        ((SIGNERS, OTHERS), "SIGNER\n"),
        ((OTHERS,), ""),
    ],
)
def test_readers_of_pem_trust_what_may_speak_for_this_mesh(
    tmp_path: Path, domains: tuple[tuple[str, str], ...], peers: str
) -> None:
    """They cannot tell whose root may speak for whom, so those of other meshes are not there."""
    write_pem_roots(tmp_path, Roots("v", "OWN\n", "", domains, "here"))
    assert (tmp_path / "root-cert.pem").read_text() == peers
    assert (tmp_path / "control-plane.pem").read_text() == "OWN\n"


def test_who_signed_is_kept_with_the_certificate(tmp_path: Path) -> None:
    write_roots(tmp_path, Roots("v", "ROOT\n"))
    for pair in (
        KeyPair(PAIR.key, ("LEAF\n",), "signers.example/foo"),
        KeyPair(PAIR.key, ("L\n",)),
    ):
        write_certificate(tmp_path, pair, "1")
        assert read_key_pair(tmp_path) == pair


def test_the_same_in_pem(tmp_path: Path) -> None:
    write_pem(tmp_path / "certs", PAIR)
    write_pem_roots(tmp_path / "certs", Roots("1", "ROOT\n"))
    files = {each.name: each.read_text() for each in (tmp_path / "certs").iterdir()}
    assert files == {
        "cert-chain.pem": "LEAF\nBETWEEN\n",
        "key.pem": "KEY\n",
        "root-cert.pem": "ROOT\n",
        "control-plane.pem": "ROOT\n",
    }
    assert {each.stat().st_mode & 0o777 for each in (tmp_path / "certs").iterdir()} == {0o600}


def test_only_the_owner_may_read(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        write_secrets(tmp_path / "certs", PAIR, "ROOT\n", "1")
    finally:
        os.umask(old)
    assert (tmp_path / "certs").stat().st_mode & 0o777 == 0o700
    files = sorted((tmp_path / "certs").iterdir())
    assert [each.name for each in files] == FILES
    assert {each.stat().st_mode & 0o777 for each in files} == {0o600}


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    write_secrets(tmp_path, PAIR, "ROOT\n", "0")
    done = threading.Event()

    def write() -> None:
        for number in range(200):
            write_secrets(tmp_path, PAIR, "ROOT\n" * 1000, str(number))
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    reads = 0
    while not done.is_set():
        for name in ("default.json", "root.json"):
            assert json.loads((tmp_path / name).read_bytes())["resources"]
            reads += 1
    writer.join()
    assert reads > 10


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    write_secrets(tmp_path / "certs", PAIR, "ROOT\n", "1")
    before = (tmp_path / "certs" / "default.json").read_bytes()
    (tmp_path / "certs" / "root.json").unlink()
    (tmp_path / "certs" / "root.json").mkdir()
    with pytest.raises(OSError, match=r"root\.json"):
        write_secrets(tmp_path / "certs", PAIR, "ROOT\n", "2")
    assert (tmp_path / "certs" / "default.json").read_bytes() == before
    assert sorted(p.name for p in (tmp_path / "certs").iterdir()) == FILES


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    assert read_key_pair(tmp_path) is None
    write_secrets(tmp_path, PAIR, "ROOT\n", "1")
    found = read_key_pair(tmp_path)
    assert found is not None
    assert bytes(found.key) == b"KEY\n"
    assert found.chain == ("LEAF\nBETWEEN\n",)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"resources": []}', '{"resources": [{"tls_certificate": 5}]}'],
)
def test_damaged_files_are_nothing(tmp_path: Path, content: str) -> None:
    write_secrets(tmp_path, PAIR, "ROOT\n", "1")
    (tmp_path / "default.json").write_text(content)
    assert read_key_pair(tmp_path) is None


def test_a_key_does_not_print() -> None:
    assert "KEY" not in repr(PAIR)


def test_a_version_changes_with_what_it_names_and_with_nothing_else() -> None:
    """Envoy goes on to tell the old version of a secret that is as it was."""
    alone = versions_of(Roots("abc", "ROOT\n"))
    assert versions_of(Roots("def", "ROOT\n")) == alone
    more = versions_of(Roots("def", "ROOT\n", domains=(("here", "ROOT\n"),)))
    assert more["control-plane"] == alone["control-plane"]
    assert more["ROOTCA"] != alone["ROOTCA"]
