"""``match`` of HTTP rules → conditions.

https://istio.io/latest/docs/reference/config/networking/virtual-service/#HTTPMatchRequest
"""

import re
from collections.abc import Mapping

from argosy.api.networking_virtual_service import HTTPMatchRequest
from argosy.api.networking_virtual_service import StringMatch as ApiStringMatch
from argosy.base.names import Namespace
from argosy.model.route import (
    MESH,
    ClaimMatch,
    Exact,
    HeaderMatch,
    Prefix,
    Present,
    QueryMatch,
    Regex,
    RouteMatch,
    RuleMatch,
    StringMatch,
    ValueMatch,
)
from argosy.pilot.compile.report import Report

_CLAIM_PREFIX = "@request.auth.claims"
_CLAIM_KEYS = re.compile(r"\[([^\[\]]+)\]")


def gateway_name(name: str, namespace: Namespace) -> str:
    """``mesh`` or ``<namespace>/<name>``, of the forms that Istio reads.

    ``gw`` and ``./gw`` are beside the rule; ``gw.ns.svc.cluster.local`` is an old form.
    """
    if name == MESH:
        return MESH
    before, slash, after = name.partition("/")
    if slash:
        return f"{namespace if before == '.' else before}/{after}"
    labels = name.split(".")
    return f"{labels[1]}/{labels[0]}" if len(labels) > 1 else f"{namespace}/{name}"


def rule_match(
    match: HTTPMatchRequest, gateways: frozenset[str], namespace: Namespace, report: Report
) -> RuleMatch:
    """``gateways`` are those of the VirtualService. ``report`` stands at the match."""
    own = frozenset(gateway_name(name, namespace) for name in match.gateways)
    for unknown in sorted(own - gateways):
        report.at("gateways").warning(
            "GatewayNotListed",
            f"gateway {unknown} is not among the VirtualService's own gateways, "
            "so it never matches",
            "add it to spec.gateways",
        )
    reached = own & gateways if own else gateways
    if (match.source_labels or match.source_namespace) and MESH not in reached:
        report.warning(
            "SourceConditionOutsideMesh",
            "sourceLabels and sourceNamespace say which sidecars a rule is for, "
            "but this rule is for gateways only",
            "add mesh to the gateways, or leave them out",
        )
    claims = _claims(match.headers, False) + _claims(match.without_headers, True)
    if claims and reached == {MESH}:
        report.at("headers").error(
            "ClaimMatchOutsideGateway",
            "JWT claims can be matched at gateways only, so this rule never matches",
            "bind the rule to a gateway, or use an AuthorizationPolicy",
        )
    return RuleMatch(
        request=RouteMatch(
            path=_path(match.uri),
            case_sensitive=not match.ignore_uri_case or _is_regex(match.uri),
            headers=_headers(match),
            queries=tuple(
                QueryMatch(name, value_match(value))
                for name, value in sorted(match.query_params.items())
            ),
            claims=claims,
        ),
        name=match.name,
        stat_prefix=match.stat_prefix,
        port=match.port or None,
        gateways=own,
        source_labels=tuple(sorted(match.source_labels.items())),
        source_namespace=match.source_namespace,
        field=report.field.rpartition(".")[2],
    )


def string_match(match: ApiStringMatch) -> StringMatch | None:
    """None: it says nothing of the value."""
    if match.exact is not None:
        return Exact(match.exact)
    if match.prefix:
        return Prefix(match.prefix)
    if match.regex:
        return Regex(match.regex)
    return None


def value_match(match: ApiStringMatch | None) -> ValueMatch:
    """An empty match, and the regex ``*``, ask only that there is a value."""
    if match is None or match.regex == "*":
        return Present()
    return string_match(match) or Present()


def _is_regex(match: ApiStringMatch | None) -> bool:
    return match is not None and bool(match.regex)


def _path(match: ApiStringMatch | None) -> StringMatch:
    return (match and string_match(match)) or Prefix("/")


def _headers(match: HTTPMatchRequest) -> tuple[HeaderMatch, ...]:
    """Sorted by name, as Istio does; the pseudo headers come last."""
    wanted = [
        HeaderMatch(name, value_match(value))
        for name, value in match.headers.items()
        if not _is_claim(name)
    ]
    unwanted = [
        HeaderMatch(name, value_match(value), invert=True)
        for name, value in match.without_headers.items()
        if not _is_claim(name)
    ]
    headers = sorted(wanted + unwanted, key=lambda header: (header.name, header.invert))
    pseudo = [
        HeaderMatch(name, value)
        for name, condition in (
            (":method", match.method),
            (":authority", match.authority),
            (":scheme", match.scheme),
        )
        if condition is not None and (value := string_match(condition)) is not None
    ]
    return (*headers, *pseudo)


def _is_claim(name: str) -> bool:
    return name.lower().startswith(_CLAIM_PREFIX)


def _claims(headers: Mapping[str, ApiStringMatch | None], invert: bool) -> tuple[ClaimMatch, ...]:
    """``@request.auth.claims[group][id]`` or ``@request.auth.claims.group.id``.

    https://istio.io/latest/docs/tasks/security/authentication/jwt-route/
    """
    return tuple(
        ClaimMatch(_claim_path(name[len(_CLAIM_PREFIX) :]), value_match(value), invert)
        for name, value in sorted(headers.items())
        if _is_claim(name)
    )


def _claim_path(rest: str) -> tuple[str, ...]:
    if rest.startswith("["):
        return tuple(_CLAIM_KEYS.findall(rest))
    return tuple(key for key in rest.split(".") if key)
