"""Image maps: which program of this machine stands in for which container image.

A map is a YAML file::

    images:
      - match: ".*/examples-helloworld-(?P<version>v[0-9]+)(:.*)?"   # a regular expression
        command: ["${PYTHON}", "helloworld/helloworld.py", "5000"]
        env: {SERVICE_VERSION: "{version}"}
        workdir: helloworld

``match`` is a Python regular expression for the whole image reference as it is written in the
container. The first entry that matches is used, of the first map that has one. In ``command``,
``env`` and ``workdir``, ``{name}`` stands for a named group of the expression and ``${PYTHON}`` for
the interpreter that runs Argosy. A command part or ``workdir`` that names a file beside the map is
made absolute. An empty command means that the image has no program of its own: the container's
``args`` are the command.
"""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec


class ImageMapError(Exception):
    """The map cannot be read; the text names the file and what is wrong."""


@dataclass(frozen=True, slots=True)
class Image:
    """What a container image is on this machine. ``directory`` holds the program's files."""

    command: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    workdir: str = ""
    directory: Path | None = None
    programs: tuple[tuple[str, tuple[str, ...]], ...] = ()


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    match: str
    command: tuple[str, ...]
    env: dict[str, str] = {}
    workdir: str = ""
    programs: dict[str, tuple[str, ...]] = {}


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    images: tuple[_Entry, ...]


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: re.Pattern[str]
    entry: _Entry
    directory: Path


class ImageMap:
    """Images by reference. Reading the files happens in ``read``."""

    def __init__(self, rules: Sequence[_Rule] = ()) -> None:
        self._rules = tuple(rules)

    @classmethod
    def read(cls, paths: Sequence[Path]) -> "ImageMap":
        """The maps of these files, the first with the highest precedence. Raises ImageMapError."""
        rules: list[_Rule] = []
        for path in paths:
            rules += _rules(path)
        return cls(rules)

    def find(self, reference: str) -> Image | None:
        """What stands in for this image; None when no entry matches."""
        for rule in self._rules:
            found = rule.pattern.fullmatch(reference)
            if found is not None:
                return _image(rule, {k: v or "" for k, v in found.groupdict().items()})
        return None


def _rules(path: Path) -> list[_Rule]:
    try:
        content = msgspec.yaml.decode(path.read_bytes(), type=_File)
    except OSError as error:
        raise ImageMapError(f"cannot read the image map {path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise ImageMapError(f"image map {path}: {error}") from error
    rules = []
    for number, entry in enumerate(content.images):
        try:
            pattern = re.compile(entry.match)
            rule = _Rule(pattern, entry, path.absolute().parent)
            _image(rule, dict.fromkeys(pattern.groupindex, ""))
        except re.error as error:
            raise ImageMapError(
                f"image map {path}: images[{number}].match {entry.match!r} is not a regular "
                f"expression ({error}); for 'anything' write '.*'"
            ) from error
        except KeyError as error:
            raise ImageMapError(
                f"image map {path}: images[{number}] uses {{{error.args[0]}}}, "
                f"but its match has no group of that name: write (?P<{error.args[0]}>...)"
            ) from error
        rules.append(rule)
    return rules


_PLACEHOLDER = re.compile(r"\$\{PYTHON\}|(?<!\$)\{([A-Za-z_][A-Za-z0-9_]*)\}")


def _image(rule: _Rule, groups: dict[str, str]) -> Image:
    def fill(text: str) -> str:
        return _PLACEHOLDER.sub(lambda m: groups[m[1]] if m[1] else sys.executable, text)

    def beside(text: str) -> str:
        candidate = rule.directory / text
        is_file = text and not text.startswith(("/", "-")) and "/" in text and candidate.exists()
        return str(candidate) if is_file else text

    workdir = fill(rule.entry.workdir)
    return Image(
        command=tuple(beside(fill(part)) for part in rule.entry.command),
        env=tuple((name, fill(value)) for name, value in rule.entry.env.items()),
        workdir=str(rule.directory / workdir) if workdir else "",
        directory=rule.directory,
        programs=tuple(
            (path, tuple(beside(fill(part)) for part in command))
            for path, command in rule.entry.programs.items()
        ),
    )
