"""Golden files: what was agreed to be right, compared as text.

A test calls ``check`` with the path of its golden file and the text that the code produced now.
With ``pytest --regold`` the files are rewritten instead, and files that no test asked for any
more are deleted: read the difference before committing it.
"""

import json
from pathlib import Path

import yaml
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message


class Golden:
    """One per test session. ``regold``: write instead of compare."""

    def __init__(self, regold: bool = False) -> None:
        self._regold = regold
        self._seen: set[Path] = set()

    def check(self, path: Path, actual: str) -> None:
        """Raises AssertionError when the file at ``path`` does not hold ``actual``."""
        self._seen.add(path.resolve())
        if self._regold:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(actual)
            return
        assert path.exists(), f"{path} is missing: run pytest --regold and read what it wrote"
        expected = path.read_text()
        assert actual == expected, f"differs from {path}; if it is right: pytest --regold"

    def delete_stale(self) -> tuple[Path, ...]:
        """The files beside those that were checked, of the same kind, that nobody asked for.

        Only complete runs can tell, and only with ``regold``; the kind is the name's suffixes.
        """
        if not self._regold:
            return ()
        kinds = {(path.parent, tuple(path.suffixes)) for path in self._seen}
        stale = [
            path
            for folder, suffixes in sorted(kinds)
            for path in sorted(folder.iterdir())
            if tuple(path.suffixes) == suffixes and path.resolve() not in self._seen
        ]
        for path in stale:
            path.unlink()
        return tuple(stale)


def envoy_yaml(*messages: Message) -> str:
    """Envoy configuration as people write it: proto field names, one document a message."""
    texts = [MessageToJson(message, preserving_proto_field_name=True) for message in messages]
    documents = [json.loads(text) for text in texts]
    return yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True, width=100)
