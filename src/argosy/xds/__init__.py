"""A generic xDS library: delta and state-of-the-world aggregated discovery. Knows no mesh.

A ``Source`` has resources, arranged in layers that groups of clients share; ``Server``
brings each admitted client to the source's state and keeps it there; ``GrpcService``
carries that over gRPC. What a stream does is decided by ``AdsStream``, without I/O::

    server = Server(source, admit)                   # admit: peer and Node -> Admission | Refusal
    service = GrpcService(server)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.run())              # writers and timers
        await service.start("10.0.0.1:15012", server_credentials(lambda: credentials))
        ...                                          # change the source, then tell what changed:
        server.publish([Change(layer, type_url, changed=names)], revision=7)
        distribution = await server.wait_acknowledged(7, timeout_seconds=10)
        ...
        await service.stop()                         # ends ``run`` too

What holds:

* The source changes first, ``publish`` follows; both on the event loop's thread.
* The first request of a type is answered even with nothing; a reconnecting delta client gets
  differences only, whichever server it meets, because versions are hashes of content.
* One response per type is unanswered at most; what changes meanwhile goes merged in the next.
* Clusters, endpoints, listeners, routes go in this order, each after the answer to the one
  before; clusters and endpoints are removed last. Waits are bounded by ``Timing``.
* The endpoints of a cluster follow whenever the cluster is sent, for Envoy waits for them.
* A refused response is tried again in parts until the culprit is known by name; its version is
  not sent to that stream again. In state-of-the-world the last good version stays in the full
  set; after a reconnection nothing can be left out safely, and the words of the client decide.
"""

from argosy.xds.distribution import Distribution, Publication
from argosy.xds.grpc_service import Credentials, GrpcService, server_credentials
from argosy.xds.limits import Limits
from argosy.xds.rejection import RejectedResource, Rejection
from argosy.xds.server import Server, StreamRefusedError
from argosy.xds.source import (
    Admission,
    Admit,
    Change,
    Group,
    Layer,
    Peer,
    Refusal,
    RefusalKind,
    Resource,
    Source,
    resource,
)
from argosy.xds.statistics import Statistics
from argosy.xds.status import ClientStatus, SyncState, TypeStatus
from argosy.xds.stream import StreamLimits, Timing
from argosy.xds.wire import Protocol

__all__ = [
    "Admission",
    "Admit",
    "Change",
    "ClientStatus",
    "Credentials",
    "Distribution",
    "Group",
    "GrpcService",
    "Layer",
    "Limits",
    "Peer",
    "Protocol",
    "Publication",
    "Refusal",
    "RefusalKind",
    "RejectedResource",
    "Rejection",
    "Resource",
    "Server",
    "Source",
    "Statistics",
    "StreamLimits",
    "StreamRefusedError",
    "SyncState",
    "Timing",
    "TypeStatus",
    "resource",
    "server_credentials",
]
