"""One client's aggregated stream as a machine: events in, commands out, no I/O.

Keeps the protocol's order across types. Additions go make before break: clusters,
their endpoints, listeners, routes, each after the client has answered the one before.
Removals of clusters and endpoints come last. Every wait has an end, so a client that
never answers or never asks for a cluster's endpoints delays its own updates only.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from argosy.xds.catalog import Catalog, Rescope
from argosy.xds.rejection import Rejection
from argosy.xds.source import Admission, Change, RefusalKind
from argosy.xds.subscription import Batch, Subscription
from argosy.xds.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE, ROUTING, rank
from argosy.xds.warming import awaited_endpoints
from argosy.xds.wire import Encoder, Protocol, Request, Response


@dataclass(frozen=True, slots=True)
class Timing:
    """How long one thing waits for another, in seconds.

    ``order``: routes for clusters and endpoints. ``removal``: removals of clusters and
    endpoints for the listeners and routes that stop using them.
    """

    order: float = 1.0
    removal: float = 10.0


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """What one client may cost: names it subscribes to, types, bytes in one response."""

    names: int = 100_000
    types: int = 64
    response_bytes: int = 4 << 20


@dataclass(frozen=True, slots=True)
class Received:
    """A request came from the client."""

    request: Request


@dataclass(frozen=True, slots=True)
class Published:
    """The catalog has a new generation."""


@dataclass(frozen=True, slots=True)
class Rescoped:
    """The group's layers changed."""

    rescopes: tuple[Rescope, ...]


@dataclass(frozen=True, slots=True)
class TimePassed:
    """A time asked for with ``Wake`` has come."""


Event = Received | Published | Rescoped | TimePassed


@dataclass(frozen=True, slots=True)
class Send:
    """Write the response to the client. Commands are carried out in order."""

    response: Response


