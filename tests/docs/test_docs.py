"""Every command that a page shows works, in the order of the page, and prints what the page says."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from mesh import ARGOSY, REPOSITORY, Json, Mesh
from tests.docs.console import Command, Page, matches, page

PAGES = tuple(
    page(path) for path in (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md")))
)
RUNNABLE = sorted((p for p in PAGES if p.commands), key=lambda p: p.setup or ())
SECONDS_PER_PAGE = 120
# The programs of the machine that the pages use.
PROGRAMS = (
    "bash",
    "cat",
    "curl",
    "grep",
    "head",
    "hostname",
    "mktemp",
    "openssl",
    "rm",
    "sed",
    "sleep",
    "sort",
    "uniq",
    "wc",
)
_BUILTINS = (
    *("argosy", "command", "do", "done", "echo", "exec", "for"),
    *("printf", "python", "true", "until"),
)
# A page leaves these as it found them, so that the next one can follow on the same mesh.
LISTS = (
    "/apis/networking.istio.io/v1/virtualservices",
    "/apis/networking.istio.io/v1/destinationrules",
    "/apis/networking.istio.io/v1/gateways",
    "/apis/security.istio.io/v1/peerauthentications",
    "/apis/security.istio.io/v1/authorizationpolicies",
    "/apis/security.istio.io/v1/requestauthentications",
    "/apis/telemetry.istio.io/v1/telemetries",
    "/apis/apps/v1/deployments",
    "/api/v1/services",
    "/api/v1/namespaces",
)
_PROGRAM = re.compile(r"(?:^|\| |; |\$\(|-- |-c ')\s*([a-z]+)\b(?!=)", re.MULTILINE)
_LINK = re.compile(r"\[[^\]\n]*\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (?P<text>.+)$", re.MULTILINE)
_THIS_MACHINE = re.compile(r"/work/|/root(?![\w-])|/home/\w|pyenv|pytest-of")


def name(item: Page) -> str:
    return str(item.path.relative_to(REPOSITORY))


class Meshes:
    """One mesh at a time: that of the last setup, as long as the pages that follow share it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: tuple[tuple[str, ...], Mesh] | None = None

    def of(self, setup: tuple[str, ...]) -> Mesh:
        """A mesh with the files of a setup; without files the page starts one under this name."""
        if self._running is not None and setup and self._running[0] == setup:
            return self._running[1]
        self.end()
        mesh = Mesh(self._directory)
        mesh.name = mesh.environment["ARGOSY_MESH"] = "default"  # as the pages have it
        self._running = (setup, mesh)
        if setup:
            try:
                mesh.up(*setup)
            except BaseException:
                self.end()
                raise
        return mesh

    def end(self) -> None:
        if self._running is not None:
            self._running[1].down()
            self._running = None


@pytest.fixture(scope="module")
def meshes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Meshes]:
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        pytest.skip(f"the pages use programs that this machine lacks: {', '.join(missing)}")
    made = Meshes(tmp_path_factory.mktemp("docs"))
    try:
        yield made
    finally:
        made.end()


@pytest.mark.e2e
@pytest.mark.parametrize("item", RUNNABLE, ids=name)
def test_commands(meshes: Meshes, item: Page) -> None:
    assert item.setup is not None
    mesh = meshes.of(item.setup)
    before = objects(mesh) if item.setup else {}
    wrong = run(item, mesh)
    if wrong is not None:
        meshes.end()  # the next page gets a mesh that nobody has changed
    assert wrong is None, wrong
    if item.setup:
        assert objects(mesh) == before, f"{name(item)} leaves the mesh changed"


