"""The authority's files: made once, safely, and never trusted blindly."""

import os
import shutil
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from argosy.base.names import TrustDomain
from argosy.citadel.authority import AuthorityDirectory, load, load_or_create_token_key
from argosy.citadel.files import write_new
from argosy.citadel.issuer import AuthorityError, self_made
from argosy.citadel.rotation import Step
from argosy.citadel.signer import (
    Authority,
    create_intermediate,
    create_root,
    pem,
    private_pem,
)

NOW = datetime(2026, 11, 23, tzinfo=UTC)
DOMAIN = TrustDomain("cluster.local")


def made(directory: Path) -> Authority:
    return AuthorityDirectory(directory).load_or_create(DOMAIN, NOW).current.authority


def write(directory: Path, authority: Authority, **files: str) -> None:
    """The files of ``cacerts``: key, certificate, chain between, root."""
    directory.mkdir(mode=0o700)
    write_new(directory, "ca-key.pem", private_pem(authority.key))
    texts = {
        "ca-cert.pem": pem(authority.certificate),
        "cert-chain.pem": "".join(map(pem, authority.certificates)),
        "root-cert.pem": pem(authority.root),
        **{name.replace("_", "-") + ".pem": text for name, text in files.items()},
    }
    for name, text in texts.items():
        write_new(directory, name, text.encode())


def test_an_authority_is_made_once_and_found_again(tmp_path: Path) -> None:
    first = made(tmp_path / "state" / "ca")
    again = made(tmp_path / "state" / "ca")
    assert first.certificates == again.certificates
    assert private_pem(first.key) == private_pem(again.key)
    assert [each.name for each in (tmp_path / "state").iterdir()] == ["ca"]


def test_only_the_owner_may_look(tmp_path: Path) -> None:
    made(tmp_path / "ca")
    load_or_create_token_key(tmp_path / "ca")
    assert (tmp_path / "ca").stat().st_mode & 0o777 == 0o700
    modes = {each.name: each.stat().st_mode & 0o777 for each in (tmp_path / "ca").iterdir()}
    assert modes == {"current": 0o700, "token-key.pem": 0o600}
    current = tmp_path / "ca" / "current"
    files = ["ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem", "root-key.pem"]
    assert {each.name: each.stat().st_mode & 0o777 for each in current.iterdir()} == dict.fromkeys(
        files, 0o600
    )


def test_the_root_signs_the_intermediate_only(tmp_path: Path) -> None:
    """What signs leaves is another key than the root's, and may sign leaves only."""
    authority = made(tmp_path / "ca")
    intermediate, root = authority.certificates
    intermediate.verify_directly_issued_by(root)
    constraints = intermediate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (constraints.ca, constraints.path_length) == (True, 0)
    assert authority.key.public_key() == intermediate.public_key() != root.public_key()


def test_an_empty_directory_is_filled(tmp_path: Path) -> None:
    (tmp_path / "ca").mkdir(mode=0o700)
    assert made(tmp_path / "ca").certificate == made(tmp_path / "ca").certificate


def test_a_race_has_one_winner(tmp_path: Path) -> None:
    found: list[tuple[bytes, bytes]] = []
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        authority = made(tmp_path / "ca")
        token_key = load_or_create_token_key(tmp_path / "ca")
        found.append((private_pem(authority.key), private_pem(token_key)))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["ca"]


def test_an_authority_made_elsewhere_is_taken(tmp_path: Path) -> None:
    authority = create_intermediate(create_root(DOMAIN, NOW), DOMAIN, NOW)
    write(tmp_path / "plugged", authority)
    plugged = load(tmp_path / "plugged", NOW)
    kept = AuthorityDirectory(tmp_path / "ca").load_or_create(DOMAIN, NOW, plugged)
    assert kept.current.authority.certificates == authority.certificates
    assert not (tmp_path / "ca" / "current" / "root-key.pem").exists()


def test_an_rsa_authority_is_taken(tmp_path: Path) -> None:
    root = create_root(DOMAIN, NOW)
    key = rsa.generate_private_key(65_537, 2_048)
    certificate = resigned(root, key)
    write(tmp_path / "ca", Authority(key, (certificate.certificate,)))
    assert load(tmp_path / "ca", NOW).authority.root == certificate.certificate


def resigned(root: Authority, key: rsa.RSAPrivateKey) -> Authority:
    """The same root with an RSA key."""
    old = root.certificate
    builder = x509.CertificateBuilder(
        old.subject,
        old.subject,
        key.public_key(),
        1,
        old.not_valid_before_utc,
        old.not_valid_after_utc,
        extensions=[
            x509.Extension(
                x509.BasicConstraints.oid, True, x509.BasicConstraints(ca=True, path_length=None)
            ),
            x509.Extension(
                x509.SubjectKeyIdentifier.oid,
                False,
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
            ),
        ],
    )
    return Authority(key, (builder.sign(key, hashes.SHA256()),))


def open_key(directory: Path) -> None:
    (directory / "ca-key.pem").chmod(0o640)


def open_directory(directory: Path) -> None:
    directory.chmod(0o755)


def writable_root(directory: Path) -> None:
    (directory / "root-cert.pem").chmod(0o666)


def no_key(directory: Path) -> None:
    (directory / "ca-key.pem").unlink()


def no_certificate(directory: Path) -> None:
    (directory / "ca-cert.pem").unlink()


