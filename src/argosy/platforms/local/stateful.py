"""The StatefulSet controller: which pods to make and which to end. Pure.

Pods are named by their ordinals, come up one after the other, each when those before it are
ready, and go in reverse order; ``podManagementPolicy: Parallel`` waits for nothing. A changed
template is rolled out from the last pod down, one at a time.
https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from argosy.api.apps import StatefulSet, StatefulSetStatus
from argosy.api.core_pod import Pod, Volume
from argosy.api.meta import Metadata, OwnerReference
from argosy.platforms.local.workloads import (
    NAME_ALPHABET,
    Create,
    Delete,
    Step,
    is_finished,
    is_ready,
    is_terminating,
)

KIND = "StatefulSet"
REVISION_LABEL = "controller-revision-hash"
POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
INDEX_LABEL = "apps.kubernetes.io/pod-index"


def revision(stateful_set: StatefulSet) -> str:
    """The set's name with ten characters that change with the pod template."""
    digest = hashlib.sha256(msgspec.json.encode(stateful_set.spec.template, order="sorted"))
    suffix = "".join(NAME_ALPHABET[b % len(NAME_ALPHABET)] for b in digest.digest()[:10])
    return f"{stateful_set.metadata.name}-{suffix}"


def is_owned(pod: Pod, stateful_set: StatefulSet) -> bool:
    """Whether this very StatefulSet made the pod."""
    return pod.metadata.namespace == stateful_set.metadata.namespace and any(
        owner.kind == KIND and owner.uid == stateful_set.metadata.uid
        for owner in pod.metadata.owner_references
    )


def steps(stateful_set: StatefulSet, pods: Iterable[Pod]) -> tuple[Step, ...]:
    """What to do now. The caller asks again when a pod changes."""
    existing = {p.metadata.name: p for p in pods if is_owned(p, stateful_set)}
    finished = [_delete(p) for p in existing.values() if is_finished(p) and not is_terminating(p)]
    if finished:
        return tuple(finished)
    wanted = names(stateful_set)
    parallel = stateful_set.spec.pod_management_policy == "Parallel"
    made: list[Step] = []
    for name, ordinal in wanted.items():
        pod = existing.get(name)
        if pod is None:
            made.append(Create(_pod(stateful_set, name, ordinal)))
        if not parallel and (pod is None or not is_ready(pod)):
            return tuple(made)
    surplus = [p for name, p in existing.items() if name not in wanted]
    surplus.sort(key=_ordinal, reverse=True)
    if surplus:
        going = surplus if parallel else surplus[:1]
        return (*made, *(_delete(p) for p in going if not is_terminating(p)))
    return tuple(made) or _update(stateful_set, existing)


def orphans(pods: Iterable[Pod], stateful_sets: Iterable[StatefulSet]) -> tuple[Delete, ...]:
    """Pods whose StatefulSet is gone."""
    alive = {s.metadata.uid for s in stateful_sets}
    return tuple(
        _delete(pod)
        for pod in pods
        if not is_terminating(pod)
        and any(o.kind == KIND and o.uid not in alive for o in pod.metadata.owner_references)
    )


def names(stateful_set: StatefulSet) -> dict[str, int]:
    """The pods that there are to be, with their ordinals, in order."""
    spec = stateful_set.spec
    start = int((spec.ordinals or {}).get("start", 0))
    return {
        f"{stateful_set.metadata.name}-{ordinal}": ordinal
        for ordinal in range(start, start + max(spec.replicas, 0))
    }


def status(stateful_set: StatefulSet, pods: Iterable[Pod]) -> StatefulSetStatus:
    owned = [p for p in pods if is_owned(p, stateful_set) and not is_finished(p)]
    alive = [p for p in owned if not is_terminating(p)]
    current = revision(stateful_set)
    ready = sum(map(is_ready, alive))
    updated = sum(p.metadata.labels.get(REVISION_LABEL) == current for p in alive)
    return StatefulSetStatus(
        replicas=len(alive),
        ready_replicas=ready,
        available_replicas=ready,
        current_replicas=updated,
        updated_replicas=updated,
        current_revision=current,
        update_revision=current,
        observed_generation=stateful_set.metadata.generation,
    )


def _update(stateful_set: StatefulSet, existing: Mapping[str, Pod]) -> tuple[Step, ...]:
    """The last pod of an older template, if every pod serves."""
    strategy: Mapping[str, Any] = stateful_set.spec.update_strategy or {}
    if strategy.get("type") == "OnDelete" or not all(map(is_ready, existing.values())):
        return ()
    partition = int((strategy.get("rollingUpdate") or {}).get("partition", 0))
    current = revision(stateful_set)
    stale = [
        pod
        for pod in existing.values()
        if pod.metadata.labels.get(REVISION_LABEL) != current and _ordinal(pod) >= partition
    ]
    return (_delete(max(stale, key=_ordinal)),) if stale else ()


def _ordinal(pod: Pod) -> int:
    return int(pod.metadata.name.rpartition("-")[2])


def _delete(pod: Pod) -> Delete:
    return Delete(pod.metadata.namespace, pod.metadata.name)


def _pod(stateful_set: StatefulSet, name: str, ordinal: int) -> Pod:
    spec, template = stateful_set.spec, stateful_set.spec.template
    owner = OwnerReference(
        api_version="apps/v1",
        kind=KIND,
        name=stateful_set.metadata.name,
        uid=stateful_set.metadata.uid,
        controller=True,
        block_owner_deletion=True,
    )
    claims = tuple(
        Volume(
            name=claim.metadata.name,
            persistent_volume_claim={"claimName": f"{claim.metadata.name}-{name}"},
        )
        for claim in spec.volume_claim_templates
    )
    claimed = {claim.name for claim in claims}
    volumes = tuple(v for v in template.spec.volumes if v.name not in claimed)
    labels = {
        REVISION_LABEL: revision(stateful_set),
        POD_NAME_LABEL: name,
        INDEX_LABEL: str(ordinal),
    }
    return Pod(
        metadata=Metadata(
            name=name,
            namespace=stateful_set.metadata.namespace,
            labels={**template.metadata.labels, **labels},
            annotations=template.metadata.annotations,
            owner_references=(owner,),
        ),
        spec=msgspec.structs.replace(
            template.spec,
            hostname=name,
            subdomain=spec.service_name,
            volumes=volumes + claims,
        ),
    )
