"""Who may register with a WorkloadGroup, and how long its entry stays."""

from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from argosy import xds
from argosy.api.core_pod import Pod, PodSpec, PodStatus
from argosy.api.meta import Condition, Metadata, Object
from argosy.api.networking_workload_entry import (
    ReadinessProbe,
    TCPHealthCheck,
    WorkloadEntry,
    WorkloadEntrySpec,
    WorkloadGroup,
    WorkloadGroupMetadata,
    WorkloadGroupSpec,
)
from argosy.base.names import Namespace, ObjectKey
from argosy.model.workload import Health
from argosy.pilot.compile import registrations, service_entries, workloads
from argosy.server.registrations import Registrations
from argosy.store.store import Store
from argosy.store.transaction import Delete, Put, SetStatus

ENTRY = ObjectKey("WorkloadEntry", Namespace("default"), "legacy-10.244.0.7")
START = datetime(2026, 1, 2, tzinfo=UTC)
GROUP = WorkloadGroup(
    metadata=Metadata(name="legacy", namespace="default"),
    spec=WorkloadGroupSpec(
        metadata=WorkloadGroupMetadata(labels={"app": "legacy"}, annotations={"a": "b"}),
        template=WorkloadEntrySpec(
            labels={"app": "other", "version": "v1"}, ports={"http": 8000}, service_account="vm"
        ),
    ),
)
PROBED = WorkloadGroup(
    metadata=GROUP.metadata,
    spec=WorkloadGroupSpec(
        template=GROUP.spec.template, probe=ReadinessProbe(tcp_socket=TCPHealthCheck(port=1))
    ),
)


class SetClock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


def pod(group: str = "legacy", account: str = "vm", **status: object) -> Pod:
    text = f"proxyMetadata: {{ISTIO_META_AUTO_REGISTER_GROUP: {group}}}" if group else ""
    probed = status.get("probed")
    conditions = (Condition(type=registrations.PROBE_CONDITION, status=str(probed)),)
    return Pod(
        api_version="v1",
        kind="Pod",
        metadata=Metadata(
            name="machine", namespace="default", annotations={"proxy.istio.io/config": text}
        ),
        spec=PodSpec(service_account_name=account),
        status=PodStatus(
            phase="Running", pod_ip="10.244.0.7", conditions=conditions if probed else ()
        ),
    )


class World:
    def __init__(self, *objects: Object) -> None:
        numbers = count(1)
        self.clock = SetClock()
        self.store = Store(clock=self.clock, uids=lambda: str(next(numbers)))
        self.connected = {"machine.default"}
        self.registrations = Registrations(
            self.store, self.clock, lambda client: client in self.connected
        )
        for value in objects:
            self.store.apply([Put(value)])
            if isinstance(value, Pod):
                self.store.apply([SetStatus(value)])
        self.registrations.begin()

    def admit(self, machine: Pod) -> WorkloadGroup | xds.Refusal:
        return self.registrations.admit(machine, "legacy", "machine.default")

    def at(self, seconds: float) -> WorkloadEntry | None:
        self.clock.seconds = seconds
        self.registrations.reconcile()
        found = self.store.get(ENTRY)
        return found if isinstance(found, WorkloadEntry) else None


@pytest.mark.parametrize(
    ("machine", "objects", "words"),
    [
        (pod(account="default"), (GROUP,), "may not register"),
        (pod(group=""), (GROUP,), "is not meant for"),
        (pod(group="other"), (GROUP,), "is not meant for"),
        (pod(), (), "there is no WorkloadGroup default/legacy"),
        (pod(), (WorkloadGroup(metadata=GROUP.metadata),), "whose machines run as 'default'"),
        (
            pod(),
            (GROUP, WorkloadEntry(metadata=Metadata(name=ENTRY.name, namespace="default"))),
            "exists and is not of",
        ),
    ],
)
def test_who_may_not_register(machine: Pod, objects: tuple[Object, ...], words: str) -> None:
    world = World(machine, *objects)
    before = world.store.get(ENTRY)
    refused = world.admit(machine)
    assert isinstance(refused, xds.Refusal)
    assert words in refused.message
    assert world.at(1) == before


def test_the_entry_is_what_the_group_says() -> None:
    world = World(pod(), GROUP)
    assert isinstance(world.admit(pod()), WorkloadGroup)
    entry = world.at(0)
    assert entry is not None
    labels = {"security.istio.io/tlsMode": "istio", "app": "legacy", "version": "v1"}
    assert (entry.spec.labels, entry.metadata.labels) == (labels, labels)
    assert (entry.spec.address, entry.spec.service_account) == ("10.244.0.7", "vm")
    assert entry.metadata.annotations["istio.io/connectedAt"] == "2026-01-02T00:00:00.000000Z"
    assert entry.metadata.annotations["a"] == "b"
    assert workloads.workload(pod()) is None, "the pod is no endpoint besides"
    role = registrations.registered_role(pod(), GROUP)
    assert (dict(role.labels), role.entry_ports) == (labels, (("http", 8000),))


def test_it_stays_for_the_grace_period_and_on_a_quick_return() -> None:
    world = World(pod(), GROUP)
    world.admit(pod())
    world.at(0)
    world.connected.clear()
    away = world.at(1)
    assert away is not None
    assert registrations.DISCONNECTED in away.metadata.annotations
    assert world.at(10.9) is not None
    world.connected.add("machine.default")
    world.admit(pod())
    back = world.at(10.9)
    assert back is not None
    assert registrations.DISCONNECTED not in back.metadata.annotations
    assert world.at(30) is not None
    world.connected.clear()
    assert world.at(31) is not None
    assert world.at(41) is None


def test_entries_of_an_earlier_control_plane_wait_for_their_proxies() -> None:
    first = World(pod(), GROUP)
    first.admit(pod())
    entry = first.at(0)
    assert entry is not None
    bare = WorkloadEntry(metadata=Metadata(name=entry.metadata.name, namespace="default"))
    copy = WorkloadEntry(
        metadata=Metadata(
            name=ENTRY.name, namespace="default", annotations=entry.metadata.annotations
        ),
        spec=entry.spec,
    )
    world = World(pod(), GROUP, copy)
    assert world.at(9.9) is not None
    assert world.at(10) is None
    assert World(bare).at(11) is not None, "made by a person: never removed"


def test_health_is_what_the_agent_says() -> None:
    world = World(pod(), PROBED)
    world.admit(pod())

    def health() -> Health:
        entry = world.at(0)
        assert entry is not None
        return service_entries.workload(entry).health

    assert health() is Health.UNHEALTHY, "nobody has asked yet"
    for said, expected in ((True, Health.HEALTHY), (False, Health.UNHEALTHY)):
        world.store.apply([SetStatus(pod(probed=said))])
        assert health() is expected
    world.store.apply([Delete(pod().key)])
    assert health() is Health.UNHEALTHY, "it has left"
