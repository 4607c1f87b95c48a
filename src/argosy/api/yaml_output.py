"""Plain data → YAML that ``decode_yaml`` and ``kubectl`` read back to the same values."""

from typing import Any

import yaml

from argosy.api.yaml_scalar import plain_scalar

_BOOLEANS_OF_OLD = frozenset({"y", "Y", "n", "N"})
"""Text here and to ``kubectl``, and booleans to some readers of YAML 1.1."""


class _Dumper(yaml.CSafeDumper):
    """PyYAML quotes what PyYAML would not read as text: to it ``1e5`` is text, to others a number."""


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    is_text = plain_scalar(text) == text and text not in _BOOLEANS_OF_OLD
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, None if is_text else "'")


_Dumper.add_representer(str, _text)


def as_yaml(value: Any) -> str:
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True))
