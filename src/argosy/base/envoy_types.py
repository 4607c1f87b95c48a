"""Envoy's types by name: their descriptors, and whether the Envoy that runs here has them.

Modules of generated code are imported when a type of theirs is first asked for: there are hundreds.
"""

import importlib
import importlib.util
import re
from functools import cache
from pathlib import Path

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

TYPED_STRUCTS = frozenset({"udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct"})
"""A type URL with its message as plain data."""

_ROOTS = frozenset({"envoy", "udpa", "xds"})
_TYPE_NAME = re.compile(r"((?:[a-z][a-z0-9_]*\.)+)[A-Z]\w*(?:\.[A-Z]\w*)*\Z", re.ASCII)

_LISTED = tuple(
    f"envoy.extensions.{kind}."
    for kind in ("access_loggers", "clusters", "filters", "tracers", "transport_sockets")
)

ISTIO_TYPES = {
    "stats.PluginConfig": "metrics",
    "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig": "alpn",
    "envoy.config.filter.http.alpn.v2alpha1.FilterConfig": "alpn",
    "istio.envoy.config.filter.http.authn.v2alpha1.FilterConfig": "authn",
    "envoy.tcp.metadataexchange.config.MetadataExchange": "metadata",
    "envoy.extensions.filters.network.metadata_exchange.MetadataExchange": "metadata",
    "io.istio.http.peer_metadata.Config": "metadata",
    "io.istio.network.peer_metadata.Config": "metadata",
    "istio.telemetry.extensions.v1.SdsConfig": "metrics",
    "stackdriver.config.v1alpha1.PluginConfig": "metrics",
}
"""Types of filters that only Istio's own build of Envoy has, and what those do."""

ISTIO_WASM = ("envoy.wasm.stats", "envoy.wasm.metadata_exchange", "envoy.wasm.attributegen")
"""Code that is compiled into Istio's build of Envoy, as ``inline_string`` names it."""


def type_name(url: str) -> str:
    """``type.googleapis.com/envoy.x.Y`` → ``envoy.x.Y``."""
    return url.rpartition("/")[2]


@cache
def get_descriptor(name: str) -> Descriptor | None:
    """The descriptor of a message type by its full name; None when nobody has heard of it."""
    pool = descriptor_pool.Default()
    try:
        return pool.FindMessageTypeByName(name)
    except KeyError:
        pass
    matched = _TYPE_NAME.match(name)
    if matched is None or name.partition(".")[0] not in _ROOTS:
        return None
    _load(matched[1].rstrip("."))
    try:
        return pool.FindMessageTypeByName(name)
    except KeyError:
        return None


@cache
def _load(package: str) -> None:
    """Import the generated modules of a protobuf package: they stand in the folder of its name."""
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        return
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        for path in sorted(Path(place).glob("*_pb2.py")):
            importlib.import_module(f"{package}.{path.stem}")


def new_message(descriptor: Descriptor) -> Message:
    message: Message = message_factory.GetMessageClass(descriptor)()
    return message


def envoy_has(name: str) -> bool:
    """Whether a type is configuration of an extension that is in this build of Envoy.

    Parts of an extension's configuration stand in its package: those count as well. Envoy does not
    tell all that it has; of these kinds it does.
    """
    if not name.startswith(_LISTED):
        return True
    return name in _built_in() or _package(name) in _packages()


@cache
def _built_in() -> frozenset[str]:
    text = Path(__file__).with_name("envoy_extensions.txt").read_text()
    return frozenset(line for line in text.splitlines() if not line.startswith("#"))


@cache
def _packages() -> frozenset[str]:
    return frozenset(map(_package, _built_in()))


def _package(name: str) -> str:
    """Messages stand in messages: the package ends before the first capital."""
    matched = _TYPE_NAME.match(name)
    return matched[1] if matched is not None else ""


def known_extensions() -> tuple[str, ...]:
    """The types of all extensions of this build, sorted."""
    return tuple(sorted(_built_in()))
