from typing import Any

import msgspec

from argosy.api.core import Service
from argosy.api.core_pod import Pod
from argosy.api.networking_network_policy import NetworkPolicy
from argosy.proxy.capture import ServiceTarget, text
from argosy.proxy.names import Addresses, NoSuchName
from argosy.proxy.node_cluster import Cluster


def pod(name: str, ip: str, *, ready: bool = True, version: int = 1, **labels: str) -> Pod:
    return msgspec.convert(
        {
            "metadata": {
                "name": name,
                "namespace": "ns",
                "labels": {"app": "a", **labels},
                "resourceVersion": str(version),
                "uid": name,
            },
            "spec": {
                "containers": [{"name": "c", "ports": [{"containerPort": 8080, "name": "web"}]}]
            },
            "status": {"podIP": ip, "conditions": [{"type": "Ready", "status": str(ready)}]},
        },
        Pod,
    )


def service(name: str = "a", **spec: Any) -> Service:
    spec = {"selector": {"app": "a"}, "clusterIP": "10.96.0.9", **spec}
    ports = {"ports": [{"port": 80, "targetPort": "web"}]}
    value = {"metadata": {"name": name, "namespace": "ns"}, "spec": {**ports, **spec}}
    return msgspec.convert(value, Service)


def cluster(*values: Pod | Service) -> Cluster:
    made = Cluster()
    for value in values:
        made.put(value)
    return made


def test_older_news_does_not_replace_newer() -> None:
    made = cluster(pod("p", "1", version=5), pod("p", "0", version=4))
    (known,) = made.all(Pod)
    assert known.metadata.resource_version == "5"


def test_what_a_new_watch_does_not_confirm_is_gone() -> None:
    made = cluster(pod("p", "1"), pod("q", "2"))
    made.restart()
    made.put(pod("q", "2"))
    made.synced()
    assert [p.metadata.name for p in made.all(Pod)] == ["q"]


def test_removal_of_an_earlier_object_of_the_name_is_not_removal() -> None:
    made = cluster(pod("p", "1"))
    other = msgspec.structs.replace(pod("p", "1").metadata, uid="older")
    made.remove(msgspec.structs.replace(pod("p", "1"), metadata=other))
    assert len(made.all(Pod)) == 1


def test_only_ready_pods_are_behind_a_service() -> None:
    made = cluster(
        service(),
        pod("p", "10.244.0.2"),
        pod("q", "10.244.0.3", ready=False),
        pod("other", "10.244.0.4", app="b"),
    )
    targets = (ServiceTarget("10.96.0.9", 80, (("10.244.0.2", 8080),)),)
    assert made.service_targets() == targets


def test_names_of_virtual_and_headless_services() -> None:
    made = cluster(
        service(),
        service("headless", clusterIP="None"),
        service("early", clusterIP="None", publishNotReadyAddresses=True),
        pod("p", "10.244.0.2"),
        pod("q", "10.244.0.3", ready=False),
    )
    names = made.names()
    assert names.resolve("a", "ns") == Addresses(("10.96.0.9",))
    assert names.resolve("headless", "ns") == Addresses(("10.244.0.2",))
    assert names.resolve("early", "ns") == Addresses(("10.244.0.2", "10.244.0.3"))
    assert names.resolve("b.ns.svc.cluster.local", "ns") == NoSuchName()
    assert made.service_targets()[0].address == "10.96.0.9"
    assert len(made.service_targets()) == 1


def test_a_service_without_selector_has_no_pods() -> None:
    made = cluster(service(selector={}), pod("p", "10.244.0.2"))
    assert made.service_targets() == (ServiceTarget("10.96.0.9", 80, ()),)


def test_a_policy_follows_the_pods_that_come_and_go() -> None:
    guarded, caller = pod("p", "10.244.0.2"), pod("q", "10.244.0.3", role="caller")
    made = cluster(guarded)
    assert made.policy(guarded).chains == (), "no policy, no rules"
    who = {"podSelector": {"matchLabels": {"role": "caller"}}}
    spec = {"podSelector": {}, "ingress": [{"from": [who]}]}
    made.put(
        msgspec.convert({"metadata": {"name": "n", "namespace": "ns"}, "spec": spec}, NetworkPolicy)
    )

    def let_in() -> bool:
        return "ip saddr 10.244.0.3/32 return" in text(made.policy(guarded))

    assert not let_in()
    made.put(caller)
    assert let_in()
    made.remove(caller)
    assert not let_in()
