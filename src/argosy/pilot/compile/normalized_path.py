"""A request's path as Envoy normalizes it before anything looks at it. Pure.

Escaped slashes first, then RFC 3986 as Chromium's URL library has it, then repeated slashes.
https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto
(``normalize_path``, ``merge_slashes``, ``path_with_escaped_slashes_action``)
https://istio.io/latest/docs/ops/best-practices/security/#customize-your-system-on-path-normalization
"""

import re
import string
from dataclasses import dataclass

from argosy.model.listener import ListenerSettings, PathNormalization

_UNRESERVED = frozenset(string.ascii_letters + string.digits + "-._~")
"""Escaped ones are written plainly."""

_ESCAPED = frozenset(' "#<>?^`{|}' + "".join(map(chr, (*range(0x20), 0x7F))))
"""Plain ones are escaped."""

_PART = re.compile(r"%([0-9A-Fa-f]{2})|.", re.DOTALL)
_HEX_PAIR = re.compile(r"[0-9A-Fa-f]{2}")
_ESCAPED_SLASH = re.compile(r"%(2[fF]|5[cC])")
_SLASHES = re.compile(r"/{2,}")
_DOT, _BACK = ".", ".."


class PathRefusedError(Exception):
    """Envoy answers the request itself; the text says how."""


@dataclass(frozen=True, slots=True)
class Normalization:
    """``escaped_slashes`` is Envoy's action, empty for leaving them."""

    paths: bool
    merge_slashes: bool
    escaped_slashes: str = ""


def normalization(settings: ListenerSettings) -> Normalization:
    """What holds for a proxy: MeshConfig's, where its own settings do not say otherwise."""
    mesh = settings.path_normalization
    own = settings.proxy.connections
    merge = mesh in (PathNormalization.MERGE_SLASHES, PathNormalization.DECODE_AND_MERGE_SLASHES)
    decode = mesh is PathNormalization.DECODE_AND_MERGE_SLASHES
    return Normalization(
        mesh is not PathNormalization.NONE,
        merge if own.merge_slashes is None else own.merge_slashes,
        own.escaped_slashes or ("UNESCAPE_AND_FORWARD" if decode else ""),
    )


def normalized(path: str, how: Normalization) -> str:
    """``path`` with its query, which stays as it is. Raises PathRefusedError."""
    plain, mark, query = path.partition("?")
    if _ESCAPED_SLASH.search(plain):
        if how.escaped_slashes == "REJECT_REQUEST":
            raise PathRefusedError("400, for escaped slashes in the path")
        if how.escaped_slashes == "UNESCAPE_AND_REDIRECT":
            raise PathRefusedError("307, to the path without escaped slashes")
        if how.escaped_slashes == "UNESCAPE_AND_FORWARD":
            plain = _ESCAPED_SLASH.sub(lambda found: _character(found[1]), plain)
    if how.paths:
        plain = _canonical(plain)
    if how.merge_slashes:
        # A path of slashes alone keeps two: the first, and the one that it ends with.
        plain = _SLASHES.sub("/", plain) if plain.strip("/") else plain[:2]
    return plain + mark + query


def _canonical(path: str) -> str:
    """Of a path that begins with a slash."""
    segments: list[str] = []
    rest = path.replace("\\", "/").split("/")[1:]
    for index, written in enumerate(rest):
        segment = _segment(written)
        last = index == len(rest) - 1
        # With parameters (RFC 2396, 3.3) it is a dot segment all the same.
        bare = segment.partition(";")[0]
        if bare == _BACK:
            if segments:
                segments.pop()
        elif bare != _DOT:
            segments.append(segment)
        if last and bare in (_DOT, _BACK):
            segments.append("")
    return "/" + "/".join(segments)


def _segment(written: str) -> str:
    parts: list[str] = []
    for found in _PART.finditer(written):
        digits, character = found[1], found[0]
        if digits is None:
            parts.append(_percent(character) if character in _ESCAPED else character)
            continue
        plain = _character(digits)
        if plain == "\0":
            raise PathRefusedError("400, for %00 in the path")
        parts.append(plain if plain in _UNRESERVED else character)
    # A percent sign that began nothing must not begin something now.
    for index, part in enumerate(parts):
        if part == "%" and _HEX_PAIR.match("".join(parts[index + 1 : index + 3])):
            parts[index] = "%25"
    return "".join(one if one.isascii() else _percent(one) for one in "".join(parts))


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())


def _character(digits: str) -> str:
    return chr(int(digits, 16))
