"""Loads a capture ruleset into the kernel in one step; no ``nft`` binary is needed.

The calling thread must be in the network namespace that the rules are for. Expressions are those
of nf_tables (``nft --debug=netlink`` prints the same for the text form of the ruleset). Messages
are encoded by pyroute2, once for all namespaces: that takes milliseconds a rule.
"""

import contextlib
import functools
import ipaddress
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Any, assert_never

from pyroute2.netlink import NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST, NLMSG_ERROR
from pyroute2.netlink.nfnetlink import NFNL_SUBSYS_NFTABLES, nfgen_msg
from pyroute2.netlink.nfnetlink.nftsocket import (
    NFT_MSG_DELTABLE,
    NFT_MSG_NEWCHAIN,
    NFT_MSG_NEWRULE,
    NFT_MSG_NEWSET,
    NFT_MSG_NEWTABLE,
    nft_chain_msg,
    nft_rule_msg,
    nft_set_msg,
    nft_table_msg,
)
from pyroute2.nftables import expressions

from argosy.proxy import capture

_NFPROTO_INET = 1
_NFPROTO_IPV4 = 2
_NFPROTO_IPV6 = 10
_REG = 1
_REG_PORT = 2
_VERDICT_REG = 0
_ACCEPT_BY_RETURN, _DROP = -5, 0
_EQUAL, _NOT_EQUAL, _AT_MOST, _AT_LEAST = 0, 1, 3, 5
_CT_DIRECTION, _REPLY = 1, 1
_NETWORK, _TRANSPORT = 1, 2
_META = {"mark": 3, "iifname": 6, "oifname": 7, "nfproto": 15, "l4proto": 16}
_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
_HOOKS = {"prerouting": 0, "output": 3}
_TCP_FLAGS, _SYN, _SYN_ACK = 13, b"\x02", b"\x12"
_IPV4_ADDRESS_TYPE = 7
"""By which ``nft`` shows a set's keys; the kernel does not read it."""
_SET_UPDATE = 1
_OVER = 1
_NUMGEN_RANDOM = 1
_DNAT = 1

_NETLINK_NETFILTER = 12
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_HEADER = struct.Struct("=IHHII")
"""Of every netlink message: length, type, flags, sequence number, port."""
_SO_SNDBUFFORCE = 32
_SEND_BUFFER = 8 * 1024 * 1024
_SPARE_BYTES = 1024
_ANSWER_SECONDS = 10.0
_CACHED_MESSAGES = 16384

Expression = dict[str, Any]


