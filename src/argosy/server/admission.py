"""Which proxy may have which configuration: the certificate's identity decides, not what it says.

A proxy proves by its certificate that it runs for a service account. The node id that it sends
names a pod; it gets that pod's configuration if the pod exists and runs for that service account.
The pod's labels and ports are the store's, never the proxy's own words.
"""

from collections.abc import Callable

from envoy.config.core.v3 import base_pb2
from google.protobuf.message import DecodeError

from argosy import xds
from argosy.api.core_pod import Pod
from argosy.api.meta import Object
from argosy.api.networking_workload_entry import WorkloadGroup
from argosy.base.names import Namespace, ObjectKey
from argosy.citadel.identity import SpiffeId, TrustDomains
from argosy.model.proxy import ProxyType
from argosy.pilot.compile.registrations import METADATA, registered_role
from argosy.pilot.compile.roles import proxy_type, role_of

VERSION = "ISTIO_VERSION"
_LONGEST_VERSION = 64
"""Characters of what a proxy says of its version."""

GRPC_GENERATOR = "grpc"
"""By this word of its metadata a gRPC library says that it is no sidecar; Istio's."""

Register = Callable[[Pod, str, str], WorkloadGroup | xds.Refusal]
"""Of a pod, the name of the group that its proxy names, and the client's id."""


def nobody_registers(pod: Pod, group: str, _client: str) -> xds.Refusal:
    """Where no WorkloadGroups are kept."""
    return xds.Refusal(f"pod {pod.metadata.name!r} cannot register with {group!r} here")


_TYPES = {kind.value: kind for kind in ProxyType}


def admit(
    peer: xds.Peer,
    node: bytes,
    find: Callable[[ObjectKey], Object | None],
    trusted: TrustDomains,
    register: Register = nobody_registers,
) -> xds.Admission | xds.Refusal:
    """The proxy's role, or why it gets nothing. A machine of a WorkloadGroup is registered."""
    identity = _identity(peer, trusted)
    if isinstance(identity, xds.Refusal):
        return identity
    try:
        message = base_pb2.Node.FromString(node)
        kind, _, name, _ = message.id.split("~")
        if (
            kind == ProxyType.SIDECAR.value
            and message.metadata.fields["GENERATOR"].string_value == GRPC_GENERATOR
        ):
            kind = ProxyType.GRPC.value
    except (DecodeError, ValueError):
        return _malformed("the node id is not <type>~<ip>~<name>.<namespace>~<domain>")
    pod_name, _, namespace = name.rpartition(".")
    if kind not in _TYPES or not pod_name:
        return _malformed(f"the node id {message.id!r} names no sidecar or router")
    if namespace != identity.namespace:
        return xds.Refusal(f"{identity} may not have the configuration of namespace {namespace!r}")
    pod = find(ObjectKey("Pod", Namespace(namespace), pod_name))
    if not isinstance(pod, Pod):
        return xds.Refusal(f"there is no pod {namespace}/{pod_name}")
    if pod.spec.account != identity.service_account:
        return xds.Refusal(f"{identity} may not have the configuration of pod {name!r}")
    if _TYPES[kind] is not proxy_type(pod):
        return xds.Refusal(f"pod {name!r} is no {kind}")
    client, role = f"{pod_name}.{namespace}", role_of(pod)
    group_name = message.metadata.fields[METADATA].string_value
    if group_name:
        group = register(pod, group_name, client)
        if isinstance(group, xds.Refusal):
            return group
        role = registered_role(pod, group)
    version = message.metadata.fields[VERSION].string_value[:_LONGEST_VERSION]
    return xds.Admission(role, client, (("type", kind), ("version", version)))


def _identity(peer: xds.Peer, trusted: TrustDomains) -> SpiffeId | xds.Refusal:
    if len(peer.identities) != 1:
        return xds.Refusal(
            "a client certificate with one SPIFFE id is required", xds.RefusalKind.UNAUTHENTICATED
        )
    try:
        identity = SpiffeId.parse(peer.identities[0])
    except ValueError as error:
        return xds.Refusal(str(error), xds.RefusalKind.UNAUTHENTICATED)
    if identity.trust_domain not in trusted:
        return xds.Refusal(f"{identity} is of another trust domain")
    return identity


def _malformed(message: str) -> xds.Refusal:
    return xds.Refusal(message, xds.RefusalKind.INVALID_ARGUMENT)
