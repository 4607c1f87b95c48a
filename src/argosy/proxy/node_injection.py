"""Which pods get a proxy, and the labels by which others know them. Pure.

https://istio.io/latest/docs/setup/additional-setup/sidecar-injection/; on this platform injection
is on unless it is switched off.
"""

from collections.abc import Mapping

import msgspec

from argosy.api.core_pod import Pod
from argosy.model.proxy_traffic import CapturePorts
from argosy.pilot.compile.capture_ports import annotations
from argosy.pilot.compile.injection import Injection, injection_of
from argosy.platforms.local.workloads import HASH_LABEL, MESHED_LABEL

_CANONICAL_NAME = "service.istio.io/canonical-name"
_CANONICAL_REVISION = "service.istio.io/canonical-revision"


def injection(pod: Pod, namespace_labels: Mapping[str, str]) -> Injection:
    return injection_of(pod.metadata, namespace_labels)


def workload_name(pod: Pod) -> str:
    """The Deployment's or StatefulSet's name, or the pod's own."""
    for owner in pod.metadata.owner_references:
        if owner.kind in ("Deployment", "StatefulSet"):
            return owner.name
    return pod.metadata.name


def added_labels(pod: Pod, kind: Injection) -> dict[str, str]:
    """The labels that injection adds and that the pod lacks.

    Canonical names as https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/ has them.
    """
    labels = pod.metadata.labels
    if kind is Injection.NONE:
        return {}
    wanted = {
        _CANONICAL_NAME: labels.get("app.kubernetes.io/name")
        or labels.get("app")
        or workload_name(pod),
        _CANONICAL_REVISION: labels.get("app.kubernetes.io/version")
        or labels.get("version")
        or "latest",
    }
    if kind in (Injection.SIDECAR, Injection.GRPC):
        wanted[MESHED_LABEL] = "istio"
    return {key: value for key, value in wanted.items() if key not in labels}


def injected(pod: Pod, kind: Injection, ports: CapturePorts) -> Pod:
    """With the labels and annotations that injection adds; one that has them is left as it is.

    ``ports`` are those of the mesh now: they are the pod's from now on.
    """
    labels = added_labels(pod, kind)
    if not labels:
        return pod
    metadata = msgspec.structs.replace(
        pod.metadata,
        labels={**pod.metadata.labels, **labels},
        annotations={
            **pod.metadata.annotations,
            **(annotations(ports) if kind is Injection.SIDECAR else {}),
        },
    )
    return msgspec.structs.replace(pod, metadata=metadata)


def proxy_labels(pod: Pod) -> tuple[tuple[str, str], ...]:
    """The labels as the proxy reports them."""
    return tuple(sorted((k, v) for k, v in pod.metadata.labels.items() if k != HASH_LABEL))
