"""Kinds of objects, as people write them: name, plural or short name, in any case, and ``all``."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from argosy.api import registry
from argosy.api.registry import Purpose
from argosy.cli.client import CliError

ALL = "all"


@dataclass(frozen=True, slots=True)
class Kind:
    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool

    @property
    def singular(self) -> str:
        return self.kind.lower()

    def path(self, namespace: str | None, name: str = "") -> str:
        """The API path of one object, of a namespace's objects, or (None) of all."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        if self.namespaced and namespace is not None:
            root += f"/namespaces/{namespace}"
        return f"{root}/{self.plural}" + (f"/{name}" if name else "")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a command line names: one object of a kind, or with no name all of them."""

    kind: Kind
    name: str = ""


def kind_named(word: str) -> Kind:
    """The kind that ``word`` means; exit code 2 when there is none."""
    names: dict[str, registry.Registered] = {}
    for entry in registry.KINDS:
        for name in (entry.kind, entry.plural, *entry.short_names):
            names.setdefault(name.lower(), entry)
            if entry.group:
                names.setdefault(f"{name.lower()}.{entry.group}", entry)
    found = names.get(word.lower())
    if found is None:
        close = difflib.get_close_matches(word.lower(), names, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else ""
        known = ", ".join(sorted({entry.kind for entry in registry.KINDS}))
        raise CliError(f"there is no kind {word!r}", hint or f"Kinds: {known}", code=2)
    return _kind(found)


def kinds_named(word: str) -> list[Kind]:
    """Several kinds: ``vs,dr`` or ``all``."""
    if word.lower() == ALL:
        return [_kind(entry) for entry in registry.KINDS if entry.purpose is not Purpose.HOLDS]
    return list(dict.fromkeys(kind_named(part) for part in word.split(",") if part.strip()))


def wanted(words: Sequence[str]) -> list[Wanted]:
    """``KIND``, ``KIND,KIND``, ``KIND NAME NAME`` or ``KIND/NAME KIND/NAME``."""
    if any("/" in word for word in words):
        pairs = [word.partition("/") for word in words]
        if not all(kind and name for kind, _, name in pairs):
            raise CliError(
                f"{' '.join(words)!r} mixes two ways to name objects",
                "Write KIND NAME NAME ..., or KIND/NAME KIND/NAME ...",
                code=2,
            )
        return [Wanted(kind_named(kind), name) for kind, _, name in pairs]
    if not words:
        raise CliError("say which: KIND, KIND NAME or KIND/NAME", code=2)
    kinds, names = kinds_named(words[0]), words[1:]
    if not kinds:
        raise CliError(f"{words[0]!r} names no kind", code=2)
    return [Wanted(kind, name) for kind in kinds for name in names or ("",)]


def _kind(entry: registry.Registered) -> Kind:
    return Kind(entry.group, entry.version, entry.kind, entry.plural, entry.namespaced)
