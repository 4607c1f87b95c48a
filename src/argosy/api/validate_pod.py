"""What must hold for one Pod, Deployment or StatefulSet alone.

Rules as in Kubernetes' validation (``pkg/apis/core/validation`` and ``pkg/apis/apps/validation``).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import msgspec

from argosy.api.apps import Deployment, DeploymentSpec, StatefulSet, StatefulSetSpec
from argosy.api.core_container import Container, EnvVar, Lifecycle, LifecycleHandler, Probe
from argosy.api.core_pod import Pod, PodSpec, Volume
from argosy.api.meta import LabelSelector, Metadata
from argosy.api.proxy_config import ANNOTATION, proxy_config
from argosy.api.typed import Mistake, short
from argosy.api.validate_core import check_port_reference, is_port_name
from argosy.api.validate_metadata import check_labels, is_dns_label, is_dns_subdomain
from argosy.api.validate_values import check_one_of, check_port, check_unique, warning
from argosy.base.problems import Severity

_ENV_NAME = re.compile(r"[ -<>-~]+\Z", re.ASCII)
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


def validate_pod(pod: Pod) -> Iterator[Mistake]:
    yield from check_pod_spec(pod.spec, "spec")
    yield from _proxy_annotation(pod.metadata, "metadata")


def _proxy_annotation(metadata: Metadata, path: str) -> Iterator[Mistake]:
    """What of ``proxy.istio.io/config`` has no effect; it never keeps a pod from running."""
    text = metadata.annotations.get(ANNOTATION, "")
    if text:
        for mistake in proxy_config(text, f'{path}.annotations["{ANNOTATION}"]')[1]:
            yield replace(mistake, severity=Severity.WARNING)


def validate_deployment(deployment: Deployment) -> Iterator[Mistake]:
    yield from _replicated(deployment.spec, "deployment")
    yield from check_pod_spec(deployment.spec.template.spec, "spec.template.spec")


def validate_stateful_set(stateful_set: StatefulSet) -> Iterator[Mistake]:
    """Its claims are volumes that the containers may mount."""
    spec = stateful_set.spec
    yield from _replicated(spec, "stateful set")
    names = [claim.metadata.name for claim in spec.volume_claim_templates]
    yield from check_unique(names, "spec.volumeClaimTemplates", "metadata.name", "claims")
    for i, name in enumerate(names):
        if not is_dns_label(name):
            where = f"spec.volumeClaimTemplates[{i}].metadata.name"
            yield Mistake(where, "InvalidName", f"{short(name)} cannot name a volume")
    strategy = (spec.update_strategy or {}).get("type", "RollingUpdate")
    if strategy not in ("RollingUpdate", "OnDelete"):
        message = f"{short(strategy)} is not a way to update"
        hint = "Use RollingUpdate or OnDelete"
        yield Mistake("spec.updateStrategy.type", "InvalidValue", message, hint)
    for field, value in (
        ("ordinals", spec.ordinals or {}),
        ("updateStrategy.rollingUpdate", (spec.update_strategy or {}).get("rollingUpdate") or {}),
    ):
        for key in ("start", "partition"):
            number = value.get(key, 0)
            if not isinstance(number, int) or number < 0:
                message = f"{short(number)} is not an ordinal"
                yield Mistake(f"spec.{field}.{key}", "OutOfRange", message, "Write 0 or more")
    if not spec.service_name:
        message = "without serviceName the pods have no names of their own"
        hint = "Write the name of a headless Service that selects the pods"
        yield warning("spec.serviceName", "NoEffect", message, hint)
    claimed = tuple(Volume(name=name) for name in names)
    own = tuple(v for v in spec.template.spec.volumes if v.name not in names)
    pod = msgspec.structs.replace(spec.template.spec, volumes=own + claimed)
    yield from check_pod_spec(pod, "spec.template.spec")


def _replicated(spec: DeploymentSpec | StatefulSetSpec, what: str) -> Iterator[Mistake]:
    labels = spec.template.metadata.labels
    if spec.replicas < 0:
        message = f"{spec.replicas} is not a number of replicas"
        yield Mistake("spec.replicas", "OutOfRange", message, "Write 0 or more")
    yield from check_labels(labels, "spec.template.metadata.labels")
    yield from _proxy_annotation(spec.template.metadata, "spec.template.metadata")
    selector = spec.selector
    if not selector.match_labels and not selector.match_expressions:
        message = f"the {what} has no selector, so it would not find its pods"
        hint = "Write selector.matchLabels with the labels of spec.template"
        yield Mistake("spec.selector", "MissingField", message, hint)
    mistakes = list(check_selector(selector, "spec.selector"))
    yield from mistakes
    if not mistakes and not selects(selector, dict(labels)):
        message = "the selector does not match the labels of spec.template"
        hint = "Write the selector's labels into spec.template.metadata.labels"
        yield Mistake("spec.template.metadata.labels", "SelectorMismatch", message, hint)
    if spec.template.spec.restart_policy != "Always":
        message = f"the pods of a {what} are always restarted"
        hint = "Remove restartPolicy, or write Always"
        yield Mistake("spec.template.spec.restartPolicy", "NotAllowed", message, hint)


def check_selector(selector: LabelSelector, path: str) -> Iterator[Mistake]:
    """Kubernetes' selectors: labels that may be labels, operators with the values that they take."""
    yield from check_labels(selector.match_labels, f"{path}.matchLabels")
    for i, requirement in enumerate(selector.match_expressions):
        where = f"{path}.matchExpressions[{i}]"
        if requirement.operator not in _OPERATORS:
            message = f"{short(requirement.operator)} is not an operator"
            hint = f"Use one of {', '.join(_OPERATORS)}"
            yield Mistake(f"{where}.operator", "InvalidValue", message, hint)
        elif bool(requirement.values) != (requirement.operator in ("In", "NotIn")):
            needs = "needs" if not requirement.values else "takes no"
            message = f"the operator {requirement.operator} {needs} values"
            yield Mistake(f"{where}.values", "InvalidValue", message)


