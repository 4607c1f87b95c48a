"""What spans tell of their proxy."""

import pytest

from argosy.model.standard_metrics import workload_facts
from argosy.proxy.span_names import ServiceName, environment, spoken

LABELS = {"app": "shop", "version": "v2"}


def facts(labels: dict[str, str]) -> str:
    return workload_facts("shop-v2", "default", ("store", "v2"), "Kubernetes", labels)


@pytest.mark.parametrize(
    ("form", "labels", "expected"),
    [
        ("APP_LABEL_AND_NAMESPACE", LABELS, "shop.default"),
        ("APP_LABEL_AND_NAMESPACE", {}, "shop-v2.default"),
        ("CANONICAL_NAME_ONLY", LABELS, "store"),
        ("CANONICAL_NAME_AND_NAMESPACE", LABELS, "store.default"),
    ],
)
def test_the_name_of_the_service(form: str, labels: dict[str, str], expected: str) -> None:
    """https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#ProxyConfig-TracingServiceName"""
    assert spoken("shop-1", "m", facts(labels)).service(ServiceName(form)) == expected


def test_the_environment_of_envoy() -> None:
    who = spoken("shop-1", "my-mesh", facts(LABELS))
    written = {"OTEL_RESOURCE_ATTRIBUTES": "team=blue"}
    assert environment(who, "shop.default", written) == {
        "OTEL_RESOURCE_ATTRIBUTES": "service.name=shop.default,service.namespace=default,"
        "service.instance.id=default.shop-1,service.version=v2,team=blue",
        "DD_SERVICE": "shop.default",
        "ARGOSY_CANONICAL_REVISION": "v2",
        "ARGOSY_CANONICAL_SERVICE": "store",
        "ARGOSY_CLUSTER_ID": "Kubernetes",
        "ARGOSY_MESH_ID": "my-mesh",
        "ARGOSY_NAMESPACE": "default",
    }
