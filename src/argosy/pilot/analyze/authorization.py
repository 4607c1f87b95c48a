"""AuthorizationPolicies that name what is not there."""

from argosy.api.security_authorization_policy import AuthorizationPolicy
from argosy.base.names import ObjectKey
from argosy.base.problems import Problem, Severity
from argosy.derive import Reader, formula
from argosy.pilot.graph.world import keys, read

_ALWAYS_THERE = frozenset({"default", "istio-system", "kube-system"})


@formula
def named_namespaces(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    """Namespaces of sources, without wildcards, as in Istio (IST0101)."""
    policy = read(get, key, AuthorizationPolicy)
    if policy is None:
        return ()
    there = {found.name for found in keys(get, "Namespace")} | _ALWAYS_THERE
    there |= {found.namespace for found in keys(get, "Pod")}
    return tuple(
        Problem(
            key,
            f"spec.rules[{i}].from[{j}].source.{name}[{k}]",
            "NamespaceNotFound",
            f"there is no namespace {namespace}, so no request comes from there",
            "correct the name, or create the namespace",
            Severity.WARNING,
        )
        for i, rule in enumerate(policy.spec.rules)
        for j, item in enumerate(rule.from_ or ())
        if item.source is not None
        for name, listed in (
            ("namespaces", item.source.namespaces),
            ("notNamespaces", item.source.not_namespaces),
        )
        for k, namespace in enumerate(listed)
        if "*" not in namespace and namespace not in there
    )
