"""From a container as written to the program that runs. Pure, but for looking at this machine's
program directories.

``command`` replaces the image's entry point, ``args`` its arguments; with ``command`` and without
``args`` the image's arguments count for nothing. On this machine an image's command is both, so a
container with only ``args`` gets the program of the image's command with these arguments, if the
image map has one. https://kubernetes.io/docs/tasks/inject-data-application/define-command-argument-container/
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from argosy.api import core_container as api
from argosy.api.core_pod import Pod
from argosy.platforms.local import probes, volumes
from argosy.platforms.local.environment import ConfigError, Sources, environment, expand
from argosy.platforms.local.images import Image, ImageMap
from argosy.platforms.local.mounts import Mount, View
from argosy.platforms.local.process import Command

LISTEN_PATIENCE_SECONDS = 10.0
_INHERITED = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "LD_LIBRARY_PATH")
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ImageError(Exception):
    """No program stands in for the image: Kubernetes' ErrImageNeverPull."""


@dataclass(frozen=True, slots=True)
class ContainerPlan:
    """A container ready to run."""

    name: str
    image: str
    command: Command
    view: View
    probes: probes.Probes
    restart: str
    pre_stop: tuple[str, ...] = ()
    pre_stop_sleep: float = 0.0


@dataclass(frozen=True, slots=True)
class PodPlace:
    """Where a pod lives: its directory, address, host name and volumes.

    ``environment`` is what its sidecar wants every container to know.
    """

    directory: Path
    address: str
    host_name: str
    volumes: Mapping[str, Path]
    files: tuple[Mount, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def container_plan(
    container: api.Container,
    pod: Pod,
    place: PodPlace,
    sources: Sources,
    images: ImageMap,
    *,
    init: bool = False,
) -> ContainerPlan:
    """What to run. Raises ImageError and ConfigError."""
    image = images.find(container.image)
    base = _base_environment(place, image)
    variables = environment(container, pod, place.address, sources, base)
    argv = tuple(expand(part, variables) for part in argv_of(container, image))
    mounts = volumes.mounts_of(container, place.volumes, variables)
    log = place.directory / "logs" / f"{container.name}.log"
    scratch = place.directory / "scratch" / container.name
    scratch.mkdir(parents=True, exist_ok=True)
    lifecycle = container.lifecycle
    pre_stop = lifecycle.pre_stop if lifecycle is not None else None
    return ContainerPlan(
        name=container.name,
        image=container.image,
        command=Command(argv, variables, _workdir(container, image), log),
        view=View(mounts, place.files, _kept(argv, image), scratch),
        probes=probes.Probes() if init else _probes(container),
        restart=_restart(container, pod, init=init),
        pre_stop=pre_stop.exec.command if pre_stop and pre_stop.exec else (),
        pre_stop_sleep=float(pre_stop.sleep.seconds) if pre_stop and pre_stop.sleep else 0.0,
    )


def argv_of(container: api.Container, image: Image | None) -> tuple[str, ...]:
    """What is run. Raises ImageError."""
    if container.command:
        programs = dict(image.programs) if image is not None else {}
        program, *rest = container.command
        return (*programs.get(program, (program,)), *rest, *container.args)
    if image is None:
        raise ImageError(
            f'no command for image "{container.image}": add the image to an image map '
            "(argosy up --images MAP), or give the container a command"
        )
    if not image.command:
        if not container.args:
            raise ImageError(
                f'no command for image "{container.image}": its entry in the image map has an '
                "empty command, and the container has no args"
            )
        return container.args
    if container.args:
        return (*_program(image.command), *container.args)
    return image.command


def _program(command: tuple[str, ...]) -> tuple[str, ...]:
    """The part of an image's command that ``args`` do not replace: interpreter and script."""
    script = command[0] == sys.executable and len(command) > 1
    return command[:2] if script else command[:1]


def _workdir(container: api.Container, image: Image | None) -> str:
    if container.working_dir:
        return container.working_dir
    return (image.workdir if image is not None else "") or "/"


def _base_environment(place: PodPlace, image: Image | None) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    inherited.setdefault("PATH", _DEFAULT_PATH)
    own_programs = str(Path(sys.executable).parent)
    if own_programs not in inherited["PATH"].split(":"):
        inherited["PATH"] += f":{own_programs}"
    service = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    unbuffered = {"PYTHONUNBUFFERED": "1"}
    from_image = dict(image.env) if image is not None else {}
    own = {"HOSTNAME": place.host_name, **place.environment}
    return {**inherited, **service, **unbuffered, **own, **from_image}


def _kept(argv: tuple[str, ...], image: Image | None) -> tuple[Path, ...]:
    """Directories that must stay visible when a volume is mounted over a parent of theirs."""
    kept = {Path(sys.prefix), Path(sys.base_prefix), *map(Path, (p for p in sys.path if p))}
    if image is not None and image.directory is not None:
        kept.add(image.directory)
    if argv and argv[0].startswith("/"):
        kept |= {Path(argv[0]).parent, Path(argv[0]).resolve().parent}
    return tuple(sorted(p for p in kept if p.is_absolute() and p.is_dir() and p != Path("/")))


def _restart(container: api.Container, pod: Pod, *, init: bool) -> str:
    if init:
        always = container.restart_policy == "Always"
        if always:
            return "Always"
        return "Never" if pod.spec.restart_policy == "Never" else "OnFailure"
    return pod.spec.restart_policy


def _probes(container: api.Container) -> probes.Probes:
    startup, liveness, readiness = (
        None if wanted is None else _probe(wanted, container)
        for wanted in (
            container.startup_probe,
            container.liveness_probe,
            container.readiness_probe,
        )
    )
    patience = None
    ports = tuple(p.container_port for p in container.ports if p.protocol == "TCP")
    if readiness is None and startup is None and ports:
        readiness = probes.Probe(probes.Listening(ports), period=0.05)
        patience = LISTEN_PATIENCE_SECONDS
    return probes.Probes(startup, liveness, readiness, patience)


def _probe(wanted: api.Probe, container: api.Container) -> probes.Probe:
    check: probes.Check
    if wanted.http_get is not None:
        get = wanted.http_get
        check = probes.HttpGet(
            port=_port(get.port, container),
            path=get.path if get.path.startswith("/") else f"/{get.path}",
            host=get.host,
            scheme=get.scheme,
            headers=tuple((h.name, h.value) for h in get.http_headers),
        )
    elif wanted.tcp_socket is not None:
        check = probes.TcpSocket(_port(wanted.tcp_socket.port, container), wanted.tcp_socket.host)
    elif wanted.exec is not None:
        check = probes.Exec(wanted.exec.command)
    elif wanted.grpc is not None:
        check = probes.Grpc(wanted.grpc.port, wanted.grpc.service)
    else:
        raise ConfigError(f"container {container.name!r}: a probe has no action")
    return probes.Probe(
        check,
        initial_delay=wanted.initial_delay_seconds,
        period=max(wanted.period_seconds, 1),
        timeout=max(wanted.timeout_seconds, 1),
        success_threshold=max(wanted.success_threshold, 1),
        failure_threshold=max(wanted.failure_threshold, 1),
    )


def _port(port: int | str, container: api.Container) -> int:
    if isinstance(port, int):
        return port
    for candidate in container.ports:
        if candidate.name == port:
            return candidate.container_port
    if port.isdigit():
        return int(port)
    raise ConfigError(f"container {container.name!r}: a probe names port {port!r}, which it lacks")
