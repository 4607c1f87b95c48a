"""WorkloadGroups → the WorkloadEntries of machines that register themselves.

https://istio.io/latest/docs/reference/config/networking/workload-group/
A machine is a pod whose annotation ``proxy.istio.io/config`` has the group's name as
``proxyMetadata.ISTIO_META_AUTO_REGISTER_GROUP``. It is an endpoint by its entry, never as a pod.
"""

from collections.abc import Mapping
from dataclasses import replace

import msgspec

from argosy.api.core_pod import Pod
from argosy.api.meta import IstioCondition, IstioStatus, Metadata, OwnerReference
from argosy.api.networking_workload_entry import WorkloadEntry, WorkloadEntrySpec, WorkloadGroup
from argosy.api.proxy_config import ANNOTATION, proxy_config
from argosy.base.names import Namespace, ObjectKey
from argosy.model.proxy import Role
from argosy.model.workload import sorted_labels
from argosy.pilot.compile.roles import role_of

AUTO_REGISTERED = "istio.io/autoRegistrationGroup"
CONTROLLER = "istio.io/workloadController"
OUR_CONTROLLER = "argosy"
CONNECTED = "istio.io/connectedAt"
DISCONNECTED = "istio.io/disconnectedAt"
HEALTH_CHECKS = "proxy.istio.io/health-checks-enabled"
TLS_MODE = "security.istio.io/tlsMode"
"""Label ``istio``: a sidecar accepts mesh mTLS for the workload."""
HEALTHY_CONDITION = "Healthy"
"""Of a WorkloadEntry's status: what the probe of its agent last said."""
PROBE_CONDITION = "networking.istio.io/WorkloadHealthy"
"""Of a Pod's status: by it the agent tells the control plane what the group's probe says."""
METADATA = "AUTO_REGISTER_GROUP"
_VARIABLE = f"ISTIO_META_{METADATA}"
_MAX_NAME = 253


def group_of(metadata: Metadata) -> str:
    """The group that a pod's proxy registers with; empty: it does not."""
    text = metadata.annotations.get(ANNOTATION, "")
    if _VARIABLE not in text:
        return ""
    return proxy_config(text, ANNOTATION)[0].proxy_metadata.get(_VARIABLE, "")


def account_of(group: WorkloadGroup) -> str:
    """Who may register: as a pod's, an account that is not written is ``default``."""
    template = group.spec.template
    return (template.service_account if template is not None else "") or "default"


def entry_key(group: WorkloadGroup, address: str) -> ObjectKey:
    """Istio's name: the group's and the address; of a long one the end counts."""
    name = f"{group.metadata.name}-{address.replace(':', '-')}"[-_MAX_NAME:]
    return ObjectKey("WorkloadEntry", Namespace(group.metadata.namespace), name)


def entry_labels(group: WorkloadGroup) -> Mapping[str, str]:
    """The group's labels count before the template's. Its proxy speaks mutual TLS."""
    template = group.spec.template
    own = group.spec.metadata
    return {
        TLS_MODE: "istio",
        **(template.labels if template is not None else {}),
        **(own.labels if own is not None else {}),
    }


def entry(group: WorkloadGroup, address: str, connected: str) -> WorkloadEntry:
    """What a machine at ``address`` is to the mesh; ``connected`` is RFC 3339."""
    template = group.spec.template or WorkloadEntrySpec()
    labels = entry_labels(group)
    own = group.spec.metadata
    checked = {} if group.spec.probe is None else {HEALTH_CHECKS: "true"}
    metadata = Metadata(
        name=entry_key(group, address).name,
        namespace=group.metadata.namespace,
        labels=labels,
        annotations={
            **(own.annotations if own is not None else {}),
            **checked,
            AUTO_REGISTERED: group.metadata.name,
            CONTROLLER: OUR_CONTROLLER,
            CONNECTED: connected,
        },
        owner_references=(
            OwnerReference(
                api_version=group.api_version,
                kind=group.kind,
                name=group.metadata.name,
                uid=group.metadata.uid,
                controller=True,
            ),
        ),
    )
    spec = msgspec.structs.replace(
        template, address=address, labels=labels, service_account=account_of(group)
    )
    return WorkloadEntry(metadata=metadata, spec=spec)


def is_ours(written: WorkloadEntry) -> bool:
    """Whether the control plane made it, and so may remove it."""
    found = written.metadata.annotations
    return AUTO_REGISTERED in found and found.get(CONTROLLER) == OUR_CONTROLLER


def registered_role(pod: Pod, group: WorkloadGroup) -> Role:
    """The machine's proxy is configured for what its entry is, not for its pod's labels."""
    role = role_of(pod)
    template = group.spec.template or WorkloadEntrySpec()
    return replace(
        role,
        labels=sorted_labels(entry_labels(group)),
        entry_ports=tuple(sorted(template.ports.items())),
    )


def health(pod: Pod | None, group: WorkloadGroup | None) -> tuple[bool, str] | None:
    """Whether a machine may be sent requests, and why not. None: nobody asks it, so it may."""
    if pod is None or pod.metadata.deletion_timestamp:
        return False, "the machine has left"
    conditions = pod.status.conditions if pod.status is not None else ()
    for condition in conditions:
        if condition.type == PROBE_CONDITION:
            return condition.status == "True", condition.message
    if group is not None and group.spec.probe is not None:
        return False, "the probe has not succeeded yet"
    return None


def with_health(
    written: WorkloadEntry, found: tuple[bool, str] | None, now: str
) -> WorkloadEntry | None:
    """The entry with that status; None when it has it already."""
    conditions = written.status.conditions if written.status is not None else ()
    known = next((c for c in conditions if c.type == HEALTHY_CONDITION), None)
    if found is None:
        if known is None:
            return None
        kept = tuple(c for c in conditions if c is not known)
    else:
        healthy, message = found
        status = "True" if healthy else "False"
        if known is not None and (known.status, known.message) == (status, message):
            return None
        since = now
        if known is not None and known.status == status:
            since = known.last_transition_time
        new = IstioCondition(
            type=HEALTHY_CONDITION,
            status=status,
            message=message,
            last_probe_time=now,
            last_transition_time=since,
        )
        kept = (*(c for c in conditions if c is not known), new)
    status_of = written.status or IstioStatus()
    changed = msgspec.structs.replace(status_of, conditions=kept)
    return msgspec.structs.replace(written, status=changed)
