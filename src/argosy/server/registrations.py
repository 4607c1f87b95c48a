"""Machines that register themselves: a WorkloadEntry for each, as long as its proxy is connected.

The entry is written when the proxy is admitted, and removed when it has been away for
``grace_seconds`` (Istio's ``PILOT_WORKLOAD_ENTRY_GRACE_PERIOD``). An entry that a control plane
before this one made is kept as long for its proxy to come back.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import structlog

from argosy import xds
from argosy.api.core_pod import Pod
from argosy.api.networking_workload_entry import WorkloadEntry, WorkloadGroup
from argosy.base.clock import Clock
from argosy.base.names import Namespace, ObjectKey
from argosy.pilot.compile import registrations as compiling
from argosy.store.journal import JournalError
from argosy.store.store import Store
from argosy.store.transaction import Delete, Event, Put, SetStatus, StoreError

GRACE_SECONDS = 10.0
log = structlog.get_logger()


@dataclass(slots=True)
class _Machine:
    """``client`` and ``pod`` are not known of an entry that was found at the start."""

    group: ObjectKey
    client: str = ""
    pod: ObjectKey | None = None
    away_since: float | None = None
    arrived: bool = False


class Registrations:
    """``is_connected`` tells whether a client id has a stream. Writes only from ``reconcile``."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        is_connected: Callable[[str], bool],
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._store = store
        self._clock = clock
        self._is_connected = is_connected
        self._grace = grace_seconds
        self._machines: dict[ObjectKey, _Machine] = {}
        self._wake = asyncio.Event()

    def begin(self) -> None:
        """Take over the entries that are stored; once, after the store was loaded."""
        now = self._clock.monotonic()
        for written in self._store.list("WorkloadEntry"):
            if isinstance(written, WorkloadEntry) and compiling.is_ours(written):
                name = written.metadata.annotations[compiling.AUTO_REGISTERED]
                group = ObjectKey("WorkloadGroup", written.key.namespace, name)
                self._machines[written.key] = _Machine(group, away_since=now)
        self._wake.set()

    def admit(self, pod: Pod, name: str, client: str) -> WorkloadGroup | xds.Refusal:
        """The group whose machine this proxy is, or why it is not. It is registered soon after."""
        where = f"{pod.metadata.namespace}/{name}"
        if compiling.group_of(pod.metadata) != name:
            return xds.Refusal(f"pod {pod.metadata.name!r} is not meant for WorkloadGroup {where}")
        key = ObjectKey("WorkloadGroup", Namespace(pod.metadata.namespace), name)
        group = self._store.get(key)
        if not isinstance(group, WorkloadGroup):
            return xds.Refusal(f"there is no WorkloadGroup {where} to register with")
        if pod.spec.account != compiling.account_of(group):
            return xds.Refusal(
                f"service account {pod.spec.account!r} may not register with WorkloadGroup {where}, "
                f"whose machines run as {compiling.account_of(group)!r}"
            )
        address = pod.status.pod_ip if pod.status is not None else ""
        if not address:
            return xds.Refusal(
                f"pod {pod.metadata.name!r} has no address yet", xds.RefusalKind.UNAVAILABLE
            )
        entry = compiling.entry_key(group, address)
        known = self._store.get(entry)
        if isinstance(known, WorkloadEntry) and not compiling.is_ours(known):
            return xds.Refusal(f"{entry} exists and is not of WorkloadGroup {where}")
        self._machines[entry] = _Machine(key, client, pod.key, arrived=True)
        self._wake.set()
        return group

    def left(self, client: str) -> None:
        """A stream has ended."""
        if any(machine.client == client for machine in self._machines.values()):
            self._wake.set()

    def receive(self, events: Sequence[Event], _revision: int) -> None:
        """As a subscriber of the store: what decides the health of machines has changed."""
        if self._machines and any(e.key.kind in ("Pod", "WorkloadGroup") for e in events):
            self._wake.set()

    async def run(self) -> None:
        """Keep the entries as they should be, until cancelled."""
        while True:
            pause = self.reconcile()
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    def reconcile(self) -> float | None:
        """Write what has changed; returns the seconds until something is due by itself."""
        due: list[float] = []
        for key, machine in list(self._machines.items()):
            try:
                left = self._one(key, machine)
            except (StoreError, JournalError) as error:
                log.warning("registration.failed", entry=str(key), error=str(error))
                left = 1.0
            if left is not None:
                due.append(left)
        return min(due, default=None)

    def _one(self, key: ObjectKey, machine: _Machine) -> float | None:
        now = self._clock.monotonic()
        if machine.client and self._is_connected(machine.client):
            machine.away_since = None
            if machine.arrived or self._store.get(key) is None:
                self._register(key, machine)
        elif machine.away_since is None:
            machine.away_since, machine.arrived = now, False
            self._note_absence(key)
        if machine.away_since is not None and now >= machine.away_since + self._grace:
            del self._machines[key]
            if self._store.get(key) is not None:
                self._store.apply([Delete(key)])
                log.info("registration.removed", entry=str(key))
            return None
        self._tell_health(key, machine)
        return None if machine.away_since is None else machine.away_since + self._grace - now

    def _register(self, key: ObjectKey, machine: _Machine) -> None:
        pod, group = self._pod(machine), self._group(machine)
        machine.arrived = False
        if pod is None or pod.status is None or group is None:
            return
        made = compiling.entry(group, pod.status.pod_ip, self._time())
        known = self._store.get(key)
        if isinstance(known, WorkloadEntry):
            if not compiling.is_ours(known):
                log.warning("registration.name_taken", entry=str(key))
                return
            made = msgspec.structs.replace(made, status=known.status)
        healthy = compiling.with_health(made, compiling.health(pod, group), self._time())
        self._store.apply([Put(made), *([] if healthy is None else [SetStatus(healthy)])])
        log.info("registration.made", entry=str(key), pod=pod.metadata.name)

    def _note_absence(self, key: ObjectKey) -> None:
        known = self._store.get(key)
        if isinstance(known, WorkloadEntry):
            notes = {**known.metadata.annotations, compiling.DISCONNECTED: self._time()}
            metadata = msgspec.structs.replace(known.metadata, annotations=notes)
            self._store.apply([Put(msgspec.structs.replace(known, metadata=metadata))])

    def _tell_health(self, key: ObjectKey, machine: _Machine) -> None:
        known = self._store.get(key)
        if machine.pod is None or not isinstance(known, WorkloadEntry):
            return
        found = compiling.health(self._pod(machine), self._group(machine))
        changed = compiling.with_health(known, found, self._time())
        if changed is not None:
            self._store.apply([SetStatus(changed)])

    def _pod(self, machine: _Machine) -> Pod | None:
        found = self._store.get(machine.pod) if machine.pod is not None else None
        return found if isinstance(found, Pod) else None

    def _group(self, machine: _Machine) -> WorkloadGroup | None:
        found = self._store.get(machine.group)
        return found if isinstance(found, WorkloadGroup) else None

    def _time(self) -> str:
        return self._clock.now().isoformat(timespec="microseconds").replace("+00:00", "Z")
