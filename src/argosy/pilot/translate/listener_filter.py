"""Listener filters: what is found out about a connection before a filter chain is chosen."""

from envoy.config.listener.v3 import listener_components_pb2
from envoy.extensions.filters.listener.http_inspector.v3 import http_inspector_pb2
from envoy.extensions.filters.listener.original_dst.v3 import original_dst_pb2
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2
from google.protobuf.message import Message

ORIGINAL_DST_FILTER = "envoy.filters.listener.original_dst"
TLS_INSPECTOR_FILTER = "envoy.filters.listener.tls_inspector"
HTTP_INSPECTOR_FILTER = "envoy.filters.listener.http_inspector"

HTTP_ALPN = ("http/1.1", "h2c")
"""What the HTTP inspector calls plaintext HTTP that a proxy will serve.

HTTP/1.0 is not among them unless it is allowed: it passes as opaque bytes instead of being refused.
"""

HTTP_ALPN_WITH_HTTP10 = ("http/1.0", *HTTP_ALPN)

_TLS_READ_BUFFER = 512
"""Bytes read at first, grown as needed; Envoy's default takes 64 KiB for every connection."""


def original_dst() -> listener_components_pb2.ListenerFilter:
    """Restores the address that the client dialled before the connection was captured."""
    return _listener_filter(ORIGINAL_DST_FILTER, original_dst_pb2.OriginalDst())


def tls_inspector(
    disabled: listener_components_pb2.ListenerFilterChainMatchPredicate | None = None,
) -> listener_components_pb2.ListenerFilter:
    """Tells TLS from plaintext, and reads SNI and ALPN."""
    config = tls_inspector_pb2.TlsInspector()
    config.initial_read_buffer_size.value = _TLS_READ_BUFFER
    return _listener_filter(TLS_INSPECTOR_FILTER, config, disabled)


def http_inspector(
    disabled: listener_components_pb2.ListenerFilterChainMatchPredicate | None = None,
) -> listener_components_pb2.ListenerFilter:
    """Tells HTTP from other plaintext; must come after a TLS inspector, whose finds it skips.

    It waits for the client's first bytes, so a protocol in which the server speaks first hangs
    behind it: such ports have to be declared.
    """
    return _listener_filter(HTTP_INSPECTOR_FILTER, http_inspector_pb2.HttpInspector(), disabled)


def on_ports(
    ports: tuple[int, ...],
) -> listener_components_pb2.ListenerFilterChainMatchPredicate | None:
    """Holds on each of ``ports``; None for no port."""
    rules = [_on_port(port) for port in ports]
    if len(rules) < 2:
        return rules[0] if rules else None
    proto = listener_components_pb2.ListenerFilterChainMatchPredicate()
    proto.or_match.rules.extend(rules)
    return proto


def not_on_ports(
    ports: tuple[int, ...],
) -> listener_components_pb2.ListenerFilterChainMatchPredicate | None:
    """Holds on every port but ``ports``; None for no port."""
    rule = on_ports(ports)
    if rule is None:
        return None
    proto = listener_components_pb2.ListenerFilterChainMatchPredicate()
    proto.not_match.CopyFrom(rule)
    return proto


def _on_port(port: int) -> listener_components_pb2.ListenerFilterChainMatchPredicate:
    proto = listener_components_pb2.ListenerFilterChainMatchPredicate()
    proto.destination_port_range.start = port
    proto.destination_port_range.end = port + 1
    return proto


def _listener_filter(
    name: str,
    config: Message,
    disabled: listener_components_pb2.ListenerFilterChainMatchPredicate | None = None,
) -> listener_components_pb2.ListenerFilter:
    proto = listener_components_pb2.ListenerFilter(name=name)
    proto.typed_config.Pack(config, deterministic=True)
    if disabled is not None:
        proto.filter_disabled.CopyFrom(disabled)
    return proto
