"""Expected values from Kubernetes' documentation of dependent variables and the downward API."""

from typing import Any

import msgspec
import pytest

from argosy.api.core import ConfigMap, Secret
from argosy.api.core_container import Container
from argosy.api.core_pod import Pod
from argosy.platforms.local.environment import ConfigError, Sources, environment, expand

SOURCES = Sources(
    {"cm": msgspec.convert({"data": {"a": "1", "b": "2"}}, ConfigMap)},
    {"s": msgspec.convert({"data": {"k": "c2VjcmV0"}}, Secret)},
)
POD = msgspec.convert(
    {
        "metadata": {
            "name": "p",
            "namespace": "ns",
            "uid": "u",
            "labels": {"app": "x", "version": "v1"},
            "annotations": {"a.b/c": "d"},
        },
        "spec": {"serviceAccountName": "sa"},
    },
    Pod,
)


def env(*entries: dict[str, Any], **more: Any) -> dict[str, str]:
    container = msgspec.convert({"name": "c", "env": list(entries), **more}, Container)
    return environment(container, POD, "10.0.0.5", SOURCES, {"BASE": "base"})


def field(path: str) -> dict[str, Any]:
    return {"name": "X", "valueFrom": {"fieldRef": {"fieldPath": path}}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "a"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$a"),
        ("$$$$(A)", "$$(A)"),
        ("$(B)", "$(B)"),
        ("$A", "$A"),
        ("$(A", "$(A"),
        ("x$(A)y$(A)", "xaya"),
        ("$$", "$"),
    ],
)
def test_expansion(text: str, expected: str) -> None:
    assert expand(text, {"A": "a"}) == expected


def test_later_variables_may_use_earlier_ones() -> None:
    found = env(
        {"name": "A", "value": "$(BASE)/a"},
        {"name": "B", "value": "$(A)/b $(C)"},
        {"name": "C", "value": "c"},
    )
    assert found == {"BASE": "base", "A": "base/a", "B": "base/a/b $(C)", "C": "c"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("metadata.name", "p"),
        ("metadata.namespace", "ns"),
        ("metadata.uid", "u"),
        ("metadata.labels['app']", "x"),
        ("metadata.annotations['a.b/c']", "d"),
        ("metadata.labels['none']", ""),
        ("metadata.labels", 'app="x"\nversion="v1"'),
        ("spec.serviceAccountName", "sa"),
        ("status.podIP", "10.0.0.5"),
    ],
)
def test_downward_fields(path: str, expected: str) -> None:
    assert env(field(path))["X"] == expected


def test_unknown_field() -> None:
    with pytest.raises(ConfigError, match=r"no field 'status\.mood'"):
        env(field("status.mood"))


def test_whole_sources_come_before_single_variables() -> None:
    sources = [{"configMapRef": {"name": "cm"}, "prefix": "P_"}, {"secretRef": {"name": "s"}}]
    found = env({"name": "P_a", "value": "own"}, envFrom=sources)
    assert found == {"BASE": "base", "P_a": "own", "P_b": "2", "k": "secret"}


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ({"configMapKeyRef": {"name": "no", "key": "a"}}, 'configmap "no" not found'),
        ({"configMapKeyRef": {"name": "cm", "key": "z"}}, "couldn't find key z in ConfigMap cm"),
        ({"secretKeyRef": {"name": "no", "key": "a"}}, 'secret "no" not found'),
    ],
)
def test_missing_sources(reference: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        env({"name": "X", "valueFrom": reference})
    ((kind, selector),) = reference.items()
    optional = {"name": "X", "valueFrom": {kind: {**selector, "optional": True}}}
    assert "X" not in env(optional)


@pytest.mark.parametrize(
    ("resource", "divisor", "expected"),
    [
        ("limits.cpu", "1", "1"),
        ("limits.cpu", "1m", "500"),
        ("limits.memory", "1Mi", "64"),
        ("limits.memory", None, "67108864"),
        ("requests.cpu", "1m", "500"),
    ],
)
def test_resources(resource: str, divisor: str | None, expected: str) -> None:
    reference = {"resourceFieldRef": {"resource": resource, "divisor": divisor}}
    limits = {"limits": {"cpu": "500m", "memory": "64Mi"}}
    assert env({"name": "X", "valueFrom": reference}, resources=limits)["X"] == expected
