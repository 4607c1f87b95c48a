"""The Deployment controller: which pods to make and which to end. Pure; no ReplicaSets.

Pods carry the hash of their template as the label ``pod-template-hash`` and name their Deployment
as owner. A changed template is rolled out as Kubernetes does it: at most ``maxSurge`` more pods
than wanted, at most ``maxUnavailable`` fewer ready ones
(https://kubernetes.io/docs/concepts/workloads/controllers/deployment/).
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from argosy.api.apps import Deployment, DeploymentStatus
from argosy.api.core_pod import Pod
from argosy.api.meta import Condition, Metadata, OwnerReference

HASH_LABEL = "pod-template-hash"
MESHED_LABEL = "security.istio.io/tlsMode"
NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_MAX_PREFIX = 63 - 6


@dataclass(frozen=True, slots=True)
class Create:
    pod: Pod


@dataclass(frozen=True, slots=True)
class Delete:
    namespace: str
    name: str


Step = Create | Delete


def template_hash(deployment: Deployment) -> str:
    """Ten characters that change with the pod template."""
    digest = hashlib.sha256(msgspec.json.encode(deployment.spec.template, order="sorted"))
    return "".join(NAME_ALPHABET[byte % len(NAME_ALPHABET)] for byte in digest.digest()[:10])


def is_owned(pod: Pod, deployment: Deployment) -> bool:
    """Whether this very Deployment (not an earlier one of the same name) made the pod."""
    return pod.metadata.namespace == deployment.metadata.namespace and any(
        owner.kind == "Deployment" and owner.uid == deployment.metadata.uid
        for owner in pod.metadata.owner_references
    )


def orphans(pods: Iterable[Pod], deployments: Iterable[Deployment]) -> tuple[Delete, ...]:
    """Pods whose Deployment is gone."""
    alive = {d.metadata.uid for d in deployments}
    return tuple(
        Delete(pod.metadata.namespace, pod.metadata.name)
        for pod in pods
        if not is_terminating(pod)
        and any(
            o.kind == "Deployment" and o.uid not in alive for o in pod.metadata.owner_references
        )
    )


def is_terminating(pod: Pod) -> bool:
    return bool(pod.metadata.deletion_timestamp)


def is_finished(pod: Pod) -> bool:
    return pod.status is not None and pod.status.phase in ("Succeeded", "Failed")


def is_ready(pod: Pod) -> bool:
    return pod.status is not None and pod.status.ready and not is_terminating(pod)


def steps(
    deployment: Deployment, pods: Iterable[Pod], suffix: Callable[[], str]
) -> tuple[Step, ...]:
    """What to do now, given the pods that this Deployment owns.

    ``suffix`` gives five characters that no pod's name ends with yet. The caller asks again when a
    pod changes; doing the steps of one answer twice must be avoided by the caller.
    """
    wanted_hash = template_hash(deployment)
    owned = [p for p in pods if is_owned(p, deployment)]
    alive = [p for p in owned if not is_terminating(p)]
    finished = [p for p in alive if is_finished(p)]
    alive = [p for p in alive if not is_finished(p)]
    new = [p for p in alive if p.metadata.labels.get(HASH_LABEL) == wanted_hash]
    old = [p for p in alive if p.metadata.labels.get(HASH_LABEL) != wanted_hash]
    replicas = max(deployment.spec.replicas, 0)
    removed: list[Step] = [_delete(p) for p in finished]
    surplus = sorted(new, key=_less_worth)[: max(len(new) - replicas, 0)]
    removed += [_delete(p) for p in surplus]
    surge, unavailable = _limits(deployment, replicas)
    if deployment.spec.paused and old:
        surge, missing = 0, 0
    elif _strategy(deployment).get("type") == "Recreate":
        removed += [_delete(p) for p in old]
        missing = replicas - len(new) if not [p for p in owned if p not in new] else 0
    else:
        removed += _retire(old, new, replicas - unavailable, replicas)
        room = replicas + surge - len(new) - len(old) if old else replicas - len(new)
        missing = min(replicas - len(new), room)
    created = [Create(_pod(deployment, wanted_hash, suffix())) for _ in range(max(missing, 0))]
    return (*removed, *created)


def status(deployment: Deployment, pods: Iterable[Pod], now: str) -> DeploymentStatus:
    """The Deployment's status; ``now`` is RFC 3339."""
    wanted_hash = template_hash(deployment)
    owned = [p for p in pods if is_owned(p, deployment) and not is_finished(p)]
    alive = [p for p in owned if not is_terminating(p)]
    updated = [p for p in alive if p.metadata.labels.get(HASH_LABEL) == wanted_hash]
    ready = sum(map(is_ready, alive))
    replicas = deployment.spec.replicas
    _, unavailable = _limits(deployment, replicas)
    available = ready >= replicas - unavailable
    complete = len(updated) == replicas == len(alive) and ready == replicas
    return DeploymentStatus(
        replicas=len(alive),
        ready_replicas=ready,
        available_replicas=ready,
        unavailable_replicas=max(replicas - ready, 0),
        updated_replicas=len(updated),
        terminating_replicas=len(owned) - len(alive),
        observed_generation=deployment.metadata.generation,
        conditions=(
            _condition(
                deployment,
                "Available",
                "True" if available else "False",
                "MinimumReplicasAvailable" if available else "MinimumReplicasUnavailable",
                now,
            ),
            _condition(
                deployment,
                "Progressing",
                "True",
                "NewReplicaSetAvailable" if complete else "ReplicaSetUpdated",
                now,
            ),
        ),
    )


