"""Which objects are responsible for a failure, by what a record says and what the mesh has. Pure."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from msgspec import structs

from argosy.base.names import Hostname, Namespace, ObjectKey
from argosy.cli.authz import role
from argosy.cli.client import Json, is_ready, name_of, namespace_of
from argosy.cli.snapshot import Snapshot
from argosy.cli.why_suspects import (
    Suspect,
    item_of,
    named,
    port_index,
    readiness,
    selects,
    value_at,
)
from argosy.mixer.records.record import Record
from argosy.mixer.records.words import Blame
from argosy.model.authz import Action, Custom, Policy
from argosy.model.records import Direction
from argosy.model.route import Exact, Forward, HttpRule, Prefix, Regex, RouteMatch, ValueMatch

_SHOWN = re.compile(r"SAN matcher, certificate SANs are \[([^]]*)\]")
_DENIED = re.compile(r"ns\[(?P<ns>[^]]*)\]-policy\[(?P<name>[^]]*)\]-rule\[(?P<rule>\d+)\]")


def suspects(record: Record, blame: Blame, snapshot: Snapshot) -> tuple[Suspect, ...]:
    """The likeliest first; none where no object of the mesh is the cause, or it is gone."""
    match blame:
        case Blame.ROUTES | Blame.FAULT | Blame.TIMEOUT | Blame.RETRIES | Blame.SUBSET:
            found = _of_routes(record, blame, snapshot)
        case Blame.DESTINATION | Blame.CONNECTION:
            found = _of_destination(record, snapshot)
        case Blame.LIMITS:
            found = _of_rule(record, "connectionPool", snapshot)
        case Blame.TLS:
            found = _of_tls(record, snapshot)
        case Blame.PEER:
            found = _of_peer(record, snapshot)
        case Blame.AUTHORIZATION | Blame.EXTERNAL_AUTHORIZATION | Blame.TOKENS:
            found = _of_policies(record, blame, snapshot)
        case Blame.RATE_LIMIT:
            found = _of_rate_limits(record, snapshot)
        case Blame.UNKNOWN_HOST:
            found = _of_unknown_host(record, snapshot)
        case _:
            return ()
    return tuple(dict.fromkeys(found))


# Routes.


def _of_routes(record: Record, blame: Blame, snapshot: Snapshot) -> Iterator[Suspect]:
    if record.virtual_service:
        namespace, _, name = record.virtual_service.partition("/")
        key = ObjectKey("VirtualService", Namespace(namespace), name)
        rule = rule_of(record, snapshot.rules_of(key))
        found = _of_rule_of_route(record, blame, key, rule)
        if blame is Blame.SUBSET and rule is not None:
            found = replace(found, note=_missing(record, rule, snapshot))
        yield found
    elif blame is Blame.ROUTES:
        yield from _unrouted(record, snapshot)
    elif blame is Blame.TIMEOUT:
        yield from _of_rule(record, "connectionPool", snapshot)
    if blame is Blame.SUBSET:
        for meant in _meant(record, snapshot):
            rule_of_host = item_of(snapshot, "DestinationRule", meant.destination_rule)
            yield from _of_subset(meant, rule_of_host, snapshot)
    elif blame is Blame.RETRIES and record.host:
        yield from _of_destination(record, snapshot)


def _of_rule_of_route(
    record: Record, blame: Blame, key: ObjectKey, rule: HttpRule | None
) -> Suspect:
    where = key if rule is None else rule.source.object
    field = "spec.http" if rule is None else rule.source.field
    note = ""
    match blame:
        case Blame.FAULT:
            field += ".fault.abort" if "FI" in record.flags else ".fault.delay"
        case Blame.TIMEOUT:
            attempt = record.details == "upstream_per_try_timeout"
            field += ".retries.perTryTimeout" if attempt else ".timeout"
            note = f"it took {record.duration / 1000:.1f} s"
        case Blame.RETRIES:
            field += ".retries"
            note = f"{record.attempts} attempts were made"
        case Blame.SUBSET:
            field += ".route"
        case _:
            pass
    return Suspect("VirtualService", where.namespace, where.name, field, note)


def _missing(record: Record, rule: HttpRule, snapshot: Snapshot) -> str:
    """What is not there of that to which a rule leads."""
    for one in rule.action.destinations if isinstance(rule.action, Forward) else ():
        host, subset = one.destination.host, one.destination.subset
        if snapshot.service_of_host(Hostname(host)) is None:
            return f"the mesh has no host {host}"
        if subset and snapshot.policy(Hostname(host), record.reporter.namespace) is None:
            return f"no DestinationRule is there for {host}, so it has no subset {subset}"
    return ""


def rule_of(record: Record, rules: Iterable[HttpRule]) -> HttpRule | None:
    """The rule that the request followed, as far as method, path and destination tell."""
    possible = [rule for rule in rules if _may_have_led(record, rule)]
    named = [rule for rule in possible if _is_named(rule, record.route)]
    return next(iter(named or possible), None)


def _is_named(rule: HttpRule, route: str) -> bool:
    names = {".".join(p for p in (rule.name, match.name) if p) for match in rule.matches}
    return bool(route) and route in names


def _may_have_led(record: Record, rule: HttpRule) -> bool:
    if not any(_may_match(record, match.request) for match in rule.matches):
        return False
    if not record.host or not isinstance(rule.action, Forward):
        return True
    return any(
        (one.destination.host, one.destination.subset) == (record.host, record.subset)
        for one in rule.action.destinations
    )


def _may_match(record: Record, match: RouteMatch) -> bool:
    pseudo = {":method": record.method, ":authority": record.authority}
    return _fits(match.path, record.path, match.case_sensitive) and all(
        header.name not in pseudo or _fits(header.value, pseudo[header.name]) != header.invert
        for header in match.headers
    )


def _fits(match: ValueMatch, text: str, case_sensitive: bool = True) -> bool:
    match match:
        case Exact(value):
            return text == value if case_sensitive else text.lower() == value.lower()
        case Prefix(value):
            return (
                text.startswith(value) if case_sensitive else text.lower().startswith(value.lower())
            )
        case Regex(value):
            try:
                return re.fullmatch(value, text) is not None
            except re.error:
                return True
    return True


def _unrouted(record: Record, snapshot: Snapshot) -> Iterator[Suspect]:
    """A request that no route matches: the rules of its host, or whoever should have some."""
    host = record.authority.partition(":")[0].lower()
    note = f"no rule matches {record.method} {record.path}"
    if record.direction is Direction.GATEWAY:
        labels = record.reporter.labels.items()
        for gateway in snapshot.all("Gateway"):
            selector: dict[str, str] = gateway["spec"].get("selector") or {}
            if not selector.items() <= labels:
                continue
            name = f"{namespace_of(gateway)}/{name_of(gateway)}"
            bound = [one for one in snapshot.bound_to(name) if _is_for(one.hosts, host)]
            for one in bound:
                where = one.object
                yield Suspect("VirtualService", where.namespace, where.name, "spec.http", note)
            if not bound:
                why = f"no VirtualService for {host} is bound to it"
                yield Suspect("Gateway", namespace_of(gateway), name_of(gateway), "", why)
        return
    namespace = record.reporter.namespace
    found = _service_host(snapshot, host, namespace)
    owner = None if found is None else snapshot.routing(found, namespace)
    if owner is not None:
        yield Suspect("VirtualService", owner.namespace, owner.name, "spec.http", note)


def _is_for(hosts: Iterable[str], host: str) -> bool:
    return any(
        one in ("*", host) or (one.startswith("*.") and host.endswith(one[1:])) for one in hosts
    )


def _service_host(snapshot: Snapshot, host: str, namespace: str) -> Hostname | None:
    for suffix in ("", f".{namespace}.svc.cluster.local", ".svc.cluster.local", ".cluster.local"):
        if snapshot.service_of_host(Hostname(host + suffix)) is not None:
            return Hostname(host + suffix)
    return None


# Destinations.


def _of_destination(record: Record, snapshot: Snapshot) -> Iterator[Suspect]:
    if record.direction is Direction.INBOUND:
        yield from _of_own_service(record, snapshot)
        return
    if not record.host:
        # Envoy names no cluster where it chose no endpoint: what the route would have led to.
        for meant in _meant(record, snapshot):
            yield from _of_destination(meant, snapshot)
        return
    service = snapshot.service_of_host(Hostname(record.host)) if record.host else None
    rule = item_of(snapshot, "DestinationRule", record.destination_rule)
    if record.subset:
        yield from _of_subset(record, rule, snapshot)
    elif rule is not None and "UH" in record.flags and _ejects(rule):
        field = "spec.trafficPolicy.outlierDetection"
        yield named(rule, field, "it may have taken them all out after failures")
    if service is None:
        return
    kind = "Service" if item_of(snapshot, "Service", f"{service.namespace}/{service.name}") else ""
    if not kind:
        yield from _of_entry(record, snapshot)
        return
    port = f"spec.ports[{port_index(snapshot, service.namespace, service.name, record.port)}]"
    refused = bool(record.upstream_address)
    note = f"{record.upstream_address} was dialled" if refused else readiness(service, snapshot)
    yield Suspect(
        "Service", service.namespace, service.name, port if refused else "spec.selector", note
    )


def _meant(record: Record, snapshot: Snapshot) -> Iterator[Record]:
    """The record for each destination that its route has, or for the service that it names."""
    if record.direction is Direction.INBOUND:
        for service in snapshot.services_of(record.reporter.namespace, record.reporter.labels):
            yield _to(record, snapshot, service.hostname, "", record.port)
        return
    host, _, port = record.authority.lower().partition(":")
    number = int(port) if port.isdecimal() else 80
    namespace = record.reporter.namespace
    targets: list[tuple[str, str, int]] = []
    if record.virtual_service:
        of, _, name = record.virtual_service.partition("/")
        key = ObjectKey("VirtualService", Namespace(of), name)
        rule = rule_of(record, snapshot.rules_of(key))
        if rule is not None and isinstance(rule.action, Forward):
            targets = [
                (one.destination.host, one.destination.subset, one.destination.port or number)
                for one in rule.action.destinations
            ]
    elif found := _service_host(snapshot, host, namespace):
        targets = [(found, "", number)]
    for target, subset, its_port in targets:
        yield _to(record, snapshot, target, subset, its_port)


def _to(record: Record, snapshot: Snapshot, host: str, subset: str, port: int) -> Record:
    """The record as if the proxy had said that it meant this destination."""
    chosen = snapshot.policy(Hostname(host), record.reporter.namespace)
    rule = f"{chosen.rule.namespace}/{chosen.rule.name}" if chosen else ""
    return structs.replace(record, host=host, subset=subset, port=port, destination_rule=rule)


def _ejects(rule: Json) -> bool:
    return "outlierDetection" in (rule["spec"].get("trafficPolicy") or {})


def _of_subset(record: Record, rule: Json | None, snapshot: Snapshot) -> Iterator[Suspect]:
    if rule is None:
        return
    for index, subset in enumerate(rule["spec"].get("subsets") or ()):
        if subset.get("name") != record.subset:
            continue
        labels: dict[str, str] = subset.get("labels") or {}
        service = snapshot.service_of_host(Hostname(record.host))
        home = service.namespace if service else namespace_of(rule)
        selector = {**(dict(service.selector) if service else {}), **labels}
        pods = [pod for pod in snapshot.all("Pod") if selects(pod, home, selector)]
        ready = sum(map(is_ready, pods))
        wanted = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
        note = f"subset {record.subset} ({wanted}): {ready} of {len(pods)} pods are ready"
        yield named(rule, f"spec.subsets[{index}].labels", note)
        return
    yield named(rule, "spec.subsets", f"it has no subset {record.subset}")


def _of_own_service(record: Record, snapshot: Snapshot) -> Iterator[Suspect]:
    """The application beside the proxy: the services that lead to its port."""
    port = (record.upstream_address or record.server_address).rpartition(":")[2]
    note = f"the proxy dialled the application at port {port}"
    for service in snapshot.services_of(record.reporter.namespace, record.reporter.labels):
        item = item_of(snapshot, "Service", f"{service.namespace}/{service.name}")
        for index, one in enumerate(item["spec"].get("ports") or () if item else ()):
            target = one.get("targetPort", one.get("port"))
            if item and (str(target) == port or not str(target).isdigit()):
                yield named(item, f"spec.ports[{index}].targetPort", note)


def _of_entry(record: Record, snapshot: Snapshot) -> Iterator[Suspect]:
    for entry in snapshot.all("ServiceEntry"):
        if record.host in (entry["spec"].get("hosts") or ()):
            note = f"{record.upstream_address} was dialled" if record.upstream_address else ""
            yield named(entry, "spec", note)


def _of_rule(record: Record, part: str, snapshot: Snapshot) -> Iterator[Suspect]:
    """The DestinationRule that was followed, where it says something of ``part``."""
    rule = item_of(snapshot, "DestinationRule", record.destination_rule)
    if rule is None:
        if not record.destination_rule and not record.host:
            for meant in _meant(record, snapshot):
                if meant.destination_rule:
                    yield from _of_rule(meant, part, snapshot)
        return
    spec = rule["spec"]
    for index, subset in enumerate(spec.get("subsets") or ()):
        if subset.get("name") == record.subset and part in (subset.get("trafficPolicy") or {}):
            yield named(rule, f"spec.subsets[{index}].trafficPolicy.{part}")
            return
    policy: Json = spec.get("trafficPolicy") or {}
    for index, port in enumerate(policy.get("portLevelSettings") or ()):
        if (port.get("port") or {}).get("number") == record.port and part in port:
            yield named(rule, f"spec.trafficPolicy.portLevelSettings[{index}].{part}")
            return
    yield named(rule, f"spec.trafficPolicy.{part}" if part in policy else "")


def _of_tls(record: Record, snapshot: Snapshot) -> Iterator[Suspect]:
    names = _SHOWN.search(record.transport_failure)
    for one in _of_rule(record, "tls", snapshot):
        rule = item_of(snapshot, one.kind, f"{one.namespace}/{one.name}")
        said = value_at(rule, one.field) if rule is not None and one.field else {}
        expected = ("subjectAltNames",) if names else ("caCertificates", "credentialName")
        field = next((f"{one.field}.{key}" for key in expected if key in said), one.field)
        yield replace(one, field=field, note=_shown(names[1]) if names else "")
    if not record.destination_rule:
        yield from _of_destination(record, snapshot)


def _shown(names: str) -> str:
    """The names in a certificate, without the facts that the mesh's own carry too."""
    known = [name for name in names.split(", ") if ";" not in name]
    return f"the certificate that it got is for {', '.join(known) or 'nobody'}"


