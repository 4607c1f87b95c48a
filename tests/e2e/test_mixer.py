"""Mixer beside the mesh: who may connect, who may ask, and that its death is nobody's but its own."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from manifests import virtual_service
from mesh import ARGOSY, SAMPLES, Mesh, directory, eventually, mixer_pid, mixer_runs

pytestmark = pytest.mark.e2e

LOAD = Path(__file__).with_name("load.py")
CALLER = Path(__file__).with_name("mixer_caller.py")
MIXER = "10.244.0.1:15004"
ANY_METHOD = "/nobody.knows.this/Method"


@pytest.fixture(scope="module")
def meshed(mesh: Mesh) -> Mesh:
    mesh.up(SAMPLES / "curl/curl.yaml", SAMPLES / "httpbin/httpbin.yaml", options=("--no-gateway",))
    eventually(lambda: mixer_runs(mesh), "Mixer runs", 30)
    return mesh


def certificate_of(mesh: Mesh, app: str) -> tuple[str, str]:
    """The chain and the key that the Envoy of this application uses now."""
    (path,) = directory(mesh).glob(f"pods/default/{app}-*/certs/default.json")
    secret = json.loads(path.read_bytes())["resources"][0]["tls_certificate"]
    return secret["certificate_chain"]["inline_string"], secret["private_key"]["inline_string"]


def call(mesh: Mesh, *, certificate: str = "", key: str = "") -> str:
    """The gRPC status that Mixer answers in a pod; UNAVAILABLE when there is no connection."""
    roots = mesh.argosy("certs", "root", "-o", "name").stdout
    wanted = {"target": MIXER, "roots": roots, "method": ANY_METHOD}
    wanted |= {"certificate": certificate, "key": key}
    argv = ("exec", "deploy/curl", "--", sys.executable, str(CALLER))
    return mesh.argosy(*argv, stdin=json.dumps(wanted)).stdout.strip()


def test_a_proxy_reaches_mixer_with_its_certificate_and_nobody_without(meshed: Mesh) -> None:
    certificate, key = certificate_of(meshed, "curl")
    assert call(meshed, certificate=certificate, key=key) == "UNIMPLEMENTED"
    assert call(meshed) == "UNAVAILABLE"
    assert "mixer::10.244.0.1:15004::" in meshed.envoy("deploy/curl", "/clusters")


def test_only_mixer_has_mixers_certificate_and_its_token_opens_little(meshed: Mesh) -> None:
    token_file = directory(meshed) / "mixer.token"
    assert token_file.stat().st_mode & 0o777 == 0o600
    token = token_file.read_text()
    environment = meshed.environment | {"ARGOSY_TOKEN": token}

    def argosy(*argv: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(ARGOSY), *argv], env=environment, capture_output=True, text=True, check=False
        )

    assert argosy("get", "services").returncode == 0
    refused = argosy("get", "secrets", "-A")
    assert refused.returncode == 1
    assert "mixer (role mixer) may not read Secrets" in refused.stderr
    refused = argosy("delete", "deploy/curl")
    assert "may not write Deployment" in refused.stderr


def test_mixer_is_killed_under_load_and_comes_back(meshed: Mesh) -> None:
    """Nobody notices but who asks it: he is told, in words."""
    argv = ("exec", "deploy/curl", "--", sys.executable, str(LOAD), "http://httpbin:8000/get")
    loading = subprocess.Popen(
        [str(ARGOSY), *argv, "--seconds", "6", "--rate", "100"],
        env=meshed.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    killed = mixer_pid(meshed)
    os.kill(killed, signal.SIGSTOP)  # while it stands still, nobody waits for it for long
    assert not mixer_runs(meshed)
    assert "does not run (traffic goes on without it)" in meshed.argosy("status").stdout
    rule = "- route: [{destination: {host: httpbin}}]"
    meshed.apply(virtual_service("meanwhile", rule, "[httpbin]"))
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: mixer_runs(meshed), "Mixer is back", 30)
    assert mixer_pid(meshed) != killed
    told = "apply VirtualService default/meanwhile"
    eventually(
        lambda: told in meshed.argosy("trace", "--control-plane").stdout,
        "what the control plane had to tell meanwhile",
        20,
    )
    out, _ = loading.communicate(timeout=60)
    summary = json.loads(out)
    assert summary["requests"] > 300
    assert summary["failures"] == [], summary
    certificate, key = certificate_of(meshed, "curl")
    eventually(
        lambda: call(meshed, certificate=certificate, key=key) == "UNIMPLEMENTED",
        "proxies reach the new one",
    )