def selects(selector: LabelSelector, labels: dict[str, str]) -> bool:
    """Whether a Kubernetes selector matches labels."""
    if any(labels.get(key) != value for key, value in selector.match_labels.items()):
        return False
    for requirement in selector.match_expressions:
        value = labels.get(requirement.key)
        match requirement.operator:
            case "In" if value not in requirement.values:
                return False
            case "NotIn" if value in requirement.values:
                return False
            case "Exists" if value is None:
                return False
            case "DoesNotExist" if value is not None:
                return False
    return True


def check_pod_spec(spec: PodSpec, path: str) -> Iterator[Mistake]:
    if not spec.containers:
        yield Mistake(f"{path}.containers", "MissingField", "the pod has no containers")
    names = [container.name for container in (*spec.containers, *spec.init_containers)]
    yield from check_unique(
        names[: len(spec.containers)], f"{path}.containers", "name", "containers"
    )
    for i, container in enumerate(spec.init_containers):
        if container.name in names[: len(spec.containers) + i]:
            message = f"two containers are named {short(container.name)}"
            yield Mistake(f"{path}.initContainers[{i}].name", "DuplicateName", message)
    volumes = {volume.name for volume in spec.volumes}
    yield from check_unique((v.name for v in spec.volumes), f"{path}.volumes", "name", "volumes")
    for field, containers in (
        ("containers", spec.containers),
        ("initContainers", spec.init_containers),
    ):
        for i, container in enumerate(containers):
            where = f"{path}.{field}[{i}]"
            yield from _container(container, where)
            yield from _mounts(container, volumes, where)
    if spec.termination_grace_period_seconds < 0:
        field = f"{path}.terminationGracePeriodSeconds"
        yield Mistake(field, "OutOfRange", "the grace period is negative")
    if not is_dns_subdomain(spec.account):
        message = f"{short(spec.account)} is not the name of a service account"
        yield Mistake(f"{path}.serviceAccountName", "InvalidName", message)


def _container(container: Container, path: str) -> Iterator[Mistake]:
    if not is_dns_label(container.name):
        message = f"{short(container.name)} is not a container's name"
        hint = "At most 63 lower-case letters, digits and '-'"
        yield Mistake(f"{path}.name", "InvalidName", message, hint)
    if not container.image and not container.command:
        message = "the container has neither an image nor a command"
        yield Mistake(f"{path}.image", "MissingField", message, "Write image")
    ports = container.ports
    yield from check_unique((port.name for port in ports), f"{path}.ports", "name", "ports")
    for i, port in enumerate(ports):
        where = f"{path}.ports[{i}]"
        yield from check_port(port.container_port, f"{where}.containerPort")
        if port.name and not is_port_name(port.name):
            message = f"{short(port.name)} is not a port's name"
            hint = "At most 15 lower-case letters, digits and '-'"
            yield Mistake(f"{where}.name", "InvalidName", message, hint)
    yield from _environment(container, path)
    named = {port.name for port in ports if port.name}
    yield from _probe(container.readiness_probe, f"{path}.readinessProbe", named)
    for field, probe in (
        ("livenessProbe", container.liveness_probe),
        ("startupProbe", container.startup_probe),
    ):
        yield from _probe(probe, f"{path}.{field}", named)
        if probe is not None and probe.success_threshold > 1:
            message = f"successThreshold of a {field} must be 1"
            yield Mistake(f"{path}.{field}.successThreshold", "OutOfRange", message)
    yield from _lifecycle(container.lifecycle, f"{path}.lifecycle")


