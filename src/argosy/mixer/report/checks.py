"""The rules of a report, each a function from the facts to outcomes; those need no traffic.

Every object that a rule looked at is an outcome, so that a score can tell shares.
"""

from collections.abc import Iterator, Sequence

from argosy.mixer.report.facts import Facts, Workload
from argosy.mixer.report.findings import (
    ALLOW_ALL,
    ANYONE,
    CERTIFICATE,
    CONFIGURATION,
    DRY_RUN,
    GATEWAY_TLS,
    MTLS_ACCEPTED,
    NO_AUTHORIZATION,
    NO_PROXY,
    NOWHERE,
    REJECTED,
    Finding,
    Outcome,
    Place,
    Severity,
)
from argosy.model.authn import MtlsMode
from argosy.model.authz import Action, Clause, Identity, Policy, Rule, SourceFact
from argosy.model.policy_scope import Attached
from argosy.model.text_match import Text
from argosy.pilot.compile.verdict import matches

_LEVELS = {
    "error": Severity.HIGH,
    "warning": Severity.MEDIUM,
    "notice": Severity.LOW,
    "info": Severity.INFO,
}


def proxies(facts: Facts) -> Iterator[Outcome]:
    for workload in facts.workloads:
        finding = Finding(
            Severity.MEDIUM,
            "it has no proxy",
            "label its namespace istio-injection=enabled, or remove sidecar.istio.io/inject: false",
            workload.place,
        )
        yield Outcome(
            NO_PROXY, workload.namespace, workload.title, None if workload.proxy else finding
        )
    for proxy in facts.proxies:
        refused = None
        if proxy.refuses:
            said = "; ".join(f"{kind}: {words}" for kind, words in proxy.refuses)
            refused = Finding(
                Severity.HIGH,
                f"it refuses what it was sent: {said}",
                "see argosy status, and the status of what was changed last",
            )
        yield Outcome(REJECTED, proxy.namespace, f"Proxy {proxy.namespace}/{proxy.name}", refused)


def plaintext_ports(facts: Facts) -> Iterator[Outcome]:
    """Gateways' own ports are judged by what they serve."""
    for workload in facts.workloads:
        if not workload.proxy or workload.gateway:
            continue
        modes = {port.number: port.mode for port in workload.ports}
        worst = [number for number, mode in modes.items() if mode is MtlsMode.DISABLE]
        lax = [number for number, mode in modes.items() if mode is MtlsMode.PERMISSIVE]
        finding = None
        remedy = (
            f"apply a PeerAuthentication with mtls.mode STRICT in namespace {workload.namespace}, "
            "or in the root namespace for all"
        )
        if worst:
            finding = Finding(
                Severity.HIGH, f"plaintext only at {_ports(worst)}", remedy, workload.place
            )
        elif lax:
            finding = Finding(
                Severity.MEDIUM, f"plaintext is accepted at {_ports(lax)}", remedy, workload.place
            )
        elif not modes and workload.mode is not MtlsMode.STRICT:
            finding = Finding(
                Severity.LOW,
                f"it is {workload.mode.value}: whatever port it opens accepts plaintext",
                remedy,
                workload.place,
            )
        yield Outcome(MTLS_ACCEPTED, workload.namespace, workload.title, finding)


def authorization(facts: Facts) -> Iterator[Outcome]:
    for workload in facts.workloads:
        if not workload.proxy or workload.gateway or not workload.ports:
            continue
        finding = None
        if not closes(workload.policies):
            finding = Finding(
                Severity.HIGH,
                "no ALLOW or CUSTOM policy is in force for it",
                "write the tightest policies that allow what is seen: argosy suggest authz "
                f"-n {workload.namespace} --record 10m",
                workload.place,
            )
        yield Outcome(NO_AUTHORIZATION, workload.namespace, workload.title, finding)


def policies(facts: Facts) -> Iterator[Outcome]:
    """Each ALLOW rule once, however many workloads it holds for."""
    places = dict(facts.places)
    for policy in held(facts.workloads):
        key = policy.object
        title = f"AuthorizationPolicy {key.namespace}/{key.name}"
        place = places.get((key, ""), NOWHERE)
        watched = Finding(
            Severity.INFO,
            "it is in dry run: nothing is enforced",
            "remove the annotation istio.io/dry-run when its results are right",
            place,
        )
        yield Outcome(DRY_RUN, key.namespace, title, watched if policy.dry_run else None)
        if policy.action is not Action.ALLOW or policy.dry_run:
            continue
        for rule in policy.rules:
            what = f"{title} rules[{rule.index}]"
            place = places.get((key, rule_field(rule)), NOWHERE)
            yield from _breadth(policy, rule, what, place, facts.trust_domain)


