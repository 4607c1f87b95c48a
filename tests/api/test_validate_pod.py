"""Expected values are Kubernetes': its API reference and its validation."""

from typing import Any

import pytest

from argosy.api.decode import decode_json
from argosy.api.proxy_config import proxy_config
from argosy.api.validate import validate
from argosy.base.problems import Problem, Severity

CONTAINER = {"name": "app", "image": "app:1", "ports": [{"name": "web", "containerPort": 8080}]}


def deployment(**spec: Any) -> tuple[Problem, ...]:
    template = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [CONTAINER]}}
    decoded = decode_json(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "a"},
            "spec": {"selector": {"matchLabels": {"app": "a"}}, "template": template, **spec},
        }
    )
    assert decoded.problems == ()
    return validate(decoded.objects[0])


def pod(**spec: Any) -> list[tuple[str, str, Severity]]:
    decoded = decode_json(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "a"},
            "spec": {"containers": [CONTAINER], **spec},
        }
    )
    assert decoded.problems == ()
    return [(p.field, p.code, p.severity) for p in validate(decoded.objects[0])]


def container(**fields: Any) -> list[tuple[str, str, Severity]]:
    found = pod(containers=[{**CONTAINER, **fields}])
    return [(field.removeprefix("spec.containers[0]."), code, how) for field, code, how in found]


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"replicas": 0},
        {"selector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "b"]}]}},
        {"selector": {"matchExpressions": [{"key": "app", "operator": "Exists"}, {"key": "x", "operator": "DoesNotExist"}]}},
        {"selector": {"matchExpressions": [{"key": "x", "operator": "NotIn", "values": ["a"]}]}},
    ],
)  # fmt: skip
def test_deployments_that_kubernetes_admits(spec: dict[str, Any]) -> None:
    assert deployment(**spec) == ()


