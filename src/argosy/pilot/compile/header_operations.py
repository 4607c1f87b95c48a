"""``headers`` of rules and destinations → header operations, and the authority they ask for.

https://istio.io/latest/docs/reference/config/networking/virtual-service/#Headers
"""

import re
from collections.abc import Mapping, Sequence

from argosy.api.networking_virtual_service import Headers
from argosy.model.route import NO_HEADERS, HeaderOperations
from argosy.pilot.compile.header_values import operator_mistake
from argosy.pilot.compile.report import Report

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A token of RFC 9110."""

_FORBIDDEN_IN_VALUES = re.compile(r"[\0\r\n]")


def header_operations(headers: Headers | None, report: Report) -> tuple[HeaderOperations, str]:
    """The operations, and the new authority (empty: keep it).

    Envoy cannot change pseudo headers and Host as headers; setting ``Host`` or ``:authority``
    rewrites the authority instead, and other operations on them do nothing, as in Istio.
    """
    if headers is None:
        return NO_HEADERS, ""
    authority = ""
    request_set: tuple[tuple[str, str], ...] = ()
    request_add: tuple[tuple[str, str], ...] = ()
    request_remove: tuple[str, ...] = ()
    response_set: tuple[tuple[str, str], ...] = ()
    response_add: tuple[tuple[str, str], ...] = ()
    response_remove: tuple[str, ...] = ()
    if (request := headers.request) is not None:
        authority = _authority(request.set) or _authority(request.add)
        request_set = _pairs(request.set, report.at("request.set"))
        request_add = _pairs(request.add, report.at("request.add"))
        request_remove = _names(request.remove, report.at("request.remove"))
    if (response := headers.response) is not None:
        response_set = _pairs(response.set, report.at("response.set"))
        response_add = _pairs(response.add, report.at("response.add"))
        response_remove = _names(response.remove, report.at("response.remove"))
    operations = HeaderOperations(
        request_set, request_add, request_remove, response_set, response_add, response_remove
    )
    return operations, authority


def _authority(pairs: Mapping[str, str]) -> str:
    return next((value for name, value in sorted(pairs.items()) if _is_authority(name)), "")


def _is_authority(name: str) -> bool:
    return name.lower() in (":authority", "host")


def _is_internal(name: str) -> bool:
    return name.startswith(":") or _is_authority(name)


def _pairs(pairs: Mapping[str, str], report: Report) -> tuple[tuple[str, str], ...]:
    kept = []
    for name, value in sorted(pairs.items()):
        if _is_internal(name) or not _is_name(name, report):
            continue
        mistake = operator_mistake(value)
        if mistake or _FORBIDDEN_IN_VALUES.search(value):
            report.key(name).error(
                "InvalidHeaderValue",
                f"the header {name} is not changed: "
                + (mistake or "a value cannot hold line breaks or NUL"),
            )
            continue
        kept.append((name, value))
    return tuple(kept)


def _names(names: Sequence[str], report: Report) -> tuple[str, ...]:
    return tuple(name for name in names if not _is_internal(name) and _is_name(name, report))


def _is_name(name: str, report: Report) -> bool:
    if _NAME.fullmatch(name):
        return True
    report.error("InvalidHeaderName", f"{name!r} cannot be the name of a header")
    return False
