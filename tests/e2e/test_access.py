"""Others than the owner at the mesh's API: tokens, roles, and the TLS door, by the command line."""

import os
import re
import ssl
import stat
import subprocess
from pathlib import Path

import httpx
import pytest
from mesh import ARGOSY, Mesh

pytestmark = pytest.mark.e2e

RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: rule}
spec: {host: a}
"""


@pytest.fixture(scope="module")
def directory(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a mesh that runs nothing, and serves its API with TLS too."""
    said = mesh.argosy("up", "--detach", "--no-gateway", "--api-port", "0").stdout
    found = re.search(r"https://127\.0\.0\.1:\d+", said)
    assert found, said
    mesh.environment["SERVER"] = found[0]
    directory = Path(mesh.environment["ARGOSY_STATE_DIR"]) / mesh.name
    roots = tmp_path_factory.mktemp("roots") / "root-cert.pem"
    roots.write_text(mesh.argosy("certs", "root", "-o", "name").stdout)
    mesh.environment["SERVER_CA"] = str(roots)
    return directory


def elsewhere(mesh: Mesh, directory: Path, token: str, *args: str, stdin: str = "") -> str:
    """Somebody who has nothing but the URL, the root certificate and a token."""
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("ARGOSY")},
        "ARGOSY_STATE_DIR": str(directory / "nothing"),
        "ARGOSY_SERVER": mesh.environment["SERVER"],
        "ARGOSY_SERVER_CA": mesh.environment["SERVER_CA"],
        "ARGOSY_TOKEN": token,
        "NO_COLOR": "1",
    }
    done = subprocess.run(
        [str(ARGOSY), *args],
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return f"{done.returncode} {done.stdout}{done.stderr}"


def test_only_the_owner_can_read_what_opens_the_mesh(mesh: Mesh, directory: Path) -> None:
    mesh.argosy("token", "create", "first", "--role", "view")
    for name in ("admin.token", "tokens.json", "store.db"):
        assert stat.S_IMODE((directory / name).stat().st_mode) == 0o600, name
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "ca").stat().st_mode) == 0o700


def test_roles_from_elsewhere(mesh: Mesh, directory: Path) -> None:
    edit = mesh.argosy("token", "create", "ana", "--role", "edit", "-n", "shop").stdout.strip()
    view = mesh.argosy("token", "create", "vera", "--role", "view").stdout.strip()
    mesh.argosy("apply", "-f", "-", stdin="apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}")
    made = elsewhere(mesh, directory, edit, "apply", "-n", "shop", "-f", "-", stdin=RULE)
    assert made.startswith("0 destinationrule/rule created\n")
    assert elsewhere(mesh, directory, view, "get", "dr", "-n", "shop", "-o", "name").startswith(
        "0 destinationrule"
    )
    assert elsewhere(mesh, directory, view, "status").startswith("0 ")
    assert mesh.environment["SERVER"] in mesh.argosy("status").stdout
    for token, args, words in (
        (edit, ("apply", "-n", "default", "-f", "-"), "its role holds in namespace shop alone"),
        (view, ("apply", "-n", "shop", "-f", "-"), "it needs the role edit or admin"),
        (view, ("get", "secrets", "-n", "shop"), "may not read Secrets"),
        (edit, ("token", "list"), "it needs the role admin for the whole mesh"),
        ("wrong", ("get", "dr"), "does not accept the token"),
        (view, ("exec", "a", "--", "true"), ""),
    ):
        answer = elsewhere(mesh, directory, token, *args, stdin=RULE)
        assert not answer.startswith("0 "), (args, answer)
        assert words in answer, (args, answer)
        assert "Traceback" not in answer
    mesh.argosy("token", "revoke", "ana")
    assert "does not accept the token" in elsewhere(
        mesh, directory, edit, "get", "dr", "-n", "shop"
    )


def test_the_tls_door(mesh: Mesh, directory: Path) -> None:
    """Its certificate is the mesh's, and nobody is served without a token."""
    url = mesh.environment["SERVER"]
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/version")
    trusted = ssl.create_default_context(cafile=mesh.environment["SERVER_CA"])
    refused = httpx.get(f"{url}/version", verify=trusted)
    assert (refused.status_code, refused.json()["reason"]) == (401, "Unauthorized")
    forged = {"X-Forwarded-Client-Cert": "URI=spiffe://cluster.local/ns/istio-system/sa/istiod"}
    assert httpx.get(f"{url}/version", verify=trusted, headers=forged).status_code == 401
