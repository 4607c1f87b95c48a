"""VirtualServices → what they claim, and their HTTP rules in normal form.

Normal form: host names complete, delegates merged in, defaults applied. Which clients and ports
a rule is for stays in it, because one VirtualService serves them all.
https://istio.io/latest/docs/reference/config/networking/virtual-service/
"""

from dataclasses import replace

from msgspec import structs

from argosy.api.networking_virtual_service import HTTPRetry, VirtualService
from argosy.base.names import Hostname
from argosy.base.problems import Compiled
from argosy.model.route import (
    MESH,
    Attachment,
    Forward,
    HttpRule,
    Prefix,
    Regex,
    RuleMatch,
    StringMatch,
)
from argosy.model.tcp_route import TcpRule
from argosy.model.workload import Labels
from argosy.pilot.compile.actions import action, cors, fault, with_authority
from argosy.pilot.compile.attachments import EVERYWHERE, exported_namespaces
from argosy.pilot.compile.delegates import FindDelegate, Written, written_rules
from argosy.pilot.compile.header_operations import header_operations
from argosy.pilot.compile.hostnames import resolve
from argosy.pilot.compile.matches import gateway_name, rule_match
from argosy.pilot.compile.report import Report


def attachment(vs: VirtualService) -> Compiled[Attachment]:
    """What it claims. ``hosts`` has as many items as ``spec.hosts``, in the same order."""
    report = Report(vs.key)
    namespace = vs.key.namespace
    gateways = frozenset(gateway_name(name, namespace) for name in vs.spec.gateways)
    hosts = tuple(resolve(host, namespace) for host in vs.spec.hosts)
    if MESH in (gateways or {MESH}) and "*" in hosts:
        report.at(f"spec.hosts[{hosts.index(resolve('*', namespace))}]").error(
            "WildcardHostOnMesh",
            "the host * is for gateways only, so sidecars do not apply these rules to it",
            "name the hosts, or bind the VirtualService to a gateway",
        )
    value = Attachment(
        object=vs.key,
        hosts=hosts,
        gateways=gateways or frozenset({MESH}),
        export_to=exported_namespaces(vs),
        created=vs.metadata.creation_timestamp,
        http=bool(vs.spec.http),
        opaque=bool(vs.spec.tcp or vs.spec.tls),
    )
    return Compiled(value, tuple(report.problems))


def with_defaults(
    vs: VirtualService, export_to: tuple[str, ...], retry: HTTPRetry | None
) -> VirtualService:
    """With the mesh's ``exportTo`` and retries, where the object says nothing of them."""
    spec = vs.spec
    if not spec.export_to and export_to != (EVERYWHERE,):
        spec = structs.replace(spec, export_to=export_to)
    if retry is not None:
        http = tuple(
            route if route.retries is not None else structs.replace(route, retries=retry)
            for route in spec.http
        )
        spec = structs.replace(spec, http=http)
    return vs if spec is vs.spec else structs.replace(vs, spec=spec)


def source_selectors(vs: VirtualService) -> frozenset[Labels]:
    """The label sets by which its rules tell clients apart: they become a Scope's classes."""
    return frozenset(
        tuple(sorted(match.source_labels.items()))
        for route in vs.spec.http
        for match in route.match
        if match.source_labels
    )


def destinations_of(
    http: tuple[HttpRule, ...], tcp: tuple[TcpRule, ...]
) -> frozenset[tuple[Hostname, int | None]]:
    """The hosts that rules send requests, copies of them or connections to, with port if given."""
    found = [weighted.destination for rule in tcp for weighted in rule.destinations]
    for rule in http:
        if isinstance(rule.action, Forward):
            found += [weighted.destination for weighted in rule.action.destinations]
            found += [mirror.destination for mirror in rule.action.mirrors]
    return frozenset((destination.host, destination.port) for destination in found)


