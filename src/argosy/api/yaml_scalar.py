"""Plain YAML scalars, read as ``kubectl`` reads them (YAML 1.1 without dates and base 60)."""

import re

from argosy.api.meta import Opaque

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"), False),
}
_NUMBER = re.compile(
    r"""(?P<float>[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)
      | (?P<sign>[-+]?)(?:0x(?P<hex>[0-9a-fA-F_]+) | 0b(?P<bin>[01_]+) | 0o(?P<oct>[0-7_]+))""",
    re.VERBOSE | re.ASCII,
)
_FIRST = frozenset("-+.0123456789")
_MAX_DIGITS = 40


def plain_scalar(text: str) -> Opaque:
    """The value of an unquoted scalar: null, a boolean, an int, a float or the text itself."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _FIRST or len(text) > _MAX_DIGITS:
        return text
    found = _NUMBER.fullmatch(text)
    if found is None:
        return text
    for group, base in (("hex", 16), ("bin", 2), ("oct", 8)):
        digits = found[group]
        if digits is not None:
            digits = digits.replace("_", "")
            return int(found["sign"] + digits, base) if digits else text
    return _decimal(text)


def _decimal(text: str) -> Opaque:
    digits = text.lstrip("+-")
    if not digits.isdigit():
        number = float(text)
        return number if abs(number) != float("inf") else text
    if len(digits) > 1 and digits[0] == "0":
        if set(digits) <= set("01234567"):
            return int(text, 8)  # YAML 1.1: a leading zero is octal, as in `defaultMode: 0644`.
        return float(text)
    return int(text)
