"""Which pods get a proxy, and whether that is what was meant."""

from collections.abc import Mapping

from argosy.api import core_pod
from argosy.base.names import ObjectKey
from argosy.base.problems import Problem, Severity
from argosy.derive import Reader, formula
from argosy.pilot.analyze.workloads import (
    SYSTEM_NAMESPACES,
    Template,
    injection,
    metadata_of,
    object_of,
    template_of,
)
from argosy.pilot.compile.injection import NAMESPACE_INJECTION, Injection
from argosy.pilot.compile.registrations import TLS_MODE
from argosy.pilot.graph.world import names_of, read

REVISION = "istio.io/rev"
PROXY_CONTAINER = "istio-proxy"
PROXY_UID = 1337
FOR_SIDECARS = ("Sidecar", "EnvoyFilter", "PeerAuthentication", "ProxyConfig")
"""Kinds that configure the proxies of their own namespace."""


@formula
def namespace_injection(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    metadata = metadata_of(get, key)
    if metadata is None or key.name in SYSTEM_NAMESPACES:
        return ()
    labels = metadata.labels
    if NAMESPACE_INJECTION in labels and REVISION in labels:
        return (
            Problem(
                key,
                f'metadata.labels["{REVISION}"]',
                "NamespaceMultipleInjectionLabels",
                f"the namespace has both {NAMESPACE_INJECTION} and {REVISION}; "
                f"{NAMESPACE_INJECTION} counts",
                "keep one of the labels",
                Severity.WARNING,
            ),
        )
    if labels.get(NAMESPACE_INJECTION) != "disabled":
        return ()
    ruled = [f"{kind} {name}" for kind in FOR_SIDECARS for name in names_of(get, kind, key.name)]
    if not ruled:
        return ()
    return (
        Problem(
            key,
            f"metadata.labels.{NAMESPACE_INJECTION}",
            "NamespaceNotInjected",
            f"injection is switched off here, so the rules for sidecars ({', '.join(ruled)}) hold "
            "only for pods that ask for injection themselves",
            f"remove the label {NAMESPACE_INJECTION}=disabled, or the rules",
            Severity.INFO,
        ),
    )


@formula
def pod_injection(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    """A pod that runs, should have a proxy, and has none."""
    pod = read(get, key, core_pod.Pod)
    if pod is None or pod.status is None or pod.status.phase != "Running" or pod.spec.host_network:
        return ()
    wanted = injection(get, Template("", pod.metadata, pod.spec), key.namespace)
    if wanted is not Injection.SIDECAR or TLS_MODE in pod.metadata.labels:
        return ()
    return (
        Problem(
            key,
            "metadata.name",
            "PodMissingProxy",
            "the pod runs without a proxy, for its namespace was not injected when it started",
            "restart it",
            Severity.WARNING,
        ),
    )


@formula
def image_auto(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    """The image ``auto``, where nobody replaces it."""
    template = template_of(get(object_of, key))
    if template is None or injection(get, template, key.namespace) is not Injection.NONE:
        return ()
    code = (
        "ImageAutoWithoutInjectionError"
        if key.kind == "Pod"
        else "ImageAutoWithoutInjectionWarning"
    )
    return tuple(
        Problem(
            key,
            template.at(f"spec.containers[{index}].image"),
            code,
            "the image auto is replaced by injection, and injection is switched off here",
            "switch it on, or name the image",
            Severity.WARNING,
        )
        for index, container in enumerate(template.spec.containers)
        if container.name == PROXY_CONTAINER and container.image == "auto"
    )


@formula
def application_uid(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    """Containers that run as the user by whom Istio knows the proxy's own traffic."""
    template = template_of(get(object_of, key))
    if template is None:
        return ()
    of_pod = template.spec.security_context
    whole = of_pod.get("runAsUser") if isinstance(of_pod, Mapping) else None
    fields = []
    if whole == PROXY_UID:
        fields.append("spec.securityContext.runAsUser")
    for index, container in enumerate(template.spec.containers):
        own = container.security_context
        if container.name != PROXY_CONTAINER and own and own.run_as_user == PROXY_UID:
            fields.append(f"spec.containers[{index}].securityContext.runAsUser")
    return tuple(
        Problem(
            key,
            template.at(field),
            "InvalidApplicationUID",
            f"user {PROXY_UID} is the proxy's in Istio, whose rules let its traffic pass the proxy",
            "use another user",
            Severity.WARNING,
        )
        for field in fields
    )
