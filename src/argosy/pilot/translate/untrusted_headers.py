"""``envoy.http.early_header_mutation.header_mutation``: headers that only the mesh may set.

Envoy itself removes from requests of clients outside what it obeys itself
(https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/header_sanitizing).
Not the rest: the facts by which proxies of a mesh know each other, and headers that filters and
clusters of other proxies obey. They go before anything reads them: logs, policy or routes.
"""

from collections.abc import Iterable
from typing import TypeAlias

from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import header_mutation_pb2

EARLY_MUTATION = "envoy.http.early_header_mutation.header_mutation"

_Manager: TypeAlias = http_connection_manager_pb2.HttpConnectionManager

_ENVOY = "x-envoy-"
_PEER = "x-envoy-peer-metadata"
"""And ``x-envoy-peer-metadata-id``: what Istio's proxies tell each other of themselves."""

_ATTRIBUTES = "x-istio-attributes"
"""https://istio.io/latest/news/security/istio-security-2020-002/"""

_OF_PROXIES = (
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-original-host",
    "x-envoy-original-path",
)
"""What a client's sidecar says of a request, and logs, traces and policy believe.

https://istio.io/latest/news/security/istio-security-2023-001/
"""


def drop_from_outside(manager: _Manager, *, keep_envoy: bool) -> None:
    """Of clients of a gateway. ``keep_envoy``: another Envoy of ours stands before it."""
    _drop(manager, prefixes=(_PEER if keep_envoy else _ENVOY,), exact=(_ATTRIBUTES,))


def drop_claims_of_proxies(manager: _Manager) -> None:
    """Of who is no proxy: the application itself, or whoever shows no certificate of the mesh."""
    _drop(manager, prefixes=(_PEER,), exact=(*_OF_PROXIES, _ATTRIBUTES))


def _drop(manager: _Manager, *, prefixes: Iterable[str], exact: Iterable[str]) -> None:
    config = header_mutation_pb2.HeaderMutation()
    for prefix in prefixes:
        by_prefix = mutation_rules_pb2.HeaderMutation()
        by_prefix.remove_on_match.key_matcher.prefix = prefix
        config.mutations.append(by_prefix)
    config.mutations.extend(mutation_rules_pb2.HeaderMutation(remove=name) for name in exact)
    proto = manager.early_header_mutation_extensions.add(name=EARLY_MUTATION)
    proto.typed_config.Pack(config, deterministic=True)
