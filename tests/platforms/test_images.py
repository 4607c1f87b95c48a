import sys
from pathlib import Path

import pytest

from argosy.api.core_container import Container
from argosy.platforms.local.container_plan import argv_of
from argosy.platforms.local.images import ImageMap, ImageMapError


def write(directory: Path, text: str, name: str = "images.yaml") -> Path:
    path = directory / name
    path.write_text(text)
    return path


def test_pattern_groups_paths_and_interpreter(tmp_path: Path) -> None:
    (tmp_path / "hello").mkdir()
    (tmp_path / "hello" / "hello.py").touch()
    path = write(
        tmp_path,
        r"""
images:
- match: ".*/hello-(?P<version>v[0-9]+)(:.*)?"
  command: ["${PYTHON}", "hello/hello.py", "--flag", "a/b", "{version}", "${OTHER}"]
  env: {SERVICE_VERSION: "{version}"}
  workdir: hello
- match: ".*"
  command: []
""",
    )
    images = ImageMap.read([path])
    found = images.find("docker.io/istio/hello-v2:1.0")
    assert found is not None
    script = str(tmp_path / "hello" / "hello.py")
    assert found.command == (sys.executable, script, "--flag", "a/b", "v2", "${OTHER}")
    assert found.env == (("SERVICE_VERSION", "v2"),)
    assert found.workdir == str(tmp_path / "hello")
    other = images.find("anything")
    assert other is not None
    assert other.command == ()


def test_first_map_and_first_entry_win(tmp_path: Path) -> None:
    one = write(tmp_path, "images: [{match: x, command: [one]}]", "one.yaml")
    two = write(
        tmp_path,
        "images: [{match: x, command: [two]}, {match: y, command: [y]}, {match: '.', command: [z]}]",
        "two.yaml",
    )
    images = ImageMap.read([one, two])
    commands = [getattr(images.find(name), "command", None) for name in ("x", "y", "zz")]
    assert commands == [("one",), ("y",), None]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("images: [{match: '*/x', command: []}]", "is not a regular expression"),
        ("images: [{match: 'x', command: ['{v}']}]", r"no group of that name: write \(\?P<v>"),
        ("images: [{match: 'x', commands: []}]", "unknown field `commands`"),
        ("images: 3", "Expected `array`"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, words: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ImageMapError, match=words) as caught:
        ImageMap.read([path])
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageMapError, match=r"cannot read the image map .*none.yaml"):
        ImageMap.read([tmp_path / "none.yaml"])


def test_programs_that_the_image_has_at_its_own_paths(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
images:
- match: "limiter:.*"
  command: ["${PYTHON}", "-m", "limiter"]
  programs: {/bin/limiter: ["${PYTHON}", "-m", "limiter"]}
""",
    )
    image = ImageMap.read([path]).find("limiter:1")
    assert image is not None
    own = Container(name="c", image="limiter:1", command=("/bin/limiter", "-v"), args=("x",))
    assert argv_of(own, image) == (sys.executable, "-m", "limiter", "-v", "x")
    other = Container(name="c", image="limiter:1", command=("/bin/sh",))
    assert argv_of(other, image) == ("/bin/sh",)
    assert argv_of(other, None) == ("/bin/sh",)