def gateway_servers(facts: Facts) -> Iterator[Outcome]:
    for server in facts.gateways:
        title = f"Gateway {server.namespace}/{server.gateway} servers[{server.index}]"
        finding = Finding(
            Severity.HIGH,
            f"port {server.port} serves {server.protocol} without TLS",
            "give it a certificate (tls.credentialName, protocol HTTPS), or tls.httpsRedirect",
            server.place,
        )
        yield Outcome(GATEWAY_TLS, server.namespace, title, None if server.encrypted else finding)


def certificates(facts: Facts) -> Iterator[Outcome]:
    for one in facts.certificates:
        finding = None
        if one.level:
            remedy = "see argosy certs; control-plane.log and node.log tell why it is not renewed"
            finding = Finding(_LEVELS[one.level], one.message, remedy)
        yield Outcome(CERTIFICATE, one.namespace, f"Certificate of {one.about}", finding)


def problems(facts: Facts) -> Iterator[Outcome]:
    for checked in facts.objects:
        title = f"{checked.kind} {checked.namespace}/{checked.name}".replace(" /", " ")
        if not checked.problems:
            yield Outcome(CONFIGURATION, checked.namespace, title)
        for problem in checked.problems:
            field = f"{problem.field}: " if problem.field else ""
            words = f"{field}{problem.message} [{problem.code}]"
            finding = Finding(_LEVELS[problem.level], words, problem.hint, problem.place)
            yield Outcome(CONFIGURATION, checked.namespace, title, finding)


CONFIGURED = (
    *(proxies, plaintext_ports, authorization, policies),
    *(gateway_servers, certificates, problems),
)


def held(workloads: Sequence[Workload]) -> tuple[Policy, ...]:
    """Every policy that holds for somebody, once."""
    found = {policy.object: policy for one in workloads for policy in one.policies}
    return tuple(found[key] for key in sorted(found))


def rule_field(rule: Rule) -> str:
    return f"spec.rules[{rule.index}]"


def closes(policies: Sequence[Policy]) -> bool:
    """Whether somebody must be let in before he may pass."""
    return any(
        policy.action in (Action.ALLOW, Action.CUSTOM) and not policy.dry_run for policy in policies
    )


def is_everybody(match: Text, trust_domain: str) -> bool:
    """Whether it holds for all identities of a mesh, however it is written: it is tried with some
    that nobody can have meant."""
    return all(
        matches(match, f"spiffe://{trust_domain}/ns/{namespace}/sa/{account}")
        for namespace, account in _STRANGERS
    )


_STRANGERS = (("a.nobody", "b.no-one"), ("z-somebody", "y-else"))


def _breadth(
    policy: Policy, rule: Rule, title: str, place: Place, trust_domain: str
) -> Iterator[Outcome]:
    namespace = policy.object.namespace
    sources_open = any(not group for group in rule.sources)
    operations_open = any(not group for group in rule.operations)
    everything = Finding(
        Severity.HIGH,
        "it allows everybody everything",
        "name callers in from and what they may do in to",
        place,
    )
    allows_all = sources_open and operations_open
    yield Outcome(ALLOW_ALL, namespace, title, everything if allows_all else None)
    # Who comes from outside has no identity: at gateways other rules say who is meant.
    if isinstance(policy.scope, Attached):
        return
    anyone = Finding(
        Severity.MEDIUM,
        "it names no caller" if sources_open else "its sources take every identity of the mesh",
        "name the service accounts that need it in from.source.principals",
        place,
    )
    broad = sources_open or any(_takes_everybody(one, trust_domain) for one in rule.sources)
    yield Outcome(ANYONE, namespace, title, anyone if broad and not allows_all else None)


def _takes_everybody(group: Sequence[Clause[SourceFact]], trust_domain: str) -> bool:
    """Whether no clause of a source narrows who calls."""
    return all(
        not clause.negated
        and any(
            isinstance(fact, Identity) and is_everybody(fact.match, trust_domain)
            for fact in clause.any_of
        )
        for clause in group
    )


def _ports(numbers: Sequence[int]) -> str:
    word = "port" if len(numbers) == 1 else "ports"
    return f"{word} {', '.join(map(str, sorted(numbers)))}"
