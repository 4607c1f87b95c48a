"""``argosy authz``: who may call a workload, by the policies that its proxy has."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

import typer

from argosy.api.core_pod import Pod
from argosy.api.decode import decode_json
from argosy.base.names import Hostname
from argosy.cli.authz_token import TokenRefusedError, accepted, claims_of, read_token
from argosy.cli.client import ApiClient, CliError, Json, find_pod, name_of, namespace_of
from argosy.cli.options import MeshOption, NamespaceOption, WorkloadArgument
from argosy.cli.output import outlive_readers, show_table
from argosy.cli.places import Places
from argosy.cli.snapshot import Snapshot
from argosy.model.authz import Action, Policy, Rule
from argosy.model.policy_scope import Attached, Everyone, Selected
from argosy.model.proxy import Role
from argosy.model.request_authn import JwtRule
from argosy.model.service import Protocol, Service
from argosy.model.workload import Endpoint
from argosy.pilot.compile import endpoints
from argosy.pilot.compile.normalized_path import PathRefusedError, normalization, normalized
from argosy.pilot.compile.request_authn import rules_of
from argosy.pilot.compile.roles import role_of
from argosy.pilot.compile.verdict import Connection, Request, Verdict, verdict

app = typer.Typer(help="Who may call whom, and by which policy.", no_args_is_help=True)

_ORDER = (Action.CUSTOM, Action.AUDIT, Action.DENY, Action.ALLOW)


@app.command("check")
def check(
    workload: WorkloadArgument,
    namespace: NamespaceOption = "default",
    mesh: MeshOption = "default",
) -> None:
    """The policies that hold for a workload, in the order in which they decide."""
    with ApiClient(mesh) as client:
        pod = find_pod(client, workload, namespace)
        snapshot, places = Snapshot.read(client), Places(client, "AuthorizationPolicy")
    outlive_readers()
    found = snapshot.policies(role(pod))
    ordered = sorted(found, key=lambda p: (_ORDER.index(p.action), p.object))
    rows = [row(policy, places) for policy in ordered]
    show_table(("ACTION", "POLICY", "RULES", "FOR", "WHERE"), rows)
    typer.echo(conclusion(found))


def row(policy: Policy, places: Places) -> tuple[str, ...]:
    action = policy.action.value
    if policy.action is Action.CUSTOM:
        action += f" by {policy.provider}"
    if policy.dry_run:
        action += " (dry run)"
    key = policy.object
    return (
        action,
        f"{key.namespace}/{key.name}",
        str(len(policy.rules)),
        scope(policy),
        str(places.of(key.kind, key.namespace, key.name)) or "-",
    )


def scope(policy: Policy) -> str:
    match policy.scope:
        case Everyone():
            return "everyone"
        case Selected(labels):
            return ",".join(f"{name}={value}" for name, value in labels)
        case Attached(gateways):
            return "gateways " + ", ".join(gateways)


def conclusion(policies: Sequence[Policy]) -> str:
    in_force = {policy.action for policy in policies if not policy.dry_run}
    if Action.ALLOW in in_force:
        return "Only what an ALLOW policy allows may pass."
    if in_force & {Action.DENY, Action.CUSTOM}:
        return "What none of them refuses may pass: there is no ALLOW policy."
    return "Everything may pass: there is no policy in force."


@dataclass(frozen=True, slots=True)
class Called:
    """One workload behind the URL, and how it is reached."""

    pod: Json
    endpoint: Endpoint
    http: bool


@app.command("can")
def can(
    source: WorkloadArgument,
    method: Annotated[str, typer.Argument(help="GET, POST ...")],
    url: Annotated[str, typer.Argument(help="http://SERVICE[.NAMESPACE][:PORT]/PATH")],
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", help="A header: 'x-token: admin'.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option("--token", help="A file with the end user's token; - is standard input."),
    ] = None,
    claim: Annotated[
        list[str] | None,
        typer.Option("--claim", help="A claim of an accepted token: groups=admin,dev; iss=..."),
    ] = None,
    namespace: NamespaceOption = "default",
    mesh: MeshOption = "default",
) -> None:
    """Whether a workload may make a request, and which rule decides. Exit code 1: it may not.

    The path is read as the proxy normalizes it. Without --token and --claim no end user is known.
    """
    if token is not None and claim:
        raise CliError("--token and --claim exclude each other", "Write one of them", code=2)
    claims = claims_of(claim or ())
    given = None if token is None else read_token(token)
    target = urlsplit(url)
    if target.scheme != "http" or not target.hostname:
        raise CliError(
            f"{url!r} is not an http URL of a service", "Write http://reviews:9080/", code=2
        )
    headers = tuple(parsed(text) for text in header or ())
    with ApiClient(mesh) as client:
        pod = find_pod(client, source, namespace)
        snapshot, places = Snapshot.read(client), Places(client, "AuthorizationPolicy")
    outlive_readers()
    allowed = True
    for called in reached(snapshot, target, namespace_of(pod)):
        where = name_of(called.pod)
        try:
            request = None
            if called.http:
                known = claims if given is None else accepted(given, rules(snapshot, called.pod))
                asked = normalized(path(target), normalization(snapshot.settings(role(called.pod))))
                request = Request(method, target.netloc, asked, headers, known)
        except (PathRefusedError, TokenRefusedError) as refusal:
            allowed = False
            answered = "401, " if isinstance(refusal, TokenRefusedError) else ""
            typer.echo(f"{where}: denied before any policy: {answered}{refusal}")
            continue
        answer = verdict(
            snapshot.authorization(role(called.pod)),
            connection(snapshot, pod, called.endpoint),
            request,
        )
        allowed = allowed and answer.allowed
        typer.echo(f"{where}: {told(answer, places)}")
    raise typer.Exit(0 if allowed else 1)


def rules(snapshot: Snapshot, pod: Json) -> tuple[JwtRule, ...]:
    """What a workload demands of tokens."""
    labels = pod["metadata"].get("labels") or {}
    return rules_of(snapshot.token_policies(namespace_of(pod), labels))


def parsed(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name:
        raise CliError(f"{text!r} is not a header", "Write -H 'x-token: admin'", code=2)
    return name.strip().lower(), value.strip()


def path(target: SplitResult) -> str:
    return (target.path or "/") + (f"?{target.query}" if target.query else "")


def reached(snapshot: Snapshot, target: SplitResult, namespace: str) -> list[Called]:
    """The workloads behind a URL, one for each policy set; raises CliError if there are none."""
    port = target.port or 80
    service = service_named(snapshot, target.hostname or "", namespace)
    if service is None:
        raise CliError(f"there is no service {target.hostname} for namespace {namespace}")
    service_port = service.get_port(port)
    if service_port is None:
        known = ", ".join(str(one.number) for one in service.ports)
        raise CliError(f"service {service.name} has no port {port}", f"There are: {known}")
    pods = {item["status"].get("podIP"): item for item in snapshot.all("Pod") if "status" in item}
    http = service_port.protocol.is_http or service_port.protocol is Protocol.AUTO
    found: dict[Role, Called] = {}
    for endpoint in snapshot.endpoints(service, port):
        pod = pods.get(endpoint.address)
        if pod is not None:
            found.setdefault(role(pod), Called(pod, endpoint, http))
    if not found:
        raise CliError(f"no workload of this mesh answers for {service.name}:{port}")
    return list(found.values())


def service_named(snapshot: Snapshot, host: str, namespace: str) -> Service | None:
    """As a workload of ``namespace`` finds it by name."""
    for suffix in ("", f".{namespace}.svc.cluster.local", ".svc.cluster.local", ".cluster.local"):
        found = snapshot.service_of_host(Hostname(host.lower() + suffix))
        if found is not None:
            return found
    return None


def connection(snapshot: Snapshot, source: Json, endpoint: Endpoint) -> Connection:
    """With an identity if both ends speak automatic mutual TLS."""
    caller = role(source)
    meshed = "security.istio.io/tlsMode" in (source["metadata"].get("labels") or {})
    own = endpoints.identity(snapshot.trust_domain, caller.namespace, caller.service_account)
    address = source["status"].get("podIP", "")
    return Connection(
        identity=own if meshed and endpoint.mtls else "",
        address=address,
        remote_address=address,
        destination=endpoint.address,
        port=endpoint.port,
    )


def told(answer: Verdict, places: Places) -> str:
    asked = (
        f", if {' and '.join(answer.asked)} allows it" if answer.asked and answer.allowed else ""
    )
    word = "allowed" if answer.allowed else "denied"
    if answer.action is None:
        return f"{word}{asked}: no policy refuses it, and there is no ALLOW policy"
    if answer.rule is None:
        return f"{word}: no ALLOW policy allows it"
    return f"{word}{asked} by {answer.action.value} {named(answer.rule, places)}"


def named(rule: Rule, places: Places) -> str:
    key = rule.policy
    field = f"spec.rules[{rule.index}]"
    where = str(places.of(key.kind, key.namespace, key.name, field)) or "-"
    return f"{key.namespace}/{key.name} {field} ({where})"


def role(pod: Json) -> Role:
    plain = {key: value for key, value in pod.items() if key != "status"}
    for decoded in decode_json(plain, namespace=namespace_of(pod)).objects:
        if isinstance(decoded, Pod):
            return role_of(decoded)
    raise CliError(f"the pod {name_of(pod)} cannot be read", "This is a bug of Argosy: report it.")
