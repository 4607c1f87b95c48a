"""Which packets of a workload go through its proxy: rules as values, no I/O.

In: ports and marks. Out: a ``Ruleset`` for one network namespace, to be loaded by
``capture_nft`` and printable as ``nft -f`` text. The rules are Istio's REDIRECT mode
(https://github.com/istio/istio/tree/master/tools/istio-iptables) said in nftables: outbound TCP to
one port of Envoy (15001), inbound TCP to another (15006), DNS to the agent; Envoy's own traffic is known by its socket mark.
"""

from dataclasses import dataclass
from typing import assert_never

from argosy.model.proxy_traffic import USUAL_CAPTURE, CapturePorts

DNS_PORT = 15053
PROXY_DNS_PORT = 15054
"""Where Envoy resolves names: those of ServiceEntries mean their servers there, not themselves."""
ENVOY_MARK = 0x539
"""On every socket that Envoy opens towards other workloads."""
BYPASS_MARK = 0x53A
"""On sockets of the agent, such as probes: they reach the application directly."""
INBOUND_SOURCE = "127.0.0.6"
"""Where Envoy's connections to its own application come from, as in Istio."""
OWN_PORTS = (15000, 15008, 15020, 15021, 15053, 15054, 15090)
"""What proxy and agent serve themselves: never captured."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """``tcp``, ``udp`` or ``sctp``."""

    name: str


@dataclass(frozen=True, slots=True)
class DestinationPort:
    port: int


@dataclass(frozen=True, slots=True)
class Mark:
    value: int


@dataclass(frozen=True, slots=True)
class InterfaceOut:
    name: str


@dataclass(frozen=True, slots=True)
class InterfaceIn:
    name: str


@dataclass(frozen=True, slots=True)
class DestinationPorts:
    """From the first to the last, both too."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Reply:
    """Packets of a connection that the other side began, and errors about one's own packets."""


@dataclass(frozen=True, slots=True)
class Source:
    """An IPv4 or IPv6 network, or an address; with ``negate`` all but it."""

    network: str
    negate: bool = False


@dataclass(frozen=True, slots=True)
class Destination:
    """An IPv4 or IPv6 network; with ``negate`` all but it."""

    network: str
    negate: bool = False


@dataclass(frozen=True, slots=True)
class Nth:
    """One in ``of`` packets that come here: random choice among the following targets."""

    of: int


@dataclass(frozen=True, slots=True)
class Opening:
    """The first packet of a TCP connection. Only behind ``Protocol("tcp")``."""


