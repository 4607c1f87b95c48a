"""What a policy may be attached to by name: ``type.v1beta1.PolicyTargetReference``.

https://istio.io/latest/docs/reference/config/type/workload-selector/#PolicyTargetReference
"""

from collections.abc import Iterable, Iterator

from argosy.api.meta import Part, WorkloadSelector
from argosy.api.typed import Mistake, short
from argosy.api.validate_values import check_selector, warning

GATEWAY_API = "gateway.networking.k8s.io"

MAX_TARGETS = 16

_TARGETS = {
    (GATEWAY_API, "Gateway"): False,
    (GATEWAY_API, "GatewayClass"): True,
    ("", "Service"): True,
    ("networking.istio.io", "ServiceEntry"): True,
}
"""What may be a target; True: for waypoints only."""


class PolicyTargetReference(Part, frozen=True, kw_only=True):
    """``group`` is empty for the core group. The target is in the namespace of the policy."""

    group: str = ""
    kind: str
    name: str
    namespace: str = ""


def is_gateway(reference: PolicyTargetReference) -> bool:
    return reference.group == GATEWAY_API and reference.kind == "Gateway"


def check_selection(
    selector: WorkloadSelector | None,
    target: PolicyTargetReference | None,
    targets: tuple[PolicyTargetReference, ...],
    what: str,
) -> Iterator[Mistake]:
    """The fields ``selector``, ``targetRef`` and ``targetRefs`` of a spec: one of them at most.

    ``what`` is the kind of the policy.
    """
    written = [
        name
        for name, is_set in (
            ("selector", selector is not None),
            ("targetRef", target is not None),
            ("targetRefs", bool(targets)),
        )
        if is_set
    ]
    if len(written) > 1:
        message = f"{' and '.join(written)} exclude each other"
        yield Mistake(f"spec.{written[-1]}", "ConflictingFields", message, "Keep one of them")
    yield from check_selector(selector, "spec.selector")
    if target is not None:
        yield from check_target(target, "spec.targetRef", what)
        hint = "Write targetRefs, a list"
        yield warning("spec.targetRef", "Deprecated", "targetRef is deprecated", hint)
    yield from check_targets(targets, "spec.targetRefs", what)


def check_targets(
    targets: Iterable[PolicyTargetReference], path: str, what: str
) -> Iterator[Mistake]:
    found = tuple(targets)
    if len(found) > MAX_TARGETS:
        message = f"{len(found)} targets are too many; the limit is {MAX_TARGETS}"
        yield Mistake(path, "OutOfRange", message)
    for index, reference in enumerate(found):
        yield from check_target(reference, f"{path}[{index}]", what)


def check_target(reference: PolicyTargetReference, path: str, what: str) -> Iterator[Mistake]:
    """``what`` is the kind of the policy."""
    group = "" if reference.group == "core" else reference.group
    for_waypoints = _TARGETS.get((group, reference.kind))
    if for_waypoints is None:
        called = f"{reference.group}/{reference.kind}".lstrip("/")
        hint = f"Use Gateway or GatewayClass of {GATEWAY_API}, Service or ServiceEntry"
        yield Mistake(f"{path}.kind", "InvalidValue", f"{short(called)} cannot be a target", hint)
    elif for_waypoints:
        message = f"a {reference.kind} is a target for waypoints only, and none run here"
        yield warning(f"{path}.kind", "NoEffect", message)
    if not reference.name:
        yield Mistake(f"{path}.name", "MissingField", "the target has no name")
    if reference.namespace:
        message = f"targets are in the namespace of the {what}"
        yield Mistake(f"{path}.namespace", "NotAllowed", message, "Remove it")