# What a workload demands of its callers.


def _of_peer(record: Record, snapshot: Snapshot) -> Iterator[Suspect]:
    """The PeerAuthentications that hold for the workload, the narrowest first."""
    reporter = record.reporter
    port = record.server_address.rpartition(":")[2]
    found: list[tuple[int, str, Suspect]] = []
    for item in snapshot.all("PeerAuthentication"):
        spec: Json = item.get("spec") or {}
        labels: dict[str, str] = (spec.get("selector") or {}).get("matchLabels") or {}
        wide = not labels
        own = namespace_of(item) == reporter.namespace
        if not own and not (wide and namespace_of(item) == snapshot.root_namespace):
            continue
        if not labels.items() <= reporter.labels.items():
            continue
        ports: Json = spec.get("portLevelMtls") or {}
        of_port = (ports.get(port) or {}).get("mode")
        mode = of_port or (spec.get("mtls") or {}).get("mode")
        if mode in (None, "UNSET"):
            continue
        field = f'spec.portLevelMtls["{port}"]' if of_port else "spec.mtls.mode"
        rank = 0 if labels else 1 if own else 2
        suspect = named(item, field, f"it demands {mode}")
        found.append((rank, item["metadata"].get("creationTimestamp", ""), suspect))
    yield from (suspect for _, _, suspect in sorted(found, key=lambda one: one[:2])[:1])
    yield from _of_rule(record, "tls", snapshot)