@dataclass(frozen=True, slots=True)
class SourceOver:
    """What of one IPv4 address is more than ``per_second``, after a ``burst`` beyond that.

    ``addresses`` is how many are kept apart at once; of further ones nothing is too much. An address
    is forgotten when its burst is whole again. ``name`` is that of the set in the table.
    """

    name: str
    per_second: int
    burst: int
    addresses: int

    @property
    def seconds(self) -> int:
        """How long an address is remembered."""
        return -(-self.burst // self.per_second)


Match = (
    Protocol
    | DestinationPort
    | DestinationPorts
    | Mark
    | InterfaceOut
    | InterfaceIn
    | Source
    | Destination
    | Reply
    | Nth
    | Opening
    | SourceOver
)


@dataclass(frozen=True, slots=True)
class Accept:
    """Leave the packet alone."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """To this port of the namespace itself."""

    port: int


@dataclass(frozen=True, slots=True)
class TranslateTo:
    """Destination NAT to a port of another address (IPv4)."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Only in chains of the type ``filter``."""


Action = Accept | Redirect | TranslateTo | Drop


@dataclass(frozen=True, slots=True)
class Rule:
    """All matches hold: the action is taken and no further rule is looked at."""

    matches: tuple[Match, ...]
    action: Action


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain at ``hook`` (``output`` or ``prerouting``) with this priority.

    ``type`` is ``nat``, which sees only the first packet of a connection, or ``filter``.
    """

    name: str
    hook: str
    priority: int
    rules: tuple[Rule, ...]
    type: str = "nat"


@dataclass(frozen=True, slots=True)
class Ruleset:
    table: str
    chains: tuple[Chain, ...]


@dataclass(frozen=True, slots=True)
class ServiceTarget:
    """A service address as clients dial it, and where its endpoints are."""

    address: str
    port: int
    endpoints: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Interception:
    """What of a workload's traffic its proxy gets; by itself everything. Istio's annotations.

    Networks are CIDR texts, IPv4 or IPv6. ``outbound_networks`` and ``inbound_ports``: None means
    all, empty none. ``outbound_ports`` are captured whatever the network.
    """

    outbound_networks: tuple[str, ...] | None = None
    outbound_networks_excluded: tuple[str, ...] = ()
    outbound_ports: tuple[int, ...] = ()
    outbound_ports_excluded: tuple[int, ...] = ()
    inbound_ports: tuple[int, ...] | None = None
    inbound_ports_excluded: tuple[int, ...] = ()
    interfaces_excluded: tuple[str, ...] = ()

    @property
    def is_partial_outbound(self) -> bool:
        """Whether the workload reaches something past its proxy."""
        return (
            self.outbound_networks is not None
            or bool(self.outbound_networks_excluded)
            or bool(self.outbound_ports_excluded)
            or bool(self.interfaces_excluded)
        )


EVERYTHING = Interception()
_TCP = Protocol("tcp")
_UDP = Protocol("udp")


def _dns() -> tuple[Rule, ...]:
    return (
        Rule((Mark(BYPASS_MARK),), Accept()),
        Rule((_UDP, DestinationPort(53)), Redirect(DNS_PORT)),
        Rule((_TCP, DestinationPort(53)), Redirect(DNS_PORT)),
    )


def sidecar(
    interception: Interception = EVERYTHING, ports: CapturePorts = USUAL_CAPTURE
) -> Ruleset:
    """The rules in the namespace of a workload that has a sidecar.

    The order carries the meaning, and is that of istio-iptables: what is excluded by interface or
    port comes first; Envoy talking to its application, and the agent's sockets, are let through
    before all else is redirected; DNS precedes the loopback exception because resolvers may sit on
    127.0.0.53.
    """
    return Ruleset(
        "argosy",
        (
            Chain("inbound", "prerouting", -100, _inbound(interception, ports)),
            Chain("outbound", "output", -100, _outbound(interception, ports)),
        ),
    )


def _outbound(wanted: Interception, ports: CapturePorts) -> tuple[Rule, ...]:
    networks = wanted.outbound_networks
    return (
        *(Rule((InterfaceOut(name),), Accept()) for name in wanted.interfaces_excluded),
        *(Rule((_TCP, DestinationPort(p)), Accept()) for p in wanted.outbound_ports_excluded),
        Rule((Source(INBOUND_SOURCE),), Accept()),
        Rule(
            (Mark(ENVOY_MARK), InterfaceOut("lo"), Destination("127.0.0.1/32", negate=True), _TCP),
            Redirect(ports.inbound),
        ),
        Rule((Mark(ENVOY_MARK),), Accept()),
        *_dns(),
        Rule((InterfaceOut("lo"), Destination("127.0.0.0/8")), Accept()),
        Rule((InterfaceOut("lo"), Destination("::1/128")), Accept()),
        *(Rule((Destination(n), _TCP), Accept()) for n in wanted.outbound_networks_excluded),
        *(
            Rule((_TCP, DestinationPort(p)), Redirect(ports.outbound))
            for p in wanted.outbound_ports
        ),
        *(
            (Rule((_TCP,), Redirect(ports.outbound)),)
            if networks is None
            else (Rule((Destination(n), _TCP), Redirect(ports.outbound)) for n in networks)
        ),
    )


def _inbound(wanted: Interception, ports: CapturePorts) -> tuple[Rule, ...]:
    """``inbound_ports_excluded`` has a meaning only where all ports are captured, as in Istio."""
    own = (InterfaceIn("lo"),)
    left_alone = (
        Rule(own, Accept()),
        *(Rule((InterfaceIn(name),), Accept()) for name in wanted.interfaces_excluded),
        *(
            Rule((_TCP, DestinationPort(port)), Accept())
            for port in sorted({*OWN_PORTS, ports.inbound})
        ),
    )
    if wanted.inbound_ports is not None:
        taken = wanted.inbound_ports
        return (
            *left_alone,
            *(Rule((_TCP, DestinationPort(p)), Redirect(ports.inbound)) for p in taken),
        )
    return (
        *left_alone,
        *(Rule((_TCP, DestinationPort(p)), Accept()) for p in wanted.inbound_ports_excluded),
        Rule((_TCP,), Redirect(ports.inbound)),
    )


def gateway() -> Ruleset:
    """The rules in the namespace of a gateway: only DNS is captured."""
    return Ruleset("argosy", (Chain("outbound", "output", -100, _dns()),))


def plain(services: tuple[ServiceTarget, ...]) -> Ruleset:
    """The rules of a workload without sidecar: DNS, and service addresses as kube-proxy has them.

    A service without endpoints has no rule, so that connecting to it fails.
    """
    rules = (*_dns(), *_translated(services))
    return Ruleset("argosy", (Chain("outbound", "output", -100, rules),))


_SERVICES = "services"
NO_SERVICES = Ruleset(_SERVICES, ())


def beside_sidecar(services: tuple[ServiceTarget, ...]) -> Ruleset:
    """Service addresses, for what a proxy's rules leave alone, its own connections among it.

    This chain is asked after theirs.
    """
    return Ruleset(_SERVICES, (Chain("outbound", "output", -99, _translated(services)),))


def _translated(services: tuple[ServiceTarget, ...]) -> tuple[Rule, ...]:
    rules = []
    for service in services:
        dialled = (Destination(f"{service.address}/32"), _TCP, DestinationPort(service.port))
        for i, (address, port) in enumerate(service.endpoints):
            remaining = len(service.endpoints) - i
            choice = (Nth(remaining),) if remaining > 1 else ()
            rules.append(Rule((*dialled, *choice), TranslateTo(address, port)))
    return tuple(rules)


def limits(ruleset: Ruleset) -> tuple[SourceOver, ...]:
    """Those in the rules; each has a set of its own in the table."""
    matches = (match for chain in ruleset.chains for rule in chain.rules for match in rule.matches)
    return tuple(dict.fromkeys(match for match in matches if isinstance(match, SourceOver)))


def text(ruleset: Ruleset) -> str:
    """The ruleset as ``nft -f`` reads it: the view for people."""
    lines = [f"table inet {ruleset.table} {{"]
    for limit in limits(ruleset):
        lines += [
            f"  set {limit.name} {{",
            f"    type ipv4_addr; size {limit.addresses}; flags dynamic,timeout; "
            f"timeout {limit.seconds}s;",
            "  }",
        ]
    for chain in ruleset.chains:
        lines.append(f"  chain {chain.name} {{")
        lines.append(
            f"    type {chain.type} hook {chain.hook} priority {chain.priority}; policy accept;"
        )
        lines += [
            "    " + " ".join([*map(_match, rule.matches), _action(rule.action)])
            for rule in chain.rules
        ]
        lines.append("  }")
    return "\n".join([*lines, "}", ""])


def _match(match: Match) -> str:
    match match:
        case Protocol(name):
            return f"meta l4proto {name}"
        case DestinationPort(port):
            return f"th dport {port}"
        case Mark(value):
            return f"meta mark {value:#x}"
        case InterfaceOut(name):
            return f'oifname "{name}"'
        case InterfaceIn(name):
            return f'iifname "{name}"'
        case DestinationPorts(first, last):
            return f"th dport {first}-{last}"
        case Source(network, negate):
            return _network("saddr", network, negate)
        case Destination(network, negate):
            return _network("daddr", network, negate)
        case Reply():
            return "ct direction reply"
        case Nth(of):
            return f"numgen random mod {of} == 0"
        case Opening():
            return "tcp flags & (syn | ack) == syn"
        case SourceOver(name, per_second, burst):
            return (
                f"update @{name} {{ ip saddr timeout {match.seconds}s "
                f"limit rate over {per_second}/second burst {burst} packets }}"
            )
    assert_never(match)


def _network(field: str, network: str, negate: bool) -> str:
    family = "ip6" if ":" in network else "ip"
    return f"{family} {field} {'!= ' if negate else ''}{network}"


def _action(action: Action) -> str:
    match action:
        case Accept():
            return "return"
        case Drop():
            return "drop"
        case Redirect(port):
            return f"redirect to :{port}"
        case TranslateTo(address, port):
            return f"dnat ip to {address}:{port}"
    assert_never(action)
