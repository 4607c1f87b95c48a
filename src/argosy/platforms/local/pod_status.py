"""What the API says of a pod, from the facts that its runner knows. Pure.

https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
"""

from dataclasses import dataclass

import msgspec

from argosy.api.core_container import Container
from argosy.api.core_pod import ContainerStatus, Pod, PodIP, PodPhase, PodStatus
from argosy.api.meta import Condition
from argosy.platforms.local.environment import HOST_ADDRESS

PROXY_CONTAINER = "istio-proxy"
AUTO_IMAGE = "auto"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A container's status, and its exit code if it will not be started again."""

    status: ContainerStatus
    exit_code: int | None


@dataclass(frozen=True, slots=True)
class PodFacts:
    pod: Pod
    address: str
    started_at: str
    initialized: bool
    leaving: bool
    sidecar_ready: bool
    sidecar_message: str
    init: tuple[Outcome, ...]
    containers: tuple[Outcome, ...]


def is_proxy(container: Container) -> bool:
    """Whether the container is the sidecar itself, as Istio's injection marks it."""
    return container.name == PROXY_CONTAINER and container.image in ("", AUTO_IMAGE)


def pod_status(facts: PodFacts) -> PodStatus:
    """The status. Conditions have no transition times; ``with_transitions`` adds them."""
    containers = tuple(outcome.status for outcome in facts.containers)
    phase = _phase(facts)
    all_ready = bool(containers) and all(c.ready for c in containers)
    ready = all_ready and facts.initialized and facts.sidecar_ready and not facts.leaving
    reason = "PodCompleted" if phase == "Succeeded" else "ContainersNotReady"
    message = _message(facts)
    return PodStatus(
        phase=phase,
        pod_ip=facts.address,
        pod_ips=(PodIP(ip=facts.address),) if facts.address else (),
        host_ip=HOST_ADDRESS,
        start_time=facts.started_at,
        container_statuses=containers,
        init_container_statuses=tuple(outcome.status for outcome in facts.init),
        qos_class="BestEffort",
        conditions=(
            _condition("PodScheduled", True),
            _condition("Initialized", facts.initialized, "ContainersNotInitialized", message),
            _condition("ContainersReady", all_ready, reason, message),
            _condition("Ready", ready, reason, message),
        ),
    )


def with_transitions(status: PodStatus, before: PodStatus | None, now: str) -> PodStatus:
    """The status with the time at which each condition last changed (RFC 3339)."""
    earlier = {c.type: c for c in before.conditions} if before is not None else {}
    dated = []
    for condition in status.conditions:
        old = earlier.get(condition.type)
        same = old is not None and old.status == condition.status and old.last_transition_time
        since = old.last_transition_time if old is not None and same else now
        dated.append(
            Condition(
                type=condition.type,
                status=condition.status,
                reason=condition.reason,
                message=condition.message,
                last_transition_time=since,
            )
        )
    return msgspec.structs.replace(status, conditions=tuple(dated))


def _condition(kind: str, value: bool, reason: str = "", message: str = "") -> Condition:
    if value:
        return Condition(type=kind, status="True")
    return Condition(type=kind, status="False", reason=reason, message=message)


def _phase(facts: PodFacts) -> PodPhase:
    failed_init = any(outcome.exit_code not in (None, 0) for outcome in facts.init)
    if failed_init:
        return "Failed"
    if not facts.initialized or not facts.containers:
        return "Pending"
    codes = [outcome.exit_code for outcome in facts.containers]
    if all(code is not None for code in codes):
        return "Succeeded" if not any(codes) else "Failed"
    began = [o for o in facts.containers if _has_begun(o.status)]
    return "Running" if began else "Pending"


def _has_begun(status: ContainerStatus) -> bool:
    state = status.state
    if state is None:
        return False
    return state.waiting is None or status.restart_count > 0 or status.last_state is not None


def _message(facts: PodFacts) -> str:
    """Why the pod is not ready, in one line."""
    if not facts.sidecar_ready and facts.sidecar_message:
        return facts.sidecar_message
    late = [o.status.name for o in (*facts.init, *facts.containers) if not o.status.ready]
    if not late:
        return ""
    return f"containers with unready status: [{' '.join(late)}]"