def _of_policies(record: Record, blame: Blame, snapshot: Snapshot) -> Iterator[Suspect]:
    text = record.details + record.termination
    if matched := _DENIED.search(text):
        kind, index = "AuthorizationPolicy", matched["rule"]
        item = item_of(snapshot, kind, f"{matched['ns']}/{matched['name']}")
        rules = ((item or {}).get("spec") or {}).get("rules") or ()
        note = ""
        if int(index) < len(rules) and "notRequestPrincipals" in str(rules[int(index)]):
            note = "it wants a valid token, and the request has none"
        yield Suspect(kind, matched["ns"], matched["name"], f"spec.rules[{index}]", note)
        return
    if blame is Blame.TOKENS:
        reporter = record.reporter
        for policy in snapshot.token_policies(reporter.namespace, reporter.labels):
            where = policy.object
            yield Suspect("RequestAuthentication", where.namespace, where.name, "spec.jwtRules")
        return
    pod = item_of(snapshot, "Pod", f"{record.reporter.namespace}/{record.reporter.pod}")
    if pod is None:
        return
    if blame is Blame.EXTERNAL_AUTHORIZATION:
        checks = snapshot.authorization(role(pod))
        for custom in (checks.http if record.is_http else checks.tcp).custom:
            yield from _of_authorizer(custom, "ext_authz_error" in text, snapshot)
        return
    for allowing in snapshot.policies(role(pod)):
        if allowing.action is Action.ALLOW and not allowing.dry_run:
            yield _of_policy(allowing, "none of its rules allows the request")


