"""What spans tell of their proxy."""

import pytest

from argosy.api.meta import Metadata
from argosy.proxy.span_names import ServiceName, environment, spoken

HASH = {"pod-template-hash": "5d8f9c7b6"}
CANONICAL = {
    "service.istio.io/canonical-name": "store",
    "service.istio.io/canonical-revision": "v2",
}
LABELS = HASH | CANONICAL | {"app": "shop", "version": "v2"}


def pod(labels: dict[str, str]) -> Metadata:
    """One of the Deployment ``shop-v2``."""
    return Metadata(name="shop-v2-5d8f9c7b6-x2x9z", namespace="default", labels=labels)


@pytest.mark.parametrize(
    ("form", "labels", "expected"),
    [
        ("APP_LABEL_AND_NAMESPACE", LABELS, "shop.default"),
        ("APP_LABEL_AND_NAMESPACE", HASH | CANONICAL, "shop-v2.default"),
        ("CANONICAL_NAME_ONLY", LABELS, "store"),
        ("CANONICAL_NAME_AND_NAMESPACE", LABELS, "store.default"),
    ],
)
def test_the_name_of_the_service(form: str, labels: dict[str, str], expected: str) -> None:
    """https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#ProxyConfig-TracingServiceName"""
    assert spoken(pod(labels), "m").service(ServiceName(form)) == expected


def test_the_environment_of_envoy() -> None:
    who = spoken(pod(LABELS), "my-mesh")
    written = {"OTEL_RESOURCE_ATTRIBUTES": "team=blue"}
    assert environment(who, "shop.default", written) == {
        "OTEL_RESOURCE_ATTRIBUTES": "service.name=shop.default,service.namespace=default,"
        "service.instance.id=default.shop-v2-5d8f9c7b6-x2x9z,service.version=v2,team=blue",
        "DD_SERVICE": "shop.default",
        "ARGOSY_CANONICAL_REVISION": "v2",
        "ARGOSY_CANONICAL_SERVICE": "store",
        "ARGOSY_CLUSTER_ID": "Kubernetes",
        "ARGOSY_MESH_ID": "my-mesh",
        "ARGOSY_NAMESPACE": "default",
    }
