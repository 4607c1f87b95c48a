"""What one client has, as a value for people and tools."""

from dataclasses import dataclass
from enum import Enum

from argosy.xds.rejection import Rejection
from argosy.xds.source import Group, Peer
from argosy.xds.stream import AdsStream
from argosy.xds.subscription import Subscription
from argosy.xds.wire import Protocol


class SyncState(Enum):
    """Whether a client has the latest of a type."""

    NOT_SENT = "NOT SENT"
    SYNCED = "SYNCED"
    STALE = "STALE"
    NACK = "NACK"


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """One type of one client. Nonces are the server's push numbers, empty for none.

    ``sent_at`` and ``answered_at`` are monotonic seconds, 0 for never.
    """

    type_url: str
    state: SyncState
    wildcard: bool
    names: int
    sent_nonce: str
    acknowledged_nonce: str
    sent_at: float
    answered_at: float
    rejections: tuple[Rejection, ...]


@dataclass(frozen=True, slots=True)
class ClientStatus:
    """One connected client. ``since`` is monotonic seconds."""

    client_id: str
    group: Group
    labels: tuple[tuple[str, str], ...]
    peer: Peer
    protocol: Protocol
    since: float
    types: tuple[TypeStatus, ...]


def client_status(stream: AdsStream, peer: Peer, since: float) -> ClientStatus:
    """The status of the stream's client."""
    admission = stream.admission
    return ClientStatus(
        admission.client_id,
        admission.group,
        admission.labels,
        peer,
        stream.protocol,
        since,
        tuple(_type_status(one) for one in stream.subscriptions.values()),
    )


def _type_status(subscription: Subscription) -> TypeStatus:
    if not subscription.answered:
        state = SyncState.NOT_SENT
    elif subscription.rejected:
        state = SyncState.NACK
    elif subscription.settled and not subscription.held:
        state = SyncState.SYNCED
    else:
        state = SyncState.STALE
    rejections = {id(one): one for one in subscription.rejected.values()}
    return TypeStatus(
        subscription.type_url,
        state,
        subscription.wildcard,
        len(subscription.names),
        str(subscription.last_nonce or ""),
        str(subscription.acknowledged_nonce or ""),
        subscription.sent_at,
        subscription.answered_at,
        tuple(rejections.values()),
    )