def _of_policy(policy: Policy, note: str) -> Suspect:
    where = policy.object
    return Suspect(where.kind, where.namespace, where.name, "spec.rules", note)


def _of_authorizer(custom: Custom, failed: bool, snapshot: Snapshot) -> Iterator[Suspect]:
    """The policies that have it asked, and where it should be if it ``failed`` to answer."""
    for policy in custom.policies:
        yield _of_policy(policy, f"it asks MeshConfig's provider {custom.provider}")
    if custom.authorizer is None or not failed:
        return
    cluster, seconds = custom.authorizer.cluster, custom.authorizer.timeout.total_seconds()
    service = snapshot.service_of_host(Hostname(cluster.host))
    if service is None or not item_of(snapshot, "Service", f"{service.namespace}/{service.name}"):
        return
    index = port_index(snapshot, service.namespace, service.name, cluster.port)
    note = f"{custom.provider} is asked at this port, for at most {seconds:g} s"
    field = f"spec.ports[{index}]"
    ready = readiness(service, snapshot)
    yield Suspect("Service", service.namespace, service.name, field, f"{note}; {ready}")


def _of_rate_limits(record: Record, snapshot: Snapshot) -> Iterator[Suspect]:
    """What could have limited it: RateLimits, and EnvoyFilters that speak of rate limits."""
    where = (record.reporter.namespace, snapshot.root_namespace)
    for kind in ("RateLimit", "EnvoyFilter"):
        for item in snapshot.all(kind):
            spec: Json = item.get("spec") or {}
            if namespace_of(item) not in where:
                continue
            if kind == "EnvoyFilter" and "ratelimit" not in str(spec).lower().replace("_", ""):
                continue
            selector: Json = spec.get("selector") or spec.get("workloadSelector") or {}
            labels: dict[str, str] = selector.get("matchLabels") or selector.get("labels") or {}
            if labels.items() <= record.reporter.labels.items():
                yield named(item, "spec")


def _of_unknown_host(record: Record, snapshot: Snapshot) -> Iterator[Suspect]:
    for sidecar in snapshot.all("Sidecar"):
        spec: Json = sidecar.get("spec") or {}
        labels: dict[str, str] = (spec.get("workloadSelector") or {}).get("labels") or {}
        if namespace_of(sidecar) == record.reporter.namespace and (
            labels.items() <= record.reporter.labels.items()
        ):
            field = "spec.outboundTrafficPolicy"
            yield named(sidecar, field if "outboundTrafficPolicy" in spec else "spec.egress")
    if item_of(snapshot, "ConfigMap", f"{snapshot.root_namespace}/istio"):
        note = "meshConfig.outboundTrafficPolicy"
        yield Suspect("ConfigMap", snapshot.root_namespace, "istio", "data.mesh", note)
