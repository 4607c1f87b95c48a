"""Loads a capture ruleset into the kernel with pyroute2; no ``nft`` binary is needed.

The calling thread must be in the network namespace that the rules are for. Expressions are those
of nf_tables (``nft --debug=netlink`` prints the same for the text form of the ruleset).
"""

import ipaddress
import struct
from typing import Any, assert_never

from pyroute2.nftables import expressions
from pyroute2.nftables.main import NFTables

from argosy.proxy import capture

_NFPROTO_INET = 1
_NFPROTO_IPV4 = 2
_NFPROTO_IPV6 = 10
_REG = 1
_REG_PORT = 2
_VERDICT_REG = 0
_ACCEPT_BY_RETURN = -5
_EQUAL, _NOT_EQUAL = 0, 1
_NETWORK, _TRANSPORT = 1, 2
_META = {"mark": 3, "iifname": 6, "oifname": 7, "nfproto": 15, "l4proto": 16}
_PROTOCOLS = {"tcp": 6, "udp": 17}
_NUMGEN_RANDOM = 1
_DNAT = 1

Expression = dict[str, Any]


def apply(ruleset: capture.Ruleset) -> None:
    """Replace the table of this name in the current namespace by ``ruleset``.

    Raises ``pyroute2.netlink.exceptions.NetlinkError`` when the kernel refuses (no nf_tables, no
    CAP_NET_ADMIN in the namespace).
    """
    with NFTables(nfgen_family=_NFPROTO_INET) as nft:
        nft.table("add", name=ruleset.table)
        nft.table("del", name=ruleset.table)
        nft.table("add", name=ruleset.table)
        for chain in ruleset.chains:
            nft.chain(
                "add",
                table=ruleset.table,
                name=chain.name,
                hook=chain.hook,
                type="nat",
                policy=1,
                priority=chain.priority,
            )
            for rule in chain.rules:
                nft.rule(
                    "add", table=ruleset.table, chain=chain.name, expressions=(_expressions(rule),)
                )


def _expressions(rule: capture.Rule) -> list[Expression]:
    matches = (expression for match in rule.matches for expression in _match(match))
    return [*matches, *_action(rule.action)]


def _match(match: capture.Match) -> list[Expression]:
    match match:
        case capture.Protocol(name):
            return _meta("l4proto", bytes((_PROTOCOLS[name],)))
        case capture.DestinationPort(port):
            return [_payload(_TRANSPORT, 2, 2), _compare(struct.pack("!H", port))]
        case capture.Mark(value):
            return _meta("mark", struct.pack("=I", value))
        case capture.InterfaceOut(name):
            return _meta("oifname", name.encode().ljust(16, b"\0"))
        case capture.InterfaceIn(name):
            return _meta("iifname", name.encode().ljust(16, b"\0"))
        case capture.Source(address):
            return _address(f"{address}/{128 if ':' in address else 32}", source=True)
        case capture.Destination(network, negate):
            return _address(network, source=False, negate=negate)
        case capture.Nth(of):
            return [_number_generator(of), _compare(struct.pack("=I", 0))]
    assert_never(match)


def _action(action: capture.Action) -> list[Expression]:
    match action:
        case capture.Accept():
            code = {"attrs": [("NFTA_VERDICT_CODE", _ACCEPT_BY_RETURN)]}
            data = {"attrs": [("NFTA_DATA_VERDICT", code)]}
            return [_expression("immediate", {"dreg": _VERDICT_REG, "data": data})]
        case capture.Redirect(port):
            return [
                _load(_REG, struct.pack("!H", port)),
                _expression("redir", {"reg_proto_min": _REG}),
            ]
        case capture.TranslateTo(address, port):
            return [
                _load(_REG, ipaddress.ip_address(address).packed),
                _load(_REG_PORT, struct.pack("!H", port)),
                _expression(
                    "nat",
                    {
                        "type": _DNAT,
                        "family": _NFPROTO_IPV4,
                        "reg_addr_min": _REG,
                        "reg_proto_min": _REG_PORT,
                    },
                ),
            ]
    assert_never(action)


def _address(network: str, *, source: bool, negate: bool = False) -> list[Expression]:
    net = ipaddress.ip_network(network)
    if net.version == 4:
        family, offset, length = _NFPROTO_IPV4, 12 if source else 16, 4
    else:
        family, offset, length = _NFPROTO_IPV6, 8 if source else 24, 16
    load = [*_meta("nfproto", bytes((family,))), _payload(_NETWORK, offset, length)]
    if net.prefixlen < net.max_prefixlen:
        load.append(
            _expression(
                "bitwise",
                {
                    "sreg": _REG,
                    "dreg": _REG,
                    "len": length,
                    "mask": _value(net.netmask.packed),
                    "xor": _value(bytes(length)),
                },
            )
        )
    operator = _NOT_EQUAL if negate else _EQUAL
    return [*load, _compare(net.network_address.packed, operator)]


def _meta(key: str, value: bytes) -> list[Expression]:
    return [_expression("meta", {"dreg": _REG, "key": _META[key]}), _compare(value)]


def _expression(name: str, attributes: dict[str, Any]) -> Expression:
    expression: Expression = expressions.genex(name, attributes)
    return expression


def _number_generator(modulus: int) -> Expression:
    attributes = [
        ("NFTA_NG_DREG", _REG),
        ("NFTA_NG_MODULUS", modulus),
        ("NFTA_NG_TYPE", _NUMGEN_RANDOM),
        ("NFTA_NG_OFFSET", 0),
    ]
    return {"attrs": [("NFTA_EXPR_NAME", "numgen"), ("NFTA_EXPR_DATA", {"attrs": attributes})]}


def _payload(base: int, offset: int, length: int) -> Expression:
    return _expression("payload", {"dreg": _REG, "base": base, "offset": offset, "len": length})


def _compare(value: bytes, operator: int = _EQUAL) -> Expression:
    return _expression("cmp", {"sreg": _REG, "op": operator, "data": _value(value)})


def _load(register: int, value: bytes) -> Expression:
    return _expression("immediate", {"dreg": register, "data": _value(value)})


def _value(value: bytes) -> dict[str, Any]:
    return {"attrs": [("NFTA_DATA_VALUE", value)]}
