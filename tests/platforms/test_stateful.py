"""Rules of https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/."""

from typing import Any

import msgspec
import pytest

from argosy.api.apps import StatefulSet
from argosy.api.core_pod import Pod
from argosy.platforms.local.stateful import orphans, revision, status, steps
from argosy.platforms.local.workloads import Create, Delete


def a_set(replicas: int = 3, image: str = "one", **spec: Any) -> StatefulSet:
    written = {
        "metadata": {"name": "web", "namespace": "ns", "uid": "u"},
        "spec": {
            "serviceName": "web",
            "replicas": replicas,
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": image}]},
            },
            **spec,
        },
    }
    return msgspec.convert(written, StatefulSet)


class World:
    """The pods of one set; ``grow`` makes what the controller wants."""

    def __init__(self) -> None:
        self.pods: dict[str, Pod] = {}

    def take(self, wanted: StatefulSet) -> list[str]:
        """One round of steps, done at once: ``+web-0``, ``-web-0``."""
        told = []
        for step in steps(wanted, self.pods.values()):
            match step:
                case Create(pod):
                    self.pods[pod.metadata.name] = pod
                    told.append(f"+{pod.metadata.name}")
                case Delete(_, name):
                    del self.pods[name]
                    told.append(f"-{name}")
        return told

    def ready(self, *names: str, is_ready: bool = True) -> None:
        for name in names:
            condition = {"type": "Ready", "status": str(is_ready)}
            fields = {"phase": "Running", "podIP": "10.0.0.1", "conditions": [condition]}
            made = msgspec.convert({"status": fields}, Pod)
            self.pods[name] = msgspec.structs.replace(self.pods[name], status=made.status)

    def grow(self, wanted: StatefulSet) -> None:
        while self.take(wanted):
            self.ready(*self.pods)


def test_pods_come_one_after_the_other() -> None:
    world = World()
    wanted = a_set()
    assert world.take(wanted) == ["+web-0"]
    assert world.take(wanted) == []
    world.ready("web-0")
    assert world.take(wanted) == ["+web-1"]
    world.ready("web-1")
    world.ready("web-0", is_ready=False)
    assert world.take(wanted) == [], "a pod that fell ill holds back those after it"
    world.ready("web-0")
    assert world.take(wanted) == ["+web-2"]


def test_a_missing_pod_is_made_again_first() -> None:
    world = World()
    world.grow(a_set())
    del world.pods["web-0"]
    assert world.take(a_set()) == ["+web-0"]


def test_they_go_from_the_end_one_at_a_time() -> None:
    world = World()
    world.grow(a_set())
    assert world.take(a_set(1)) == ["-web-2"]
    assert world.take(a_set(1)) == ["-web-1"]
    assert world.take(a_set(1)) == []


def test_parallel_waits_for_nothing() -> None:
    world = World()
    parallel = {"podManagementPolicy": "Parallel"}
    assert world.take(a_set(**parallel)) == ["+web-0", "+web-1", "+web-2"]
    assert world.take(a_set(0, **parallel)) == ["-web-2", "-web-1", "-web-0"]


def test_a_new_template_rolls_from_the_end() -> None:
    world = World()
    world.grow(a_set())
    newer = a_set(image="two")
    order = []
    while told := world.take(newer):
        order += told
        world.ready(*world.pods)
    assert order == ["-web-2", "+web-2", "-web-1", "+web-1", "-web-0", "+web-0"]
    assert status(newer, world.pods.values()).updated_replicas == 3


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ({"type": "OnDelete"}, []),
        ({"rollingUpdate": {"partition": 2}}, ["-web-2"]),
        ({"rollingUpdate": {"partition": 3}}, []),
    ],
)
def test_updates_may_be_held_back(strategy: dict[str, Any], expected: list[str]) -> None:
    world = World()
    world.grow(a_set())
    assert world.take(a_set(image="two", updateStrategy=strategy)) == expected


def test_a_pods_identity() -> None:
    wanted = a_set(
        1,
        ordinals={"start": 7},
        volumeClaimTemplates=[{"metadata": {"name": "data"}}],
    )
    (step,) = steps(wanted, ())
    assert isinstance(step, Create)
    pod = step.pod
    assert (pod.metadata.name, pod.spec.hostname, pod.spec.subdomain) == ("web-7", "web-7", "web")
    assert pod.metadata.labels == {
        "app": "web",
        "controller-revision-hash": revision(wanted),
        "statefulset.kubernetes.io/pod-name": "web-7",
        "apps.kubernetes.io/pod-index": "7",
    }
    (volume,) = pod.spec.volumes
    assert (volume.name, volume.persistent_volume_claim) == ("data", {"claimName": "data-web-7"})


def test_pods_of_a_set_that_is_gone_go() -> None:
    world = World()
    world.grow(a_set(1))
    assert orphans(world.pods.values(), [a_set()]) == ()
    assert orphans(world.pods.values(), []) == (Delete("ns", "web-0"),)
