"""The servers that stand in for the internet, as workloads find them when the mesh knows nothing."""

from collections.abc import Iterator

import pytest
from external import Internet, Site, internet, real_curl
from inside import Inside, inside
from manifests import deployment
from mesh import Mesh

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
