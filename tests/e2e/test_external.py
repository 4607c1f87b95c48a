"""The servers that stand in for the internet, as workloads find them; and a proxy on the way there.

https://istio.io/latest/docs/tasks/traffic-management/egress/http-proxy/
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import squid
from external import NAMESPACE, Internet, Site, internet, real_curl
from inside import Inside, inside
from manifests import deployment, mesh_config
from mesh import Mesh, eventually
from rules import Rules, document

pytestmark = pytest.mark.e2e

SITES = (
    Site("edition.cnn.com", redirect=True),
    Site("*.wikipedia.org", aliases=("www.wikipedia.org",)),
)


@pytest.fixture(scope="module")
def net(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Internet]:
    directory = tmp_path_factory.mktemp("external")
    file = directory / "workloads.yaml"
    file.write_text(deployment("curl", image="curlimages/curl"))
    with internet(mesh, directory, *SITES) as made:
        mesh.up(file, made.manifest)
        made.connect()
        yield made


@pytest.fixture(scope="module")
def curl(mesh: Mesh, net: Internet) -> Iterator[Inside]:
    with inside(mesh, "deploy/curl") as clients:
        yield clients


def test_names_answer_over_http_and_tls(net: Internet, curl: Inside) -> None:
    moved = curl.get("http://edition.cnn.com/politics")
    assert (moved.status, moved.headers["location"]) == (301, "https://edition.cnn.com/politics")
    found = curl.get("https://edition.cnn.com/politics", ca=net.ca)
    assert (found.status, found.json["path"]) == (200, "/politics")
    assert found.json["tls"]["sni"] == "edition.cnn.com"
    followed = curl.get("http://edition.cnn.com/politics", ca=net.ca, follow=True)
    assert (followed.status, followed.history) == (200, [301])
    assert curl.get("http://en.wikipedia.org/wiki/Main_Page").json["host"] == "en.wikipedia.org"
    second = curl.get("https://www.wikipedia.org/", ca=net.ca, http2=True).json
    assert (second["protocol"], second["site"]) == ("HTTP/2", "*.wikipedia.org")
    assert curl.get("http://www.wikipedia.org/status/418").status == 418
    assert "absent.example.com" not in net.hosts()
    assert curl.get("http://absent.example.com/").status == 0


def test_a_client_shows_its_certificate(net: Internet, curl: Inside) -> None:
    url = "https://edition.cnn.com:8443/"
    assert curl.get(url, ca=net.ca).status == 0
    shown = curl.get(url, ca=net.ca, pair=net.client)
    assert shown.json["tls"]["client"] == "client.example.com"
    assert curl.call("exchange", host="edition.cnn.com", port=7000, text="hi") == "raw:hi"


def test_what_arrived_is_known(mesh: Mesh, net: Internet) -> None:
    text = real_curl(
        mesh, "deploy/curl", "-sS", "-D", "-", "-o", "/dev/null", "http://edition.cnn.com/seen"
    )
    assert text.startswith("HTTP/1.1 301"), text
    last = net.seen("edition.cnn.com")[-1]
    assert (last["path"], last["host"]) == ("/seen", "edition.cnn.com")


SERVERS = Path(__file__).with_name("tcp_servers.py")
SERVER = (sys.executable, str(SERVERS), "proxy", str(squid.PORT))
CLOSED = mesh_config("accessLogFile: /dev/stdout\noutboundTrafficPolicy: {mode: REGISTRY_ONLY}")


@pytest.fixture
def rules(mesh: Mesh, net: Internet) -> Iterator[Rules]:
    with Rules(mesh) as rules:
        yield rules


@pytest.mark.parametrize("kind", ["server", "squid"])
@pytest.mark.covers("ServiceEntry.addresses", "ServiceEntry.ports[].protocol")
def test_a_forward_proxy_outside_is_opaque_bytes_to_the_mesh(
    mesh: Mesh, net: Internet, curl: Inside, rules: Rules, kind: str
) -> None:
    """Closed until a ServiceEntry knows its address; then the mesh and the proxy each log a line."""
    name = f"proxy-{kind}" if kind == "server" else kind
    if kind == "squid":
        rules.apply("proxy", squid.manifest(squid.require(), NAMESPACE))
    else:
        rules.apply("proxy", deployment(name, *SERVER, port=squid.PORT, namespace=NAMESPACE))
    mesh.argosy("wait", f"deploy/{name}", "-n", NAMESPACE, "--for", "available")
    (pod,) = mesh.get("pods", "-n", NAMESPACE, "-l", f"app={name}")
    address = pod["status"]["podIP"]
    url, proxy = "https://en.wikipedia.org/wiki/Main_Page", f"http://{address}:{squid.PORT}"

    def status(proxy: str = proxy) -> int:
        return curl.get(url, ca=net.ca, proxy=proxy).status

    def told() -> str:
        if kind == "server":
            return mesh.argosy("logs", "-n", NAMESPACE, f"deploy/{name}").stdout
        found = mesh.exec(
            f"deploy/{name}", "cat", squid.ACCESS_LOG, namespace=NAMESPACE, check=False
        )
        return found.stdout

    assert status() == 200, "ALLOW_ANY"
    rules.apply("mesh", CLOSED)
    eventually(lambda: status() == 0, "REGISTRY_ONLY")
    assert status(proxy="") == 0
    spec = {
        "hosts": ["my-company-proxy.com"],
        "addresses": [f"{address}/32"],
        "ports": [{"number": squid.PORT, "name": "tcp", "protocol": "TCP"}],
        "location": "MESH_EXTERNAL",
        "resolution": "NONE",
    }
    rules.apply("entry", document("networking.istio.io/v1", "ServiceEntry", "proxy", spec))
    eventually(lambda: status() == 200, "by the proxy")
    found = curl.get(url, ca=net.ca, proxy=proxy).json
    assert (found["tls"]["sni"], found["path"]) == ("en.wikipedia.org", "/wiki/Main_Page")
    assert status(proxy="") == 0, "past the proxy it is closed"
    lines = [line for line in told().splitlines() if "TCP_TUNNEL/200" in line]
    assert lines
    assert all("CONNECT en.wikipedia.org:443" in line for line in lines)
    if kind == "squid":
        refused = curl.get("https://en.wikipedia.org:8443/", ca=net.ca, proxy=proxy)
        assert "403" in refused.error, "the proxy's own rules hold: port 443 only"
    cluster = f"outbound|{squid.PORT}||my-company-proxy.com"

    def logged() -> bool:
        return cluster in mesh.argosy("logs", "deploy/curl", "-c", "istio-proxy").stdout

    eventually(logged, cluster)
