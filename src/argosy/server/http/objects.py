"""Objects between the wire and the store: decoding requests, presenting answers."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from argosy.api.decode import Decoded, decode_json, decode_yaml
from argosy.api.encode import encode
from argosy.api.located import LocatedProblem, locate
from argosy.api.meta import Object
from argosy.api.networking_ingress import Ingress
from argosy.api.registry import BY_KIND, Registered
from argosy.api.validate import validate
from argosy.base.problems import Severity
from argosy.server.http.encoding import Json
from argosy.server.http.errors import ApiError, invalid_request
from argosy.server.http.findings import Findings
from argosy.server.http.target import Target

YAML_TYPES = frozenset({"application/yaml", "application/apply-patch+yaml", "text/yaml"})


def read_object(body: bytes, content_type: str, target: Target) -> Object:
    """The one object of a request, for ``target``; raises 400 or 422.

    A name that is not written is the target's, or made from ``generateName``.
    """
    if media_type(content_type) in YAML_TYPES:
        return from_decoded(decode_yaml(body, "", namespace=target.namespace or ""), target)
    try:
        data = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(400, f"the request body is not JSON: {error}") from error
    return from_data(data, target)


def from_data(data: object, target: Target) -> Object:
    """As :func:`read_object`, from plain data. ``kind`` and ``apiVersion`` may be left out."""
    if not isinstance(data, Mapping):
        raise ApiError(400, "the request body is not an object")
    header = {"apiVersion": target.api_version, "kind": target.kind.kind}
    metadata = data.get("metadata", {})
    if isinstance(metadata, Mapping):
        metadata = _named(metadata, target)
    filled = {**header, **data, "metadata": metadata}
    return from_decoded(decode_json(filled, namespace=target.namespace or ""), target)


def from_decoded(decoded: Decoded, target: Target) -> Object:
    """The one object of ``decoded``, which must be right and be the target's."""
    errors = decoded.errors
    if errors:
        raise invalid_request(errors)
    if len(decoded.objects) != 1:
        raise ApiError(400, f"the request holds {len(decoded.objects)} objects, one is expected")
    value = decoded.objects[0]
    _check_target(value, target)
    problems = [p for p in validated(value) if p.severity is Severity.ERROR]
    if problems:
        raise invalid_request(problems)
    return value


def validated(value: Object) -> tuple[LocatedProblem, ...]:
    """Everything that is wrong with the object by itself, with lines."""
    return tuple(locate(problem, value) for problem in validate(value))


def media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class Presenter:
    """Objects as answers, with the computed status of Istio's kinds."""

    findings: Findings

    def body(self, value: Object, api_version: str = "") -> dict[str, Json]:
        """``api_version`` is the version that was asked for; the preferred one without it."""
        body = self.stored(value)
        if api_version:
            body["apiVersion"] = api_version
        if _has_computed_status(BY_KIND.get(value.kind)):
            status = body.get("status")
            stored = status if isinstance(status, dict) else {}
            body["status"] = _joined(stored, self.findings.status(value))
        elif isinstance(value, Ingress):
            body["status"] = {**(body.get("status") or {}), **self.findings.load_balancer(value)}
        return body

    def stored(self, value: Object) -> dict[str, Any]:
        """What is stored, and nothing else: the base of a patch."""
        return encode(value)


def _joined(stored: Mapping[str, Any], computed: Mapping[str, Any]) -> dict[str, Json]:
    """Conditions that nobody computes stay as they were written: a machine's health."""
    known = {condition["type"] for condition in computed["conditions"]}
    kept = [c for c in stored.get("conditions") or () if c.get("type") not in known]
    return {**stored, **computed, "conditions": [*computed["conditions"], *kept]}


def _named(metadata: Mapping[str, Any], target: Target) -> dict[str, Any]:
    named = dict(metadata)
    prefix = named.get("generateName")
    if not named.get("name"):
        if target.name:
            named["name"] = target.name
        elif isinstance(prefix, str) and prefix:
            named["name"] = f"{prefix[:58]}{secrets.token_hex(3)[:5]}"
    return named


def _check_target(value: Object, target: Target) -> None:
    if value.kind != target.kind.kind:
        raise ApiError(400, f"the object is a {value.kind}, the path is of {target.kind.kind}")
    if target.name and value.metadata.name != target.name:
        raise ApiError(
            400, f"the name of the object ({value.metadata.name}) is not that of the path"
        )
    if target.namespace is not None and value.metadata.namespace != target.namespace:
        raise ApiError(
            400,
            f"the namespace of the object ({value.metadata.namespace}) is not that of the path",
        )


def _has_computed_status(kind: Registered | None) -> bool:
    return kind is not None and kind.group.endswith("istio.io")