@pytest.mark.parametrize(
    ("spec", "field", "code"),
    [
        ({"replicas": -1}, "spec.replicas", "OutOfRange"),
        ({"selector": {}}, "spec.selector", "MissingField"),
        ({"selector": {"matchLabels": {"app": "b"}}}, "spec.template.metadata.labels", "SelectorMismatch"),
        ({"selector": {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a"]}]}}, "spec.template.metadata.labels", "SelectorMismatch"),
        ({"selector": {"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}}, "spec.template.metadata.labels", "SelectorMismatch"),
        ({"selector": {"matchExpressions": [{"key": "app", "operator": "Is"}]}}, "spec.selector.matchExpressions[0].operator", "InvalidValue"),
        ({"selector": {"matchExpressions": [{"key": "app", "operator": "In"}]}}, "spec.selector.matchExpressions[0].values", "InvalidValue"),
        ({"template": {"metadata": {"labels": {"app": "a"}}}}, "spec.template.spec.containers", "MissingField"),
        ({"template": {"metadata": {"labels": {"app": "a"}}, "spec": {"restartPolicy": "Never", "containers": [CONTAINER]}}}, "spec.template.spec.restartPolicy", "NotAllowed"),
    ],
)  # fmt: skip
def test_deployments_that_kubernetes_refuses(spec: dict[str, Any], field: str, code: str) -> None:
    found = [(p.field, p.code) for p in deployment(**spec)]
    assert found == [(field, code)]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"image": "", "command": ["sleep", "1d"]},
        {"readinessProbe": {"httpGet": {"port": "web", "path": "/"}}},
        {"livenessProbe": {"exec": {"command": ["true"]}}, "startupProbe": {"grpc": {"port": 9000}}},
        {"env": [{"name": "A", "value": "b"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]},
        {"envFrom": [{"configMapRef": {"name": "c"}}, {"prefix": "P_", "secretRef": {"name": "s"}}]},
        {"lifecycle": {"preStop": {"sleep": {"seconds": 5}}}},
    ],
)  # fmt: skip
def test_containers_that_kubernetes_admits(fields: dict[str, Any]) -> None:
    assert container(**fields) == []


@pytest.mark.parametrize(
    ("fields", "field", "code"),
    [
        ({"name": "My App"}, "name", "InvalidName"),
        ({"image": ""}, "image", "MissingField"),
        ({"ports": [{"containerPort": 0}]}, "ports[0].containerPort", "InvalidPort"),
        ({"ports": [{"containerPort": 1, "name": "WEB"}]}, "ports[0].name", "InvalidName"),
        ({"ports": [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]}, "ports[1].name", "DuplicateName"),
        ({"readinessProbe": {}}, "readinessProbe", "MissingField"),
        ({"readinessProbe": {"tcpSocket": {"port": 1}, "grpc": {"port": 1}}}, "readinessProbe", "ConflictingFields"),
        ({"readinessProbe": {"tcpSocket": {"port": 0}}}, "readinessProbe.tcpSocket.port", "InvalidPort"),
        ({"readinessProbe": {"exec": {}}}, "readinessProbe.exec.command", "MissingField"),
        ({"readinessProbe": {"grpc": {"port": 1}, "periodSeconds": 0}}, "readinessProbe.periodSeconds", "OutOfRange"),
        ({"readinessProbe": {"grpc": {"port": 1}, "initialDelaySeconds": -1}}, "readinessProbe.initialDelaySeconds", "OutOfRange"),
        ({"livenessProbe": {"grpc": {"port": 1}, "successThreshold": 2}}, "livenessProbe.successThreshold", "OutOfRange"),
        ({"env": [{"name": "A=B"}]}, "env[0].name", "InvalidName"),
        ({"env": [{"name": "A", "value": "b", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]}, "env[0]", "ConflictingFields"),
        ({"env": [{"name": "A", "valueFrom": {}}]}, "env[0].valueFrom", "MissingField"),
        ({"envFrom": [{}]}, "envFrom[0]", "MissingField"),
        ({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}, "volumeMounts[0].name", "UnknownVolume"),
        ({"lifecycle": {"preStop": {}}}, "lifecycle.preStop", "MissingField"),
    ],
)  # fmt: skip
def test_containers_that_kubernetes_refuses(fields: dict[str, Any], field: str, code: str) -> None:
    assert container(**fields) == [(field, code, Severity.ERROR)]


def test_a_probe_of_a_port_that_nobody_named_is_warned_of() -> None:
    assert container(readinessProbe={"httpGet": {"port": "http"}}) == [
        ("readinessProbe.httpGet.port", "UnknownPort", Severity.WARNING)
    ]


def test_pods() -> None:
    assert pod() == []
    assert pod(containers=[]) == [("spec.containers", "MissingField", Severity.ERROR)]
    assert pod(containers=[CONTAINER, CONTAINER]) == [
        ("spec.containers[1].name", "DuplicateName", Severity.ERROR)
    ]
    assert pod(initContainers=[CONTAINER]) == [
        ("spec.initContainers[0].name", "DuplicateName", Severity.ERROR)
    ]
    assert pod(serviceAccountName="A B") == [
        ("spec.serviceAccountName", "InvalidName", Severity.ERROR)
    ]
    assert pod(terminationGracePeriodSeconds=-1) == [
        ("spec.terminationGracePeriodSeconds", "OutOfRange", Severity.ERROR)
    ]


@pytest.mark.parametrize(
    ("tracing", "field", "words"),
    [
        ("{sampling: 100, customTags: {a: {literal: {value: x}}}}", "", ""),
        ("{sampling: 100.5}", "tracing.sampling", "1 is taken"),
        ("{customTags: {a: {literal: {}}}}", "tracing.customTags.a", "its value is empty"),
        (
            "{customTags: {a: {environment: {}}}}",
            "tracing.customTags.a",
            "the variable has no name",
        ),
        ("{customTags: {a: {header: {}}}}", "tracing.customTags.a", "the header has no name"),
        ("{customTags: {a: {}}}", "tracing.customTags.a", "not exactly one of"),
        (
            "{customTags: {a: {header: {name: x}, literal: {value: x}}}}",
            "tracing.customTags.a",
            "not exactly one of",
        ),
    ],
)
def test_tracing_of_one_pod(tracing: str, field: str, words: str) -> None:
    """As of the whole mesh; the rest of the annotation is in force."""
    annotations = {"proxy.istio.io/config": f"{{concurrency: 3, tracing: {tracing}}}"}
    decoded = decode_json(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "a", "annotations": annotations},
            "spec": {"containers": [CONTAINER]},
        }
    )
    found = [(p.field, p.severity) for p in validate(decoded.objects[0])]
    where = f'metadata.annotations["proxy.istio.io/config"].{field}'
    assert found == ([(where, Severity.WARNING)] if field else [])
    assert all(words in p.message for p in validate(decoded.objects[0]))
    assert proxy_config(annotations["proxy.istio.io/config"], "")[0].concurrency == 3
