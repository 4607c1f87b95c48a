"""Delegation: a rule of one VirtualService that another one, without hosts, spells out.

What the two say of the request must agree: a delegate can only narrow. Everything else is the
delegate's, and the root's where the delegate says nothing. As in Istio, one level deep.
https://istio.io/latest/docs/reference/config/networking/virtual-service/#Delegate
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from argosy.api.networking_virtual_service import (
    Delegate,
    Destination,
    HTTPMatchRequest,
    HTTPRoute,
    StringMatch,
    VirtualService,
)
from argosy.base.names import Namespace
from argosy.model.route import Origin
from argosy.pilot.compile.attachments import exports_to
from argosy.pilot.compile.hostnames import resolve
from argosy.pilot.compile.report import Report

FindDelegate = Callable[[Namespace, str], VirtualService | None]


@dataclass(frozen=True, slots=True)
class Written:
    """A rule as it holds, where it was written, and the namespace that its short names mean."""

    route: HTTPRoute
    origin: Origin
    namespace: Namespace


def written_rules(
    root: VirtualService, delegates: FindDelegate, report: Report
) -> tuple[Written, ...]:
    """The rules of ``root`` in order, each delegation replaced by the delegate's rules.

    A delegation that fails leaves out only its own rule.
    """
    namespace = root.key.namespace
    rules: list[Written] = []
    for index, route in enumerate(root.spec.http):
        origin = Origin(root.key, f"spec.http[{index}]")
        if route.delegate is None:
            rules.append(Written(route, origin, namespace))
            continue
        place = report.elsewhere(origin).at("delegate")
        target = _target(root, route.delegate, delegates, place)
        if target is not None:
            rules.extend(_merged_rules(route, namespace, target, place))
    return tuple(rules)


def _target(
    root: VirtualService, delegate: Delegate, delegates: FindDelegate, place: Report
) -> VirtualService | None:
    namespace = Namespace(delegate.namespace) if delegate.namespace else root.key.namespace
    name = f"{namespace}/{delegate.name}"
    found = delegates(namespace, delegate.name)
    if found is None:
        place.error(
            "DelegateNotFound",
            f"there is no VirtualService {name}; requests that match here go on to the next rule",
        )
        return None
    if found.spec.hosts:
        place.error(
            "DelegateHasHosts",
            f"VirtualService {name} has hosts, so it cannot be a delegate",
            "remove its hosts, or route to it by host",
        )
        return None
    if not exports_to(found, root.key.namespace):
        place.error(
            "DelegateNotVisible",
            f"VirtualService {name} is not exported to namespace {root.key.namespace}",
            "add the namespace to its exportTo",
        )
        return None
    return found


def _merged_rules(
    root: HTTPRoute, root_namespace: Namespace, target: VirtualService, place: Report
) -> list[Written]:
    rules = []
    root = _with_full_mirrors(root, root_namespace)
    for index, route in enumerate(target.spec.http):
        origin = Origin(target.key, f"spec.http[{index}]")
        if route.delegate is not None:
            place.elsewhere(origin).at("delegate").error(
                "NestedDelegate",
                f"a delegate cannot delegate further, so this rule is left out; "
                f"{place.object} delegates to this VirtualService",
            )
            continue
        matches = _merged_matches(root.match, route.match)
        if matches is None:
            place.error(
                "DelegateConflict",
                f"{origin.field} of {target.key} matches requests that this rule does not, "
                "so that rule is left out",
                "a delegate's match must be as narrow as, or narrower than, its root's",
            )
            continue
        rules.append(Written(_merged_route(root, route, matches), origin, target.key.namespace))
    return rules


def _with_full_mirrors(root: HTTPRoute, namespace: Namespace) -> HTTPRoute:
    """Short names of the root mean its own namespace, also where a delegate inherits them."""

    def full(written: Destination) -> Destination:
        return msgspec.structs.replace(written, host=resolve(written.host, namespace))

    mirrors = tuple(
        msgspec.structs.replace(mirror, destination=full(mirror.destination))
        for mirror in root.mirrors
    )
    mirror = None if root.mirror is None else full(root.mirror)
    return msgspec.structs.replace(root, mirror=mirror, mirrors=mirrors)


def _merged_route(
    root: HTTPRoute, route: HTTPRoute, matches: tuple[HTTPMatchRequest, ...]
) -> HTTPRoute:
    own_mirrors = route.mirror is not None or bool(route.mirrors)
    mirroring = route if own_mirrors else root
    return msgspec.structs.replace(
        route,
        match=matches,
        name="-".join(name for name in (root.name, route.name) if name),
        rewrite=route.rewrite or root.rewrite,
        timeout=root.timeout if route.timeout is None else route.timeout,
        retries=route.retries or root.retries,
        fault=route.fault or root.fault,
        mirror=mirroring.mirror,
        mirrors=mirroring.mirrors,
        mirror_percent=mirroring.mirror_percent,
        mirror_percentage=mirroring.mirror_percentage,
        cors_policy=route.cors_policy or root.cors_policy,
        headers=route.headers or root.headers,
    )


def _merged_matches(
    root: tuple[HTTPMatchRequest, ...], delegate: tuple[HTTPMatchRequest, ...]
) -> tuple[HTTPMatchRequest, ...] | None:
    """Every pair that agrees. None: an alternative of the delegate agrees with none of the root."""
    if not root or not delegate:
        return root or delegate
    merged: list[HTTPMatchRequest] = []
    for narrow in delegate:
        agreeing = [_merged_match(wide, narrow) for wide in root if _agrees(wide, narrow)]
        if not agreeing:
            return None
        merged.extend(agreeing)
    return tuple(merged)


def _merged_match(root: HTTPMatchRequest, delegate: HTTPMatchRequest) -> HTTPMatchRequest:
    """Which sidecars and gateways a rule is for, only the root may say."""
    return msgspec.structs.replace(
        delegate,
        name="-".join(name for name in (root.name, delegate.name) if name),
        uri=delegate.uri or root.uri,
        scheme=delegate.scheme or root.scheme,
        method=delegate.method or root.method,
        authority=delegate.authority or root.authority,
        headers={**root.headers, **delegate.headers},
        without_headers={**root.without_headers, **delegate.without_headers},
        query_params={**root.query_params, **delegate.query_params},
        ignore_uri_case=root.ignore_uri_case or delegate.ignore_uri_case,
        port=delegate.port or root.port,
        stat_prefix=delegate.stat_prefix or root.stat_prefix,
        gateways=root.gateways,
        source_labels=root.source_labels,
        source_namespace=root.source_namespace,
    )


def _agrees(root: HTTPMatchRequest, delegate: HTTPMatchRequest) -> bool:
    """Whether ``delegate`` is as narrow as ``root``, or narrower, in everything both speak of."""
    fields = (
        (root.uri, delegate.uri),
        (root.scheme, delegate.scheme),
        (root.method, delegate.method),
        (root.authority, delegate.authority),
    )
    case_agrees = (
        root.uri is None or delegate.uri is None or root.ignore_uri_case == delegate.ignore_uri_case
    )
    return (
        case_agrees
        and all(_narrows(wide, narrow) for wide, narrow in fields)
        and _all_narrow(root.headers, delegate.headers)
        and _all_narrow(root.query_params, delegate.query_params)
        and _all_equal(root.without_headers, delegate.without_headers)
        and (not root.port or not delegate.port or root.port == delegate.port)
    )


def _all_narrow(root: Mapping[str, StringMatch], delegate: Mapping[str, StringMatch]) -> bool:
    return all(_narrows(root.get(name), narrow) for name, narrow in delegate.items())


def _all_equal(root: Mapping[str, StringMatch], delegate: Mapping[str, StringMatch]) -> bool:
    """Of what must be absent, a delegate cannot say something else than its root."""
    return all(root.get(name, narrow) == narrow for name, narrow in delegate.items())


def _narrows(root: StringMatch | None, delegate: StringMatch | None) -> bool:
    """Regular expressions cannot be compared: only equal ones agree."""
    if root is None or delegate is None or root == delegate or root == StringMatch():
        return True
    if root.prefix is None:
        return False
    value = delegate.exact if delegate.exact is not None else delegate.prefix
    return value is not None and value.startswith(root.prefix)
