"""Which kinds the running mesh serves, and what people call them."""

import difflib
from dataclasses import dataclass

from argosy.api import registry
from argosy.cli.client import ApiClient, CliError


@dataclass(frozen=True, slots=True)
class Kind:
    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool

    def path(self, namespace: str | None, name: str = "") -> str:
        """The API path of one object, of a namespace's objects, or (None) of all."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        if self.namespaced and namespace is not None:
            root += f"/namespaces/{namespace}"
        return f"{root}/{self.plural}" + (f"/{name}" if name else "")


def kind_named(_: ApiClient, word: str) -> Kind:
    """The kind that ``word`` means: its name, plural or short name, in any case."""
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
    return Kind(found.group, found.version, found.kind, found.plural, found.namespaced)
