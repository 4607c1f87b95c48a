"""The Deployment controller against a pretended cluster; rules from Kubernetes' documentation."""

import itertools
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from argosy.api.apps import Deployment
from argosy.api.core_pod import Pod
from argosy.platforms.local import workloads
from argosy.platforms.local.workloads import HASH_LABEL, Create, Delete


def deployment(replicas: int = 1, image: str = "a:1", **spec: Any) -> Deployment:
    return msgspec.convert(
        {
            "metadata": {"name": "web", "namespace": "ns", "uid": "d1", "generation": 4},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}, "annotations": {"k": "v"}},
                    "spec": {"containers": [{"name": "c", "image": image}]},
                },
                **spec,
            },
        },
        Deployment,
    )


class Cluster:
    """Does the steps; pods become ready when the test says so."""

    def __init__(self) -> None:
        self.pods: dict[str, Pod] = {}
        self.numbers = itertools.count()

    def step(self, wanted: Deployment) -> tuple[list[str], list[str]]:
        """One round: hashes of the created, names of the deleted."""
        created, deleted = [], []
        for step in workloads.steps(wanted, self.pods.values(), self.suffix):
            match step:
                case Create(pod):
                    self.pods[pod.metadata.name] = pod
                    created.append(pod.metadata.labels[HASH_LABEL])
                case Delete(_, name):
                    del self.pods[name]
                    deleted.append(name)
        return created, deleted

    def suffix(self) -> str:
        return workloads.random_suffix(next(self.numbers))

    def set(self, name: str, phase: str = "Running", ready: bool = True) -> None:
        status = {
            "phase": phase,
            "podIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": str(ready)}],
        }
        pod = msgspec.to_builtins(self.pods[name])
        self.pods[name] = msgspec.convert({**pod, "status": status}, Pod)

    def all_ready(self) -> None:
        for name in self.pods:
            self.set(name)

    def images(self) -> list[str]:
        return sorted(p.spec.containers[0].image for p in self.pods.values())

    @property
    def ready(self) -> int:
        return sum(map(workloads.is_ready, self.pods.values()))


def test_pods_carry_template_owner_and_name() -> None:
    cluster = Cluster()
    wanted = deployment(2)
    cluster.step(wanted)
    assert len(cluster.pods) == 2
    for name, pod in cluster.pods.items():
        assert name == f"web-{workloads.template_hash(wanted)}-{name[-5:]}"
        assert pod.metadata.labels == {"app": "web", HASH_LABEL: workloads.template_hash(wanted)}
        assert pod.metadata.annotations == {"k": "v"}
        assert pod.metadata.owner_references[0].uid == "d1"
        assert workloads.is_owned(pod, wanted)
    assert cluster.step(wanted) == ([], [])


def test_scaling_down_ends_pods_that_are_not_ready_first() -> None:
    cluster = Cluster()
    cluster.step(deployment(3))
    first, second, third = cluster.pods
    cluster.set(first)
    cluster.set(third)
    assert cluster.step(deployment(2))[1] == [second]
    assert len(cluster.step(deployment(0))[1]) == 2


def test_one_replica_is_replaced_without_a_gap() -> None:
    cluster = Cluster()
    cluster.step(deployment(1))
    cluster.all_ready()
    created, deleted = cluster.step(deployment(1, "a:2"))
    assert (len(created), deleted) == (1, [])
    assert cluster.step(deployment(1, "a:2")) == ([], [])
    cluster.all_ready()
    created, deleted = cluster.step(deployment(1, "a:2"))
    assert (created, len(deleted)) == ([], 1)
    assert cluster.images() == ["a:2"]


@given(
    replicas=st.integers(1, 12),
    surge=st.sampled_from(["25%", "0%", "50%", 1, 3]),
    unavailable=st.sampled_from(["25%", "0%", "50%", 0, 2]),
    order=st.randoms(),
)
def test_a_roll_out_keeps_its_limits_and_ends(
    replicas: int, surge: int | str, unavailable: int | str, order: Any
) -> None:
    strategy = {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    cluster = Cluster()
    cluster.step(deployment(replicas, strategy=strategy))
    cluster.all_ready()
    after = deployment(replicas, "a:2", strategy=strategy)
    most, missing = workloads._limits(after, replicas)
    for _ in range(10 * replicas):
        cluster.step(after)
        assert len(cluster.pods) <= replicas + most
        assert cluster.ready >= replicas - missing
        unready = [n for n, p in cluster.pods.items() if not workloads.is_ready(p)]
        if unready:
            cluster.set(order.choice(unready))
    assert cluster.images() == ["a:2"] * replicas
    assert cluster.ready == replicas


def test_recreate_ends_all_before_it_begins() -> None:
    cluster = Cluster()
    strategy = {"type": "Recreate"}
    cluster.step(deployment(2, strategy=strategy))
    cluster.all_ready()
    created, deleted = cluster.step(deployment(2, "a:2", strategy=strategy))
    assert (created, len(deleted)) == ([], 2)
    assert len(cluster.step(deployment(2, "a:2", strategy=strategy))[0]) == 2


def test_a_paused_roll_out_changes_no_template() -> None:
    cluster = Cluster()
    cluster.step(deployment(2))
    cluster.all_ready()
    cluster.step(deployment(2, "a:2", paused=True))
    assert cluster.images() == ["a:1", "a:1"]


def test_finished_pods_are_replaced() -> None:
    cluster = Cluster()
    cluster.step(deployment(1))
    (name,) = cluster.pods
    cluster.set(name, "Failed", ready=False)
    created, deleted = cluster.step(deployment(1))
    assert (len(created), deleted) == (1, [name])


def test_pods_of_a_deleted_deployment_are_orphans() -> None:
    cluster = Cluster()
    cluster.step(deployment(1))
    (name,) = cluster.pods
    assert workloads.orphans(cluster.pods.values(), [deployment()]) == ()
    assert workloads.orphans(cluster.pods.values(), []) == (Delete("ns", name),)
    alone = msgspec.convert({"metadata": {"name": "x", "namespace": "ns"}}, Pod)
    assert workloads.orphans([alone], []) == ()


def test_status_counts_and_keeps_transition_times() -> None:
    cluster = Cluster()
    wanted = deployment(2)
    cluster.step(wanted)
    cluster.set(next(iter(cluster.pods)))
    status = workloads.status(wanted, cluster.pods.values(), "t1")
    counts = (status.replicas, status.updated_replicas, status.ready_replicas)
    assert counts == (2, 2, 1)
    assert status.unavailable_replicas == 1
    assert status.observed_generation == 4
    assert [(c.type, c.status) for c in status.conditions] == [
        ("Available", "False"),
        ("Progressing", "True"),
    ]
    cluster.all_ready()
    told = msgspec.structs.replace(wanted, status=status)
    after = workloads.status(told, cluster.pods.values(), "t2")
    times = {c.type: (c.status, c.last_transition_time) for c in after.conditions}
    assert times == {"Available": ("True", "t2"), "Progressing": ("True", "t1")}
