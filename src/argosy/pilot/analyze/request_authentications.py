"""RequestAuthentications that select nothing, or workloads where nobody checks tokens."""

from argosy.api.core_pod import TEMPLATES_ANNOTATION, Pod
from argosy.api.security_request_authentication import RequestAuthentication
from argosy.base.names import Namespace, ObjectKey
from argosy.base.problems import Problem, Severity
from argosy.derive import Reader, formula
from argosy.model.proxy import ProxyType
from argosy.model.workload import sorted_labels
from argosy.pilot.analyze.selectors import unmatched
from argosy.pilot.compile.policy_targets import holds_for
from argosy.pilot.compile.roles import proxy_type
from argosy.pilot.graph.request_authn import compiled_policy
from argosy.pilot.graph.world import annotated, mesh_settings, read


@formula
def selector(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    policy = read(get, key, RequestAuthentication)
    if policy is None or policy.spec.selector is None:
        return ()
    return unmatched(get, key, policy.spec.selector.match_labels, "spec.selector.matchLabels")


@formula
def unchecked(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    """Pods without a proxy that it holds for: a gRPC library has nothing that checks tokens."""
    compiled = get(compiled_policy, key.namespace, key.name)
    if compiled is None:
        return ()
    root = get(mesh_settings).traffic.root_namespace
    pods = (read(get, one, Pod) for one in annotated(get, "Pod", TEMPLATES_ANNOTATION))
    found = sorted(
        pod.metadata.name.rstrip("-")
        for pod in pods
        if pod is not None
        and proxy_type(pod) is ProxyType.GRPC
        and holds_for(
            compiled.value.scope,
            key.namespace,
            root,
            Namespace(pod.metadata.namespace),
            sorted_labels(pod.metadata.labels),
        )
    )
    if not found:
        return ()
    return (
        Problem(
            key,
            "spec",
            "NotForProxylessGrpc",
            f"pod {found[0]} has the template grpc-agent and no proxy, so nobody checks tokens there",
            "give it a sidecar, or check tokens in the application",
            Severity.WARNING,
        ),
    )