def compile_virtual_service(
    vs: VirtualService, delegates: FindDelegate
) -> Compiled[tuple[HttpRule, ...]]:
    """Its HTTP rules in order. A rule that cannot be is left out, and said why."""
    report = Report(vs.key)
    gateways = attachment(vs).value.gateways
    rules = tuple(
        rule
        for written in written_rules(vs, delegates, report)
        if (rule := _rule(vs, written, gateways, report)) is not None
    )
    _warn_of_unreachable(rules, report)
    return Compiled(rules, tuple(report.problems))


def _rule(
    vs: VirtualService, written: Written, gateways: frozenset[str], report: Report
) -> HttpRule | None:
    place = report.elsewhere(written.origin)
    route = written.route
    does = action(route, written.namespace, place)
    if does is None:
        return None
    matches = tuple(
        rule_match(match, gateways, vs.key.namespace, place.at(f"match[{index}]"))
        for index, match in enumerate(route.match)
    )
    operations, authority = header_operations(route.headers, place.at("headers"))
    return HttpRule(
        virtual_service=vs.key,
        source=written.origin,
        matches=matches or (RuleMatch(),),
        action=with_authority(does, authority),
        name=route.name,
        headers=operations,
        fault=fault(route.fault, place.at("fault")),
        cors=cors(route.cors_policy),
    )


def _warn_of_unreachable(rules: tuple[HttpRule, ...], report: Report) -> None:
    """Rules are tried in order, so one that an earlier one covers is never reached."""
    earlier: list[tuple[RuleMatch, HttpRule]] = []
    for rule in rules:
        place = report.elsewhere(rule.source)
        for match in rule.matches:
            covering = next((e for e in earlier if _covers(e[0], match)), None)
            if covering is not None and not _seen_alone(covering[1], covering[0], rule, match):
                place.at(match.field).warning(
                    "UnreachableRule",
                    f"never reached: {_place(covering[1], covering[0], rule)} before it "
                    "takes all these requests",
                    "put the more specific match first",
                )
            earlier.append((match, rule))


def _seen_alone(
    earlier_rule: HttpRule, earlier: RuleMatch, later_rule: HttpRule, later: RuleMatch
) -> bool:
    """Whether a look at the one object found it already: no match at all, or twice the same."""
    if earlier_rule.source.object != later_rule.source.object:
        return False
    if not earlier.field:
        return True
    bare = replace(earlier, name="", stat_prefix="", field="")
    return bare == replace(later, name="", stat_prefix="", field="")


def _place(rule: HttpRule, match: RuleMatch, seen_from: HttpRule) -> str:
    place = ".".join(part for part in (rule.source.field, match.field) if part)
    other = rule.source.object != seen_from.source.object
    return f"{place} of {rule.source.object}" if other else place


def _covers(earlier: RuleMatch, later: RuleMatch) -> bool:
    """Whether ``earlier`` takes every request that ``later`` would; False when in doubt."""
    return (
        earlier.port in (None, later.port)
        and (not earlier.gateways or earlier.gateways >= later.gateways > frozenset())
        and set(earlier.source_labels) <= set(later.source_labels)
        and earlier.source_namespace in ("", later.source_namespace)
        and set(earlier.request.headers) <= set(later.request.headers)
        and set(earlier.request.queries) <= set(later.request.queries)
        and set(earlier.request.claims) <= set(later.request.claims)
        and _path_covers(earlier, later)
    )


def _path_covers(earlier: RuleMatch, later: RuleMatch) -> bool:
    one, other = earlier.request, later.request
    if one.path in (Prefix("/"), Regex(".*")):
        return True
    if one.case_sensitive and not other.case_sensitive:
        return False
    if one.path == other.path:
        return True
    if not isinstance(one.path, Prefix) or isinstance(other.path, Regex):
        return False
    return _text(other.path, one.case_sensitive).startswith(_text(one.path, one.case_sensitive))


def _text(path: StringMatch, case_sensitive: bool) -> str:
    return path.value if case_sensitive else path.value.lower()