def apply(ruleset: capture.Ruleset) -> None:
    """Replace the table of this name in the current namespace by ``ruleset``.

    That is one transaction, and no packet sees anything in between, as long as the rules fit in
    the send buffer: for an ordinary user's mesh that ends at some hundreds of rules.
    Raises OSError when the kernel refuses (no nf_tables, no CAP_NET_ADMIN in the namespace).
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as netlink:
        netlink.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        with contextlib.suppress(PermissionError):
            netlink.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_BUFFER)
        netlink.bind((0, 0))
        netlink.settimeout(_ANSWER_SECONDS)
        room = netlink.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) - _SPARE_BYTES
        for messages in _transactions(_messages(ruleset), room):
            last = len(messages) - 2
            netlink.send(b"".join(_numbered(m, i, ack=i == last) for i, m in enumerate(messages)))
            _receive(netlink, last)


def _transactions(messages: Iterable[bytes], room: int) -> Iterator[list[bytes]]:
    """As few as ``room`` bytes for each allow."""
    batch = [_boundary(_BATCH_BEGIN)]
    size = 0
    for message in messages:
        if size + len(message) > room and size:
            yield [*batch, _boundary(_BATCH_END)]
            batch, size = batch[:1], 0
        batch.append(message)
        size += len(message)
    yield [*batch, _boundary(_BATCH_END)]


def _messages(ruleset: capture.Ruleset) -> Iterator[bytes]:
    """Adding a table that is there does nothing, so that deleting it always succeeds."""
    table = ruleset.table
    yield _table(table, NFT_MSG_NEWTABLE)
    yield _table(table, NFT_MSG_DELTABLE)
    yield _table(table, NFT_MSG_NEWTABLE)
    for number, limit in enumerate(capture.limits(ruleset), 1):
        yield _set(table, number, limit)
    for chain in ruleset.chains:
        yield _chain(table, chain.name, chain.type, chain.hook, chain.priority)
        for rule in chain.rules:
            yield _rule(table, chain.name, rule)


def _numbered(message: bytes, number: int, *, ack: bool) -> bytes:
    """With a sequence number, by which the kernel says what it answers to."""
    length, kind, flags, _, port = _HEADER.unpack_from(message)
    flags |= NLM_F_ACK if ack else 0
    return _HEADER.pack(length, kind, flags, number, port) + message[_HEADER.size :]


def _receive(netlink: socket.socket, last: int) -> None:
    """Until message ``last`` is acknowledged; an error of any message comes before that."""
    while True:
        data = netlink.recv(65536)
        while len(data) >= _HEADER.size:
            length, kind, _, number, _ = _HEADER.unpack_from(data)
            if kind == NLMSG_ERROR:
                (code,) = struct.unpack_from("=i", data, _HEADER.size)
                if code:
                    raise OSError(-code, f"nf_tables: {os.strerror(-code)}")
                if number == last:
                    return
            data = data[(length + 3) & ~3 :] if length >= _HEADER.size else b""


@functools.cache
def _boundary(kind: int) -> bytes:
    message = nfgen_msg()
    message["res_id"] = NFNL_SUBSYS_NFTABLES
    message["header"]["type"] = kind
    message["header"]["flags"] = NLM_F_REQUEST
    return _encoded(message)


@functools.lru_cache(maxsize=64)
def _table(name: str, command: int) -> bytes:
    return _command(nft_table_msg, command, name=name)


@functools.lru_cache(maxsize=64)
def _chain(table: str, name: str, kind: str, hook: str, priority: int) -> bytes:
    place = [["NFTA_HOOK_HOOKNUM", _HOOKS[hook]], ["NFTA_HOOK_PRIORITY", priority]]
    return _command(
        nft_chain_msg,
        NFT_MSG_NEWCHAIN,
        table=table,
        name=name,
        hook={"attrs": place},
        type=kind,
        policy=1,
    )


def _set(table: str, number: int, limit: capture.SourceOver) -> bytes:
    """Its elements are addresses, each with a limit, and end when they are not updated."""
    return _command(
        nft_set_msg,
        NFT_MSG_NEWSET,
        table=table,
        name=limit.name,
        flags={"NFT_SET_TIMEOUT", "NFT_SET_EVAL"},
        key_type=_IPV4_ADDRESS_TYPE,
        key_len=4,
        desc={"attrs": [("NFTA_SET_DESC_SIZE", limit.addresses)]},
        id=number,
        timeout=limit.seconds * 1000,
    )


@functools.lru_cache(maxsize=_CACHED_MESSAGES)
def _rule(table: str, chain: str, rule: capture.Rule) -> bytes:
    return _command(
        nft_rule_msg,
        NFT_MSG_NEWRULE,
        table=table,
        chain=chain,
        expressions=_expressions(rule),
    )


def _command(kind: Any, command: int, **attributes: Any) -> bytes:
    message = kind()
    message["attrs"] = [[kind.name2nla(name), value] for name, value in attributes.items()]
    message["nfgen_family"] = _NFPROTO_INET
    create = 0 if command == NFT_MSG_DELTABLE else NLM_F_CREATE | NLM_F_APPEND
    message["header"]["type"] = NFNL_SUBSYS_NFTABLES << 8 | command
    message["header"]["flags"] = NLM_F_REQUEST | create
    return _encoded(message)


def _encoded(message: Any) -> bytes:
    message.encode()
    return bytes(message.data)


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
        case capture.DestinationPorts(first, last):
            return [
                _payload(_TRANSPORT, 2, 2),
                _compare(struct.pack("!H", first), _AT_LEAST),
                _compare(struct.pack("!H", last), _AT_MOST),
            ]
        case capture.Source(network, negate):
            return _address(network, source=True, negate=negate)
        case capture.Destination(network, negate):
            return _address(network, source=False, negate=negate)
        case capture.Reply():
            direction = _expression("ct", {"dreg": _REG, "key": _CT_DIRECTION})
            return [direction, _compare(bytes((_REPLY,)))]
        case capture.Nth(of):
            return [_number_generator(of), _compare(struct.pack("=I", 0))]
        case capture.Opening():
            return [_payload(_TRANSPORT, _TCP_FLAGS, 1), _masked(_SYN_ACK), _compare(_SYN)]
        case capture.SourceOver():
            return [*_meta("nfproto", bytes((_NFPROTO_IPV4,))), *_limited(match)]
    assert_never(match)


def _action(action: capture.Action) -> list[Expression]:
    match action:
        case capture.Accept():
            return [_verdict(_ACCEPT_BY_RETURN)]
        case capture.Drop():
            return [_verdict(_DROP)]
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
        load.append(_masked(net.netmask.packed))
    operator = _NOT_EQUAL if negate else _EQUAL
    return [*load, _compare(net.network_address.packed, operator)]


def _limited(limit: capture.SourceOver) -> list[Expression]:
    over = {"rate": limit.per_second, "unit": 1, "burst": limit.burst, "type": 0, "flags": _OVER}
    each = {
        "set_name": limit.name,
        "op": _SET_UPDATE,
        "sreg_key": _REG,
        "timeout": limit.seconds * 1000,
        "expr": _expression("limit", over),
    }
    return [_payload(_NETWORK, 12, 4), _expression("dynset", each)]


def _masked(mask: bytes) -> Expression:
    zero = _value(bytes(len(mask)))
    where = {"sreg": _REG, "dreg": _REG, "len": len(mask)}
    return _expression("bitwise", {**where, "mask": _value(mask), "xor": zero})


def _verdict(code: int) -> Expression:
    data = {"attrs": [("NFTA_DATA_VERDICT", {"attrs": [("NFTA_VERDICT_CODE", code)]})]}
    return _expression("immediate", {"dreg": _VERDICT_REG, "data": data})


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