def run(item: Page, mesh: Mesh) -> str | None:
    """Run the page in one shell. What is wrong, or None."""
    marks = [f"@@{i}@@" for i in range(len(item.commands))]
    script = "".join(
        f"{{ {command.text}\n}} </dev/null\ncode=$?; echo; echo {mark} $code\n"
        for command, mark in zip(item.commands, marks, strict=True)
    )
    path = f"{ARGOSY.parent}{os.pathsep}{mesh.environment['PATH']}"
    shell = subprocess.Popen(
        ["bash", "-c", script],
        cwd=REPOSITORY,
        env={**mesh.environment, "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        left, _ = shell.communicate(timeout=SECONDS_PER_PAGE)
    except subprocess.TimeoutExpired:
        os.killpg(shell.pid, signal.SIGKILL)  # what the page has started goes with it
        left, _ = shell.communicate()
    for command, mark in zip(item.commands, marks, strict=True):
        printed, found, left = left.partition(mark)
        if not found:
            within = f"within {SECONDS_PER_PAGE} s"
            return f"{name(item)}:{command.line}: this did not end {within}\n{printed}"
        code, _, left = left.partition("\n")
        wrong = judge(command, printed, int(code))
        if wrong:
            return f"{name(item)}:{command.line}: {wrong}"
    return None


def judge(command: Command, printed: str, code: int) -> str | None:
    """What is wrong with the output of a command, or None."""
    if code != command.exit_code:
        return f"$ {command.text}\nexits with {code}, not {command.exit_code}:\n{printed}"
    lines = printed.rstrip("\n").splitlines()
    if not matches(command.shown, lines):
        shown = "\n".join(command.shown)
        return f"$ {command.text}\nprints\n{printed.rstrip()}\nand not\n{shown}\n"
    return None


def objects(mesh: Mesh) -> dict[str, Json]:
    """What was told to the mesh: the spec of every object of the kinds in LISTS."""
    directory = Path(mesh.environment["ARGOSY_STATE_DIR"]) / mesh.name
    token = (directory / "admin.token").read_text().strip()
    found = {}
    with httpx.Client(
        transport=httpx.HTTPTransport(uds=str(directory / "api.sock")),
        base_url="http://mesh",
        headers={"Authorization": f"Bearer {token}"},
    ) as client:
        for path in LISTS:
            for each in client.get(path).raise_for_status().json()["items"]:
                metadata = each["metadata"]
                key = f"{path} {metadata.get('namespace', '')}/{metadata['name']}"
                found[key] = each.get("spec", {})
    return found


def test_every_page_that_shows_commands_says_its_mesh() -> None:
    assert RUNNABLE, "no page shows a command"
    assert [name(item) for item in RUNNABLE if item.setup is None] == []


def test_every_program_that_a_page_uses_is_looked_for() -> None:
    used = {program for item in RUNNABLE for c in item.commands for program in programs(c)}
    assert sorted(used - {*PROGRAMS, *_BUILTINS}) == []
    assert sorted({*PROGRAMS} - used) == []


def programs(command: Command) -> list[str]:
    """What the command runs, by name; here-documents aside."""
    typed = command.text
    if "<<" in typed:
        typed = typed.partition("\n")[0]
    found: list[str] = _PROGRAM.findall(typed.replace("\\\n", " "))
    return found


def test_setups_are_there() -> None:
    files = {file for item in PAGES for file in item.setup or ()}
    assert sorted(file for file in files if not (REPOSITORY / file).is_file()) == []


@pytest.mark.parametrize("item", PAGES, ids=name)
def test_links_lead_somewhere(item: Page) -> None:
    text = _without_code(item.path.read_text(encoding="utf-8"))
    broken = []
    for target in _LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        path = (item.path.parent / file).resolve() if file else item.path
        in_page = not anchor or path.suffix != ".md" or not path.exists()
        if not path.exists() or not (in_page or anchor in _anchors(path)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("item", PAGES, ids=name)
def test_names_no_path_of_one_machine(item: Page) -> None:
    text = item.path.read_text(encoding="utf-8")
    assert [found[0] for found in _THIS_MACHINE.finditer(text)] == []


def test_every_page_is_in_the_index() -> None:
    index = (REPOSITORY / "docs" / "index.md").read_text(encoding="utf-8")
    linked = {(REPOSITORY / "docs" / t.partition("#")[0]).resolve() for t in _LINK.findall(index)}
    pages = {p.path for p in PAGES if p.path.parent != REPOSITORY and p.path.name != "index.md"}
    pages.discard(REPOSITORY / "docs" / "benchmarks.md")  # written by `make bench`
    assert sorted(map(str, pages - linked)) == []


def _without_code(text: str) -> str:
    return re.sub(r"^( *)```.*?^\1```$|`[^`\n]*`", "", text, flags=re.DOTALL | re.MULTILINE)


def _anchors(path: Path) -> set[str]:
    """GitHub's anchors of the headings: lower case, dashes for spaces, no punctuation."""
    text = _without_code(path.read_text(encoding="utf-8"))
    return {
        re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-")
        for heading in _HEADING.findall(text)
    }