@dataclass(frozen=True, slots=True)
class Wake:
    """Deliver ``TimePassed`` at this monotonic time, in seconds, or soon after."""

    at: float


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The client took a response, ``seconds`` after it was sent."""

    type_url: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Refused:
    """The client refused a response, ``seconds`` after it was sent.

    ``rejection`` is there once the culprit is known.
    """

    type_url: str
    seconds: float
    rejection: Rejection | None


@dataclass(frozen=True, slots=True)
class Close:
    """End the stream: the client does what it must not."""

    kind: RefusalKind
    message: str


Command = Send | Wake | Acknowledged | Refused | Close


@dataclass(slots=True, eq=False)
class AdsStream:
    """The state of one stream after admission."""

    protocol: Protocol
    admission: Admission
    catalog: Catalog
    encoder: Encoder
    timing: Timing = Timing()
    limits: StreamLimits = StreamLimits()
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    expected: set[str] = field(default_factory=set)
    """Endpoints of clusters just sent: routes wait until these are with the client."""
    expected_until: float = 0.0
    resent: set[str] = field(default_factory=set)
    """Endpoints of clusters sent before the client's first request for endpoints."""
    resumed: bool = False
    """The client had clusters before: its listeners and routes are asked for any moment."""

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take one event at monotonic time ``now``, in seconds; say what to do."""
        commands: list[Command] = []
        match event:
            case Received(request):
                commands.extend(self._received(request, now))
            case Rescoped(rescopes):
                for rescope in rescopes:
                    subscription = self.subscriptions.get(rescope.type_url)
                    if subscription is not None:
                        subscription.rescope(rescope, self.catalog)
            case Published() | TimePassed():
                pass
        if not any(isinstance(command, Close) for command in commands):
            commands.extend(self._advance(now))
        return commands

    def concerned(self, changes: Iterable[tuple[Change, bool]]) -> bool:
        """Whether any of the changes may alter what this client has."""
        return any(
            (subscription := self.subscriptions.get(change.type_url)) is not None
            and subscription.concerned(change, wild)
            for change, wild in changes
        )

    def acknowledged(self) -> int:
        """The generation up to which the client has acknowledged, or refused, everything."""
        behind = [
            first
            for subscription in self.subscriptions.values()
            if (first := subscription.pending_generation()) is not None
        ]
        behind.extend(subscription.seen + 1 for subscription in self.subscriptions.values())
        if self.expected:
            behind.append(self.catalog.generation)
        return min(behind, default=self.catalog.generation + 1) - 1

    def seen(self) -> int:
        """The generation up to which every type has read the logs."""
        return min(
            (subscription.seen for subscription in self.subscriptions.values()),
            default=self.catalog.generation,
        )

    def collect(self) -> None:
        """Read the logs without sending anything."""
        for subscription in self.subscriptions.values():
            subscription.collect(self.catalog)

    # Requests

    def _received(self, request: Request, now: float) -> list[Command]:
        subscription = self.subscriptions.get(request.type_url)
        if subscription is None:
            if not request.type_url or len(self.subscriptions) >= self.limits.types:
                return [Close(RefusalKind.INVALID_ARGUMENT, "a request needs a known type_url")]
            subscription = self._open(request)
        commands, current = self._verdict(subscription, request, now)
        if not current:
            return commands
        subscription.collect(self.catalog)
        warming = frozenset[str]()
        if request.type_url == ENDPOINT and self.resent:
            warming, self.resent = frozenset(self.resent), set()
        subscription.request(request, self.catalog, warming)
        if sum(len(one.names) for one in self.subscriptions.values()) > self.limits.names:
            text = f"more than {self.limits.names} resource names are subscribed to"
            return [*commands, Close(RefusalKind.RESOURCE_EXHAUSTED, text)]
        return commands

    def _open(self, request: Request) -> Subscription:
        # From here on the catalog keeps a log of the type for this group.
        self.catalog.logs(self.admission.group, request.type_url)
        self.subscriptions[request.type_url] = subscription = Subscription(
            request.type_url,
            self.protocol,
            self.admission.group,
            seen=self.catalog.generation,
        )
        self.subscriptions = dict(sorted(self.subscriptions.items(), key=lambda kv: rank(kv[0])))
        if request.type_url == CLUSTER:
            self.resumed = bool(request.initial_versions)
        return subscription

    def _verdict(
        self, subscription: Subscription, request: Request, now: float
    ) -> tuple[list[Command], bool]:
        """What the request says of a response, and whether its names are to be taken.

        A delta request's names are a difference and always count; a state-of-the-world
        request with a nonce that is not the latest is superseded by one still to come.
        """
        delta = self.protocol is Protocol.DELTA
        outstanding = subscription.outstanding
        if outstanding is None or request.nonce != outstanding.response.nonce:
            latest = str(subscription.last_nonce) if subscription.last_nonce else ""
            return [], delta or request.nonce == latest
        seconds = now - subscription.sent_at
        if request.error is None:
            subscription.acknowledge(now)
            return [Acknowledged(request.type_url, seconds)], True
        rejection = subscription.reject(self.admission.client_id, request.error, now)
        if request.type_url == CLUSTER and rejection is not None:
            for one in outstanding.response.resources:
                self.expected.discard(awaited_endpoints(one.body) or "")
        return [Refused(request.type_url, seconds, rejection)], True

    # Responses

    def _advance(self, now: float) -> list[Command]:
        if self.expected and now >= self.expected_until:
            self.expected.clear()
        for subscription in self.subscriptions.values():
            subscription.collect(self.catalog)
        steps = [self._next(subscription, now) for subscription in self.subscriptions.values()]
        # Later types may just have turned out to have nothing to send.
        steps += [self._next(one, now) for one in self.subscriptions.values() if one.held]
        commands: list[Command] = [step for step in steps if isinstance(step, Send)]
        wakes = [step.at for step in steps if isinstance(step, Wake)]
        if self.expected:
            wakes.append(self.expected_until)
        if wakes:
            commands.append(Wake(min(wakes)))
        return commands

    def _next(self, subscription: Subscription, now: float) -> Send | Wake | None:
        if subscription.outstanding is not None:
            return None
        batch = subscription.next_retry(self.catalog)
        if batch is None and (subscription.unsent or subscription.held):
            wait = self._wait_for_order(subscription, now)
            if wait is not None:
                return wait
            batch = self._updates(subscription)
        if batch is None and not subscription.answered:
            batch = Batch(oldest=self.catalog.generation)
        if batch is None and subscription.held:
            wait = self._wait_for_removal(subscription, now)
            if wait is not None:
                return wait
            batch = subscription.next_removals(self.catalog)
        return None if batch is None else self._send(subscription, batch, now)

    def _updates(self, subscription: Subscription) -> Batch | None:
        full = subscription.snapshot is not None
        return subscription.next_updates(
            self.catalog,
            limit=1 << 62 if full else self.limits.response_bytes,
            hold_removals=subscription.type_url in (CLUSTER, ENDPOINT),
        )

    def _send(self, subscription: Subscription, batch: Batch, now: float) -> Send:
        response = self.encoder.response(
            self.protocol,
            subscription.type_url,
            batch.resources,
            batch.removed,
            subscription.snapshot,
            subscription.last_nonce,
        )
        subscription.sent(response, batch, self.catalog.generation, now)
        if subscription.type_url == CLUSTER:
            self._expect_endpoints(response, now)
        elif subscription.type_url == ENDPOINT:
            self.expected.difference_update(one.name for one in batch.resources)
            self.expected.difference_update(batch.removed)
            if not self.expected:
                self.expected.clear()
        return Send(response)

    def _expect_endpoints(self, response: Response, now: float) -> None:
        endpoints = self.subscriptions.get(ENDPOINT)
        for cluster in response.resources:
            name = awaited_endpoints(cluster.body)
            if name is None:
                continue
            self.expected.add(name)
            self.expected_until = now + self.timing.order
            if endpoints is None:
                self.resent.add(name)
            elif endpoints.wants(name, self.catalog):
                endpoints.force(name, self.catalog.generation)

    # Order

    def _settled(self, *type_urls: str) -> bool:
        return all(
            subscription.settled
            for type_url in type_urls
            if (subscription := self.subscriptions.get(type_url)) is not None
        )

    def _in_order(self, type_url: str) -> bool:
        """Whether what this type's additions refer to is with the client."""
        if type_url == ENDPOINT:
            clusters = self.subscriptions.get(CLUSTER)
            return clusters is None or not clusters.dirty
        if type_url not in ROUTING:
            return True
        before = ROUTING[: ROUTING.index(type_url)]
        return not self.expected and self._settled(CLUSTER, ENDPOINT, *before)

    def _removable(self) -> bool:
        """Whether nothing that the client has refers to clusters and endpoints to be removed.

        Clusters come before endpoints in each round, so endpoints wait for the answer to the
        removal of their clusters; most are unsubscribed by then.
        """
        if self.resumed and not (LISTENER in self.subscriptions and ROUTE in self.subscriptions):
            return False
        if not self._settled(CLUSTER, ENDPOINT, *ROUTING):
            return False
        return not any(
            subscription.rejected
            for one in ROUTING
            if (subscription := self.subscriptions.get(one)) is not None
        )

    def _wait_for_order(self, subscription: Subscription, now: float) -> Wake | None:
        if self._in_order(subscription.type_url):
            subscription.waiting_since = None
            return None
        if subscription.waiting_since is None:
            subscription.waiting_since = now
        at = subscription.waiting_since + self.timing.order
        if now < at:
            return Wake(at)
        subscription.waiting_since = None
        return None

    def _wait_for_removal(self, subscription: Subscription, now: float) -> Wake | None:
        if self._removable():
            subscription.holding_since = None
            return None
        if subscription.holding_since is None:
            subscription.holding_since = now
        at = subscription.holding_since + self.timing.removal
        if now < at:
            return Wake(at)
        subscription.holding_since = None
        return None
