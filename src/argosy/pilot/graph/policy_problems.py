"""What is wrong with a policy, whatever its kind: it holds for nobody, or where there is no proxy."""

from collections.abc import Iterable, Iterator

from argosy.base.names import ObjectKey
from argosy.base.problems import Problem, Severity
from argosy.model.policy_scope import Attached
from argosy.model.proxy import ProxyType, Role


def called(role: Role) -> str:
    """A workload as people know it: ``reviews in default``."""
    return f"{dict(role.labels).get('app', role.service_account)} in {role.namespace}"


def warning(of: ObjectKey, field: str, code: str, message: str, hint: str) -> Problem:
    return Problem(of, field, code, message, hint, Severity.WARNING)


def for_nobody(of: ObjectKey, scope: object, held: tuple[Role, ...]) -> Iterator[Problem]:
    """Of targets; selectors that match no workload are told by the analyzers."""
    if isinstance(scope, Attached) and scope.gateways and not held:
        message = "no proxy of the Gateways that it targets runs here, so it holds for nobody"
        hint = "Use a selector for gateways of networking.istio.io"
        yield warning(of, "spec.targetRefs", "SelectsNothing", message, hint)


def without_proxy(
    of: ObjectKey, held: Iterable[Role], missed: str, field: str = ""
) -> Iterator[Problem]:
    """Of the first workload whose application speaks for itself; ``missed`` is what nobody does there."""
    role = next((one for one in held if one.type is ProxyType.GRPC), None)
    if role is not None:
        message = f"{called(role)} has no proxy, so nothing {missed} there"
        hint = "Give it a sidecar instead of the template grpc-agent"
        yield warning(of, field, "NotEnforced", message, hint)
