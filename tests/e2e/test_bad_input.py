"""Every kind of bad input: it is told with file, line, field, reason and remedy; nothing else suffers.

The mesh begins with bad input (``up -f``), then gets one bad file after the other while a client
calls two services without pause: the one whose rules the files try to change, and another one.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from bad_input_cases import (
    BAD_FROM_THE_START,
    CLIENT,
    GOOD,
    IN_FORCE,
    REFUSED,
    RULES,
    SHOP,
    WORKLOADS,
    Case,
)
from mesh import ARGOSY, SAMPLES, Mesh, eventually

pytestmark = pytest.mark.e2e


class Traffic:
    """What the client in the mesh sees, from ``mark`` on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = 0

    def mark(self) -> None:
        self._seen = len(self._path.read_text().splitlines())

    def since(self) -> Counter[str]:
        return Counter(self._path.read_text().splitlines()[self._seen :])

    def of(self, host: str) -> set[str]:
        return {line for line in self.since() if line.startswith(f"{host} ")}


@pytest.fixture(scope="module")
def shop(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    """A mesh that was started with files of which some are bad."""
    directory = tmp_path_factory.mktemp("yaml")
    (directory / "1-workloads.yaml").write_text(WORKLOADS)
    (directory / "2-rules.yaml").write_text(RULES)
    (directory / "3-bad.yaml").write_text(BAD_FROM_THE_START)
    images = str(SAMPLES / "images.yaml")
    done = mesh.argosy(
        "up",
        "--detach",
        "--images",
        images,
        "-f",
        str(directory),
        "-f",
        "no-such.yaml",
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "no-such.yaml: does not exist" in done.stderr
    assert "3-bad.yaml:15: DestinationRule default/steady: spec.hots" in done.stderr
    assert 'Did you mean "host"?' in done.stderr
    assert 'no command for image "example.com/unknown:1": add the image to' in done.stderr
    assert "no workload of" not in done.stderr, (
        "a warning that was true only while the pods started"
    )
    assert "destinationrule/steady invalid, not created" in done.stdout
    assert "virtualservice/shop created" in done.stdout
    return mesh


@pytest.fixture(scope="module")
def traffic(shop: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traffic]:
    path = tmp_path_factory.mktemp("traffic") / "seen"
    with path.open("wb") as file:
        process = subprocess.Popen(
            [str(ARGOSY), "exec", "deploy/curl", "--", sys.executable, "-c", CLIENT],
            env=shop.environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
        )
    try:
        found = Traffic(path)
        eventually(lambda: len(found.since()) >= 2, "the client calls")
        yield found
    finally:
        process.terminate()
        process.wait(20)


def write(directory: Path, name: str, text: str | bytes) -> Path:
    path = directory / f"{name}.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def unharmed(traffic: Traffic) -> None:
    """Both services answered all the time as before, and still do."""
    before = traffic.since().total()
    eventually(lambda: traffic.since().total() >= before + 8, "the client goes on")
    assert traffic.of("shop") == {"shop 200 good"}
    assert traffic.of("steady") == {"steady 200 None"}


def test_a_workload_without_program_is_told_and_hinders_nobody(
    shop: Mesh, traffic: Traffic
) -> None:
    table = shop.argosy("get", "pods").stdout
    (line,) = [line for line in table.splitlines() if line.startswith("no-program")]
    assert "ErrImageNeverPull" in line
    described = shop.argosy("describe", "pod", "-l", "app=no-program").stdout
    assert 'ErrImageNeverPull: no command for image "example.com/unknown:1"' in described
    assert "argosy up --images MAP" in described
    logs = shop.argosy("logs", "deploy/no-program", check=False)
    assert (logs.returncode, "ErrImageNeverPull" in logs.stderr) == (1, True)
    unharmed(traffic)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(shop: Mesh, traffic: Traffic, tmp_path: Path, name: str) -> None:
    case = REFUSED[name]
    good = f"good-{name}"
    # Of YAML that does not parse the next document is found again by its dashes.
    path = write(tmp_path, name, case.text + GOOD.replace("NAME", good))
    traffic.mark()
    done = shop.argosy("apply", "-f", str(path), check=False)
    assert done.returncode == 1
    assert told(done.stderr, case, path), done.stderr
    assert "Traceback" not in done.stderr
    assert f"configmap/{good} created" in done.stdout
    if case.about == "VirtualService default/shop":
        assert "virtualservice/shop invalid, the last good version stays in force" in done.stdout
    unharmed(traffic)


def test_a_refused_change_is_shown_until_it_is_mended(
    shop: Mesh, traffic: Traffic, tmp_path: Path
) -> None:
    case = REFUSED["unknown-field"]
    path = write(tmp_path, "refused", case.text)
    traffic.mark()
    shop.argosy("apply", "-f", str(path), check=False)
    assert accepted(shop) == "False"
    described = shop.argosy("describe", "vs", "shop").stdout
    assert f"Error: {path}:{case.line}: {case.field}: {case.why}" in described
    assert case.remedy in described
    assert "stays in force" in described
    assert "x-rules" in described, "the rules in force are shown"
    mended = shop.argosy("apply", "-f", str(write(tmp_path, "mended", RULES)))
    assert mended.stderr == ""
    assert accepted(shop) == "True"
    assert "Problems" not in shop.argosy("describe", "vs", "shop").stdout
    unharmed(traffic)


@pytest.mark.parametrize("name", IN_FORCE)
def test_in_force_and_told(shop: Mesh, traffic: Traffic, tmp_path: Path, name: str) -> None:
    case = IN_FORCE[name]
    path = write(tmp_path, name, case.text + GOOD.replace("NAME", f"good-{name}"))
    done = shop.argosy("apply", "--wait", "-f", str(path), check=False)
    assert done.returncode == 1
    assert told(done.stderr, case, path), done.stderr
    assert "requests sent there get a 503" in done.stderr
    assert f"configmap/good-{name} created" in done.stdout
    assert accepted(shop) == "False"
    traffic.mark()
    eventually(lambda: bool(traffic.of("shop") and traffic.of("steady")), "the client goes on")
    assert {line.split()[1] for line in traffic.of("shop")} == {"503"}
    assert traffic.of("steady") == {"steady 200 None"}
    described = shop.argosy("describe", "vs", "shop").stdout
    assert f"Error: {path}:{case.line}: {case.field}: " in described
    shop.argosy("apply", "--wait", "-f", str(write(tmp_path, "mended", RULES)))
    assert accepted(shop) == "True"
    traffic.mark()
    unharmed(traffic)


def test_two_virtual_services_for_one_host(shop: Mesh, traffic: Traffic, tmp_path: Path) -> None:
    """The older one holds, and the younger says so; once the older one is gone it holds itself."""
    rival = SHOP.replace("name: shop", "name: rival") + "  - directResponse: {status: 418}\n"
    path = write(tmp_path, "rival", rival)
    traffic.mark()
    done = shop.argosy("apply", "--wait", "-f", str(path), check=False)
    assert done.returncode == 1
    assert f"{path}:5: VirtualService default/rival: spec.hosts[0]: " in done.stderr
    assert "VirtualService default/shop rules host shop.default.svc.cluster.local" in done.stderr
    assert "put all rules for one host into one VirtualService" in done.stderr
    unharmed(traffic)
    assert accepted(shop, "rival") == "False"
    described = shop.argosy("describe", "vs", "rival").stdout
    assert "follow VirtualService default/shop instead" in described
    shop.argosy("delete", "--wait", "vs", "shop")
    assert accepted(shop, "rival") == "True"
    assert shop.status("deploy/curl", "http://shop:8000/") == 418
    shop.argosy("delete", "--wait", "vs", "rival")
    shop.argosy("apply", "--wait", "-f", str(write(tmp_path, "rules", RULES)))
    traffic.mark()
    unharmed(traffic)


def test_files_that_hold_no_objects(shop: Mesh, traffic: Traffic, tmp_path: Path) -> None:
    """Each is told by its name; the good file beside them is applied."""
    binary = write(tmp_path, "binary", Path(sys.executable).resolve().read_bytes()[:5000])
    latin = write(tmp_path, "latin", "apiVersion: v1 # café".encode("latin-1"))
    empty = write(tmp_path, "empty", "")
    comment = write(tmp_path, "comment", "# nothing yet\n")
    words = write(tmp_path, "words", "just a sentence\n")
    hollow = tmp_path / "hollow"
    hollow.mkdir()
    (hollow / "notes.txt").write_text("no YAML here")
    missing = tmp_path / "missing.yaml"
    good = write(tmp_path, "good", GOOD.replace("NAME", "beside"))
    paths = (binary, latin, empty, comment, words, hollow, missing, good)
    traffic.mark()
    done = shop.argosy("apply", *(p for path in paths for p in ("-f", str(path))), check=False)
    assert done.returncode == 1
    assert done.stdout == "configmap/beside created\n"
    for said in (
        f"Error: {binary}: is a binary file, not YAML or JSON",
        f"Error: {latin}: is not UTF-8 text",
        f"Warning: {empty}: the file is empty",
        f"Warning: {comment}: the file holds no objects",
        f"Error: {words}:1: expected an object with apiVersion and kind",
        f"Error: {hollow}: this directory holds no .yaml, .yml or .json file",
        f"Error: {missing}: does not exist",
    ):
        assert said in done.stderr, done.stderr
    unharmed(traffic)
    nothing = shop.argosy("apply", "-f", str(empty), check=False)
    assert (nothing.returncode, "there is no object in the input" in nothing.stderr) == (1, True), (
        nothing.stderr
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(shop: Mesh, tmp_path: Path) -> None:
    path = write(tmp_path, "closed", RULES)
    path.chmod(0)
    done = shop.argosy("apply", "-f", str(path), check=False)
    assert done.returncode == 1
    assert f"Error: {path}: may not be read by this user" in done.stderr


def test_large_files(shop: Mesh, traffic: Traffic, tmp_path: Path) -> None:
    """10 MB are read; one object of that size, and 17 MB, are refused with the limit."""
    filler = "# filler\n" * (10 * 2**20 // 9)
    read = write(tmp_path, "read", filler + GOOD.replace("NAME", "behind-10-mb"))
    huge = write(tmp_path, "huge", GOOD.replace("NAME", "huge").replace("good", "x" * (10 * 2**20)))
    over = write(tmp_path, "over", b"#" * (17 * 2**20))
    traffic.mark()
    done = shop.argosy("apply", "-f", str(read))
    assert done.stdout == "configmap/behind-10-mb created\n"
    done = shop.argosy("apply", "-f", str(huge), check=False)
    assert done.returncode == 1
    assert "the document has 10.0 MB; the limit is 3 MB" in done.stderr
    done = shop.argosy("apply", "-f", str(over), check=False)
    assert done.returncode == 1
    assert f"{over}: is larger than 16 MiB" in done.stderr
    assert "split the file" in done.stderr
    unharmed(traffic)


def test_a_bad_image_map_starts_nothing(shop: Mesh, tmp_path: Path) -> None:
    for text, why in (
        ("images: [{match: '(', command: [a]}]", "images[0].match '(' is not a regular expression"),
        ("images: [", "did not find expected node content"),
        ("imags: []", "unknown field `imags`"),
    ):
        path = write(tmp_path, "images", text)
        done = shop.argosy("up", "--detach", "--mesh", "other", "--images", str(path), check=False)
        assert (done.returncode, why in done.stderr) == (1, True), done.stderr
        assert f"image map {path}" in done.stderr
        assert "Nothing was started" in done.stderr
    assert not (Path(shop.environment["ARGOSY_STATE_DIR"]) / "other").exists()


def test_nothing_of_it_is_left(shop: Mesh, tmp_path: Path) -> None:
    """After the last good file no object has a problem left, and every proxy is in step."""
    shop.argosy("apply", "--wait", "-f", str(write(tmp_path, "rules", RULES)))
    for kind in ("vs", "dr"):
        for item in shop.get(kind):
            assert "validationMessages" not in item["status"], item
    status = json.loads(shop.argosy("status", "-o", "json").stdout)
    states = {s["state"] for proxy in status["proxies"] for s in proxy["types"].values()}
    assert states == {"SYNCED"}


def told(stderr: str, case: Case, path: Path) -> bool:
    """Whether one error names all: file and line, object, field, why; and the remedy follows."""
    head = f"Error: {path}:{case.line}: " + "".join(
        f"{part}: " for part in (case.about, case.field) if part
    )
    lines = stderr.splitlines()
    for number, line in enumerate(lines):
        if line.startswith(head) and case.why in line:
            return case.remedy in "\n".join(lines[number : number + 2])
    return False


def accepted(mesh: Mesh, name: str = "shop") -> str:
    """The column ACCEPTED."""
    head, *rows = mesh.argosy("get", "vs").stdout.splitlines()
    column = head.split().index("ACCEPTED")
    (row,) = [row for row in rows if row.split()[0] == name]
    return row.split()[column]