def cut_key(directory: Path) -> None:
    os.truncate(directory / "ca-key.pem", 100)


def cut_certificate(directory: Path) -> None:
    os.truncate(directory / "ca-cert.pem", 100)


def empty_key(directory: Path) -> None:
    os.truncate(directory / "ca-key.pem", 0)


def huge_root(directory: Path) -> None:
    (directory / "root-cert.pem").write_bytes(b"x" * 2_000_000)


def other_key(directory: Path) -> None:
    other = create_root(DOMAIN, NOW)
    (directory / "ca-key.pem").write_bytes(private_pem(other.key))


def other_root(directory: Path) -> None:
    (directory / "root-cert.pem").write_text(pem(create_root(DOMAIN, NOW).certificate))


def encrypted_key(directory: Path) -> None:
    (directory / "ca-key.pem").write_bytes(
        create_root(DOMAIN, NOW).key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"x"),
        )
    )


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (open_key, "others may read .mode 640.*chmod 600"),
        (open_directory, "open to others .mode 755.*chmod 700"),
        (writable_root, "written by others"),
        (no_key, "has no ca-key.pem: it needs ca-cert.pem, ca-key.pem, root-cert.pem"),
        (no_certificate, "has no ca-cert.pem"),
        (cut_key, "ca-key.pem holds no private key in PEM form"),
        (cut_certificate, "ca-cert.pem holds no certificate in PEM form"),
        (empty_key, "has no ca-key.pem"),
        (huge_root, "larger than"),
        (other_key, "is not the key of ca-cert.pem"),
        (other_root, "neither in root-cert.pem nor in cert-chain.pem"),
        (encrypted_key, "is encrypted: store it without a password"),
    ],
)
def test_a_damaged_authority_is_an_error_that_says_what_to_do(
    tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    made(tmp_path / "ca")
    damage(tmp_path / "ca" / "current")
    with pytest.raises(AuthorityError, match=words) as error:
        made(tmp_path / "ca")
    assert "PRIVATE KEY" not in str(error.value)


def test_an_expired_authority_is_not_used(tmp_path: Path) -> None:
    made(tmp_path / "ca")
    with pytest.raises(AuthorityError, match=r"intermediate .* expired on 2028-"):
        AuthorityDirectory(tmp_path / "ca").load_or_create(DOMAIN, NOW + timedelta(days=800))


def test_a_file_in_the_place_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("")
    with pytest.raises(AuthorityError, match="is not a directory"):
        made(tmp_path / "ca")


def test_the_token_key_stays(tmp_path: Path) -> None:
    made(tmp_path / "ca")
    first, again = (load_or_create_token_key(tmp_path / "ca") for _ in range(2))
    assert private_pem(first) == private_pem(again)
    (tmp_path / "ca" / "token-key.pem").chmod(0o644)
    with pytest.raises(AuthorityError, match="others may read"):
        load_or_create_token_key(tmp_path / "ca")


def test_a_rotation_goes_on_after_an_interruption(tmp_path: Path) -> None:
    """Whoever starts after it finds the step, and both authorities; at the end the new one alone."""
    first = made(tmp_path / "ca")
    directory = AuthorityDirectory(tmp_path / "ca")
    coming = directory.prepare(DOMAIN, NOW)
    assert AuthorityDirectory(tmp_path / "ca").load(NOW).step is None, "prepared, never begun"
    coming = directory.prepare(DOMAIN, NOW)
    for step in Step:
        directory.reach(step)
        kept = AuthorityDirectory(tmp_path / "ca").load(NOW)
        assert kept.step is step
        assert kept.current.authority.certificates == first.certificates
        assert kept.coming is not None
        assert kept.coming.fingerprint == coming.fingerprint
    directory.finish()
    kept = AuthorityDirectory(tmp_path / "ca").load(NOW)
    assert (kept.step, kept.coming) == (None, None)
    assert kept.current.fingerprint == coming.fingerprint


@pytest.mark.parametrize("gone", [False, True])
def test_an_end_that_was_interrupted_is_ended(tmp_path: Path, gone: bool) -> None:
    made(tmp_path / "ca")
    coming = AuthorityDirectory(tmp_path / "ca").prepare(DOMAIN, NOW)
    (tmp_path / "ca" / "rotation").write_text("finish")
    if gone:
        shutil.rmtree(tmp_path / "ca" / "current")
    kept = AuthorityDirectory(tmp_path / "ca").load(NOW)
    assert kept.current.fingerprint == coming.fingerprint
    assert sorted(each.name for each in (tmp_path / "ca").iterdir()) == ["current"]


def test_a_new_intermediate_of_the_same_root(tmp_path: Path) -> None:
    first = made(tmp_path / "ca")
    renewed = AuthorityDirectory(tmp_path / "ca").prepare_intermediate(
        DOMAIN, NOW + timedelta(days=400)
    )
    assert renewed is not None
    assert renewed.authority.root == first.root
    assert renewed.authority.certificate != first.certificate


def test_a_root_of_others_makes_no_intermediates(tmp_path: Path) -> None:
    plugged = self_made(create_intermediate(create_root(DOMAIN, NOW), DOMAIN, NOW))
    directory = AuthorityDirectory(tmp_path / "ca")
    directory.load_or_create(DOMAIN, NOW, plugged)
    assert directory.prepare_intermediate(DOMAIN, NOW) is None
    assert directory.prepare_revocations(NOW) is None