def random_suffix(number: int) -> str:
    """Five characters of a pod's name from a random number."""
    base = len(NAME_ALPHABET)
    return "".join(NAME_ALPHABET[number // base**i % base] for i in range(5))


def _retire(old: list[Pod], new: list[Pod], minimum: int, replicas: int) -> list[Step]:
    """Old pods to end: those not ready at once, ready ones as new ones take their place."""
    removed: list[Step] = [_delete(p) for p in old if not is_ready(p)]
    ready_old = sorted((p for p in old if is_ready(p)), key=_less_worth)
    ready_new = sum(map(is_ready, new))
    spare = len(ready_old) + ready_new - minimum
    if ready_new >= replicas:
        spare = len(ready_old)
    removed += [_delete(p) for p in ready_old[: max(spare, 0)]]
    return removed


def _less_worth(pod: Pod) -> tuple[bool, str, str]:
    """Sorts the pods to end first: not ready before ready, then by name for a stable choice."""
    return (is_ready(pod), pod.metadata.creation_timestamp, pod.metadata.name)


def _strategy(deployment: Deployment) -> Mapping[str, Any]:
    value: Mapping[str, Any] = deployment.spec.strategy or {}
    return value


def _limits(deployment: Deployment, replicas: int) -> tuple[int, int]:
    """maxSurge (rounded up) and maxUnavailable (rounded down); never both nothing."""
    rolling = _strategy(deployment).get("rollingUpdate") or {}
    surge = _share(rolling.get("maxSurge", "25%"), replicas, math.ceil)
    unavailable = _share(rolling.get("maxUnavailable", "25%"), replicas, math.floor)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return surge, unavailable


def _share(value: int | str, replicas: int, rounded: Callable[[float], int]) -> int:
    text = str(value).strip()
    if text.endswith("%"):
        return rounded(float(text[:-1]) * replicas / 100)
    return int(text)


def _delete(pod: Pod) -> Delete:
    return Delete(pod.metadata.namespace, pod.metadata.name)


def _pod(deployment: Deployment, wanted_hash: str, suffix: str) -> Pod:
    template = deployment.spec.template
    prefix = f"{deployment.metadata.name}-{wanted_hash}"[:_MAX_PREFIX]
    owner = OwnerReference(
        api_version="apps/v1",
        kind="Deployment",
        name=deployment.metadata.name,
        uid=deployment.metadata.uid,
        controller=True,
        block_owner_deletion=True,
    )
    return Pod(
        metadata=Metadata(
            name=f"{prefix}-{suffix}",
            namespace=deployment.metadata.namespace,
            labels={**template.metadata.labels, HASH_LABEL: wanted_hash},
            annotations=template.metadata.annotations,
            owner_references=(owner,),
        ),
        spec=template.spec,
    )


def _condition(deployment: Deployment, kind: str, value: str, reason: str, now: str) -> Condition:
    """Keeps the transition time of a condition that did not change."""
    before = deployment.status.conditions if deployment.status is not None else ()
    for condition in before:
        if condition.type == kind and condition.status == value:
            since = condition.last_transition_time
            return Condition(type=kind, status=value, reason=reason, last_transition_time=since)
    return Condition(type=kind, status=value, reason=reason, last_transition_time=now)