def _environment(container: Container, path: str) -> Iterator[Mistake]:
    for i, variable in enumerate(container.env):
        yield from _variable(variable, f"{path}.env[{i}]")
    for i, source in enumerate(container.env_from):
        where = f"{path}.envFrom[{i}]"
        sources = {"configMapRef": source.config_map_ref, "secretRef": source.secret_ref}
        yield from check_one_of(sources, where, required=True)


def _variable(variable: EnvVar, path: str) -> Iterator[Mistake]:
    if not _ENV_NAME.match(variable.name):
        message = f"{short(variable.name)} is not the name of a variable"
        yield Mistake(f"{path}.name", "InvalidName", message)
    source = variable.value_from
    if source is None:
        return
    if variable.value:
        message = "value and valueFrom exclude each other"
        yield Mistake(path, "ConflictingFields", message, "Keep one of them")
    ways = {
        "configMapKeyRef": source.config_map_key_ref,
        "secretKeyRef": source.secret_key_ref,
        "fieldRef": source.field_ref,
        "resourceFieldRef": source.resource_field_ref,
        "fileKeyRef": source.file_key_ref,
    }
    yield from check_one_of(ways, f"{path}.valueFrom", required=True)


def _probe(probe: Probe | None, path: str, named: set[str]) -> Iterator[Mistake]:
    if probe is None:
        return
    actions = {
        "httpGet": probe.http_get,
        "tcpSocket": probe.tcp_socket,
        "exec": probe.exec,
        "grpc": probe.grpc,
    }
    yield from check_one_of(actions, path, required=True)
    for field, action in (("httpGet", probe.http_get), ("tcpSocket", probe.tcp_socket)):
        if action is not None:
            yield from _probe_port(action.port, f"{path}.{field}.port", named)
    if probe.grpc is not None:
        yield from check_port(probe.grpc.port, f"{path}.grpc.port")
    if probe.exec is not None and not probe.exec.command:
        yield Mistake(f"{path}.exec.command", "MissingField", "there is no command to run")
    if probe.initial_delay_seconds < 0:
        yield Mistake(f"{path}.initialDelaySeconds", "OutOfRange", "the delay is negative")
    for field, value in (
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ):
        if value < 1:
            message = f"{value} is too small"
            yield Mistake(f"{path}.{field}", "OutOfRange", message, "Write 1 or more")


def _probe_port(port: int | str, path: str, named: set[str]) -> Iterator[Mistake]:
    yield from check_port_reference(port, path)
    if isinstance(port, str) and port not in named and is_port_name(port):
        message = f"the container has no port named {short(port)}, so the probe will fail"
        yield warning(path, "UnknownPort", message, "Name it in ports, or write its number")


def _lifecycle(lifecycle: Lifecycle | None, path: str) -> Iterator[Mistake]:
    if lifecycle is None:
        return
    handlers: Sequence[tuple[str, LifecycleHandler | None]] = (
        ("postStart", lifecycle.post_start),
        ("preStop", lifecycle.pre_stop),
    )
    for field, handler in handlers:
        if handler is None:
            continue
        actions = {
            "exec": handler.exec,
            "httpGet": handler.http_get,
            "tcpSocket": handler.tcp_socket,
            "sleep": handler.sleep,
        }
        yield from check_one_of(actions, f"{path}.{field}", required=True)


def _mounts(container: Container, volumes: set[str], path: str) -> Iterator[Mistake]:
    for i, mount in enumerate(container.volume_mounts):
        where = f"{path}.volumeMounts[{i}]"
        if mount.name not in volumes:
            message = f"the pod has no volume named {short(mount.name)}"
            yield Mistake(f"{where}.name", "UnknownVolume", message, "Add it to volumes")
        if not mount.mount_path:
            yield Mistake(f"{where}.mountPath", "MissingField", "it is mounted nowhere")
