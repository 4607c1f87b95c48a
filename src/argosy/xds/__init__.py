"""A generic xDS library: delta and state-of-the-world aggregated discovery. Knows no mesh.

A ``Source`` has resources, arranged in layers that groups of clients share; ``Server``
brings each admitted client to the source's state and keeps it there; ``GrpcService``
carries that over gRPC. What a stream does is decided by ``AdsStream``, without I/O.
"""

from argosy.xds.distribution import Distribution
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
