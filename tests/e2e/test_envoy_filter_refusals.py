"""EnvoyFilters that a real Envoy refuses: who is to blame, what stays in force, what is told."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from inside import Inside, inside
from manifests import deployment, server, service
from mesh import Mesh, eventually
from patches import HCM, LUA, ROUTER, answering, envoy_filter, lua, of_manager, own, patch
from rules import Rules

pytestmark = pytest.mark.e2e

PAGE = "http://productpage:9080/"


@pytest.fixture(scope="module")
def running(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    file = tmp_path_factory.mktemp("manifests") / "all.yaml"
    file.write_text(
        deployment("productpage", *server("any", 9080), port=9080)
        + service("productpage", "productpage", {"name": "http", "port": 9080})
        + deployment("client", image="curlimages/curl")
    )
    mesh.up(file)
    return mesh


@pytest.fixture(scope="module")
def client(running: Mesh) -> Iterator[Inside]:
    with inside(running, "deploy/client") as found:
        yield found


@pytest.fixture
def applied(running: Mesh) -> Iterator[Any]:
    """Applies YAML; whatever was applied is deleted at the end."""
    texts: list[str | Path] = []

    def apply(what: str | Path) -> str:
        texts.append(what)
        return running.apply(what)

    yield apply
    for what in reversed(texts):
        running.delete(what)


@pytest.fixture
def rules(running: Mesh) -> Iterator[Rules]:
    with Rules(running) as rules:
        yield rules


def test_what_envoy_refuses_is_told_and_the_last_good_version_stays(
    running: Mesh, client: Inside, applied: Any, tmp_path: Path
) -> None:
    def text(code: str) -> str:
        match = of_manager("SIDECAR_OUTBOUND", ROUTER)
        return envoy_filter("broken", patch("HTTP_FILTER", match, "INSERT_BEFORE", lua("x", code)))

    def header() -> str:
        return client.get(PAGE).headers.get("x-lua", "")

    good = 'function envoy_on_response(h) h:headers():add("x-lua", "good") end'
    applied(text(good))
    assert header() == "good"
    broken = tmp_path / "broken.yaml"
    broken.write_text(
        f"""
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: broken, namespace: default}}
spec:
  configPatches:
  - applyTo: HTTP_FILTER
    match:
      context: SIDECAR_OUTBOUND
      listener:
        filterChain: {{filter: {{name: {HCM}, subFilter: {{name: envoy.filters.http.router}}}}}}
    patch:
      operation: INSERT_BEFORE
      value:
        name: x
        typed_config:
          "@type": {LUA}
          default_source_code: {{inline_string: "function ("}}
"""
    )
    done = running.argosy("apply", "--wait", "-f", str(broken), check=False)
    assert done.returncode != 0
    assert "script load error" in done.stdout + done.stderr
    assert f"{broken}:7" in done.stdout + done.stderr
    told = running.argosy("get", "envoyfilter", "broken", "-o", "yaml").stdout
    assert "RejectedByProxy" in told
    assert "the version before it stays in force" in told
    assert header() == "good"
    # A proxy that starts now gets what works.
    late = deployment("later", sys.executable, "-c", "import time; time.sleep(1e6)")
    applied(late)
    running.argosy("wait", "deploy/later", "--for=condition=Available", "--timeout", "60")
    with inside(running, "deploy/later") as other:
        assert other.get(PAGE).headers["x-lua"] == "good"
    running.apply(text(good.replace("good", "mended")))
    eventually(lambda: header() == "mended", "the next version is tried again")


def test_of_several_the_innocent_are_in_force_again(
    running: Mesh, client: Inside, rules: Rules
) -> None:
    """The one that was changed last is suspected first; here it is not the guilty one."""
    match = of_manager("SIDECAR_OUTBOUND", ROUTER)

    def one(name: str, value: dict[str, Any]) -> str:
        text = envoy_filter(name, patch("HTTP_FILTER", match, "INSERT_BEFORE", value))
        return text + "\n---\n"

    good = {name: one(name, answering(f"x-own-{name}", "yes")) for name in ("a", "c", "d")}
    rules.apply("good", good["a"])
    broken = one("b", lua("broken", "function ("))
    running.argosy("apply", "-f", "-", stdin=broken + good["c"] + good["d"])

    def refused(name: str) -> bool:
        told = running.argosy("get", "envoyfilter", name, "-o", "yaml").stdout
        return "RejectedByProxy" in told

    try:
        wanted = {"a", "c", "d"}
        eventually(lambda: own(client.get(PAGE), *wanted) == wanted, "all others are in force", 20)
        eventually(lambda: refused("b"), "it is told")
        assert [name for name in wanted if refused(name)] == []
    finally:
        running.delete(broken + good["c"] + good["d"])
    eventually(lambda: own(client.get(PAGE), *wanted) == {"a"}, "they are gone")
