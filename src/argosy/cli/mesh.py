"""``argosy up`` and ``argosy down``: a mesh on this machine."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from argosy.base import log as logs
from argosy.cli.apply import send, show_results
from argosy.cli.client import (
    ApiClient,
    CliError,
    directory_of,
    is_ready,
    name_of,
    namespace_of,
    why_late,
)
from argosy.cli.options import MeshOption, NamespaceOption, OptionalFilesOption
from argosy.cli.output import err, out, outlive_readers
from argosy.platforms.local.state import (
    AlreadyRunningError,
    MeshDirectory,
    mesh_names,
)

if TYPE_CHECKING:
    from argosy.platforms.local.launcher import Mesh

_MANIFESTS = resources.files("argosy.platforms.local")
_POLL_SECONDS = 0.1
_IMAGE_MAP = (
    "Nothing was started. A map reads: images: [{match: REGULAR EXPRESSION, command: [PROGRAM]}]"
)
# What a pod waits for that time does not heal: a person has to act.
_HOPELESS = ("ErrImageNeverPull", "CreateContainerConfigError", "InvalidImageName")

ImagesFlag = Annotated[
    list[Path] | None,
    typer.Option("--images", help="Which command stands in for which image (YAML)."),
]


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True)
class Gateways:
    """Which gateways a mesh starts with, and the ingress gateway's ports on this machine."""

    ingress: bool = True
    egress: bool = False
    port: int = 0
    https_port: int = 0

    @property
    def manifests(self) -> tuple[Traversable, ...]:
        wanted = {"ingress_gateway.yaml": self.ingress, "egress_gateway.yaml": self.egress}
        return tuple(_MANIFESTS / name for name, is_wanted in wanted.items() if is_wanted)


DEFAULT_GATEWAYS = Gateways()


def up(
    filename: OptionalFilesOption = None,
    images: ImagesFlag = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when all is ready, and let it run.")
    ] = False,
    gateway: Annotated[
        bool, typer.Option("--gateway/--no-gateway", help="With an ingress gateway.")
    ] = True,
    port: Annotated[
        int, typer.Option("--port", help="The gateway's port on this machine; 0 is a free one.")
    ] = 0,
    https_port: Annotated[
        int,
        typer.Option(
            "--https-port", help="The gateway's port 443 on this machine; 0 is a free one."
        ),
    ] = 0,
    api_port: Annotated[
        int | None,
        typer.Option(
            "--api-port",
            help="Serve the API with TLS at this port too, for holders of tokens; 0 is a free one.",
        ),
    ] = None,
    api_address: Annotated[
        str, typer.Option("--api-address", help="Of this machine, for --api-port.")
    ] = "127.0.0.1",
    egress_gateway: Annotated[
        bool, typer.Option("--egress-gateway", help="With an egress gateway too.")
    ] = False,
    ca: Annotated[
        Path | None,
        typer.Option(
            "--ca",
            help="A directory with an authority of your own (ca-cert.pem, ca-key.pem, root-cert.pem, "
            "cert-chain.pem, ca-crl.pem).",
        ),
    ] = None,
    mixer: Annotated[
        bool, typer.Option("--mixer/--no-mixer", help="With Mixer, which collects telemetry.")
    ] = True,
    log_format: Annotated[
        LogFormat | None,
        typer.Option("--log-format", envvar=logs.FORMAT_VARIABLE, help="Of the mesh's own logs."),
    ] = None,
    log_level: Annotated[
        str,
        typer.Option(
            "--log-level",
            envvar=logs.LEVELS_VARIABLE,
            help="Of the mesh's own logs: info, or by scope default:info,xds:debug.",
        ),
    ] = "",
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until every pod is ready.")
    ] = True,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds to wait.")] = 60.0,
    namespace: NamespaceOption = "default",
    mesh: MeshOption = "default",
) -> None:
    """Run a mesh on this machine, with the workloads and rules in files.

    Every replica is a process in its own network namespace with its own Envoy. Works as root and
    as an ordinary user. Without --detach it ends with Ctrl-C, and nothing of it remains. With it
    the exit code tells how it began (1: something is wrong, 4: not ready in time); it runs on.
    """
    code = 0
    _choose_logs(log_format, log_level)
    if detach:
        outlive_readers()
    with running(
        mesh,
        images=images or [],
        detach=detach,
        gateways=Gateways(gateway, egress_gateway, port, https_port),
        authority=ca,
        api=None if api_port is None else (api_address, api_port),
        mixer=mixer,
    ) as launched:
        with ApiClient(mesh) as client:

            def ready() -> None:
                nonlocal code
                code = wait_until_ready(client, timeout) if wait else 0

            if not filename:
                ready()
            elif wrong := send(
                client,
                filename,
                namespace=namespace,
                wait=False,
                timeout=timeout,
                meanwhile=ready if wait else None,
            ):
                code = code or wrong
                err.print("The mesh runs without what is wrong above; mend it and apply again.")
        for published in launched.published:
            out.print(f"[bold]{published.service}:{published.port}[/] at {published.url}")
        record = launched.directory.read_record()
        if record is not None and record.api:
            out.print(f"[bold]API[/] at {record.api}")
            err.print(f"Its root certificates: argosy certs root -o name --mesh {mesh}")
        if not detach:
            err.print("Ctrl-C ends the mesh.")
            wait_for_end(launched)
    if detach and code:
        raise typer.Exit(code)


def down(mesh: MeshOption = "default") -> None:
    """End a mesh and remove all that belongs to it."""
    from argosy.platforms.local import launcher

    directory_of(mesh)
    try:
        was_running = launcher.stop(mesh)
    except launcher.LaunchError as error:
        raise CliError(str(error)) from error
    if was_running:
        out.print(f"mesh {escape(mesh)} is gone")
        return
    others = [name for name in mesh_names() if MeshDirectory.of(name).is_running()]
    hint = f" Running meshes: {', '.join(others)}." if others else ""
    err.print(f"No mesh {mesh!r} is running.{hint}", markup=False)


def _choose_logs(form: LogFormat | None, levels: str) -> None:
    """For the processes that this one starts."""
    try:
        logs.parse_levels(levels)
    except logs.LevelError as error:
        raise CliError(str(error), code=2) from error
    if form is not None:
        os.environ[logs.FORMAT_VARIABLE] = form.value
    if levels:
        os.environ[logs.LEVELS_VARIABLE] = levels


@contextmanager
def running(
    mesh: str,
    *,
    images: list[Path],
    detach: bool = False,
    gateways: Gateways = DEFAULT_GATEWAYS,
    authority: Path | None = None,
    api: tuple[str, int] | None = None,
    mixer: bool = True,
) -> "Iterator[Mesh]":
    """A launched mesh. It ends when the block ends, except a detached one that started well."""
    # Imported here: it brings all of netlink, and most commands need none of it.
    from argosy.platforms.local import launcher
    from argosy.platforms.local.images import ImageMap, ImageMapError

    directory_of(mesh)
    try:
        ImageMap.read(images)
    except ImageMapError as error:
        raise CliError(" ".join(str(error).split()), _IMAGE_MAP) from error
    if authority is not None:
        _require_authority(authority)
    publish: tuple[launcher.Publish, ...] = ()
    if gateways.ingress:
        service = ("istio-system", "istio-ingressgateway")
        publish = (
            launcher.Publish(*service, 80, host_port=gateways.port),
            launcher.Publish(*service, 443, host_port=gateways.https_port),
        )
    try:
        launched = launcher.launch(
            launcher.LaunchOptions(
                mesh=mesh,
                publish=publish,
                images=tuple(images),
                detach=detach,
                authority=authority,
                api=api,
                mixer=mixer,
            )
        )
    except (AlreadyRunningError, launcher.LaunchError) as error:
        raise CliError(str(error)) from error
    except OSError as error:
        hint = "Its files are kept there; ARGOSY_STATE_DIR names another place."
        about = f"{error.filename}: " if error.filename else ""
        words = f"the mesh could not be started: {about}{error.strerror or error}"
        raise CliError(words, hint if error.filename else "") from error
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        for manifest in gateways.manifests:
            with ApiClient(mesh) as client:
                body = {"files": [{"path": manifest.name, "text": manifest.read_text()}]}
                answer = client.call("POST", "/apis/argosy.dev/v1alpha1/apply", body=body)
                if any(r["action"] == "invalid" for r in answer["results"]):
                    show_results(answer)
                    raise CliError(f"{manifest.name} was refused: this is a bug of Argosy")
        yield launched
    except BaseException as error:
        _end(launched, quick=isinstance(error, CliError))
        raise
    finally:
        signal.signal(signal.SIGTERM, previous)
    if not detach:
        _end(launched)


def _require_authority(directory: Path) -> None:
    """Said before anything is started; the control plane judges it too."""
    from argosy.citadel.authority import load
    from argosy.citadel.issuer import AuthorityError

    if not directory.is_dir():
        raise CliError(f"--ca {directory} is no directory", "Nothing was started.")
    try:
        load(directory, datetime.now(UTC))
    except AuthorityError as error:
        raise CliError(f"--ca {error}", "Nothing was started.") from error


def wait_for_end(launched: "Mesh") -> None:
    """Until Ctrl-C, SIGTERM, or the end of the mesh."""
    try:
        code = launched.wait()
    except KeyboardInterrupt:
        return
    if code:
        log = launched.directory.supervisor_log
        raise CliError(f"the mesh ended by itself (code {code})", f"See {log}")


def wait_until_ready(client: ApiClient, seconds: float) -> int:
    """Until every pod of every workload is ready. Says what is missing when time is up.

    The exit code: 0; 1 for a pod that time does not heal; 4 when time is up.
    """
    deadline = time.monotonic() + seconds
    with err.status("starting ...", spinner="dots") as spinner:
        while True:
            pods = client.items("/api/v1/pods")
            workloads = [
                *client.items("/apis/apps/v1/deployments"),
                *client.items("/apis/apps/v1/statefulsets"),
            ]
            wanted = sum(one["spec"].get("replicas", 1) for one in workloads)
            wanted += sum(not pod["metadata"].get("ownerReferences") for pod in pods)
            ready = sum(map(is_ready, pods))
            late = [pod for pod in pods if not is_ready(pod)]
            hopeless = [pod for pod in late if why_late(pod)[0] in _HOPELESS]
            in_time = time.monotonic() < deadline
            if ready + len(hopeless) >= wanted or not in_time:
                break
            spinner.update(f"{ready} of {wanted} pods are ready")
            time.sleep(_POLL_SECONDS)
    for pod in late:
        reason, message = why_late(pod)
        about = f"{namespace_of(pod)}/{name_of(pod)}"
        err.print(f"[yellow]not ready:[/] {escape(about)}: {escape(message or reason)}")
    if ready + len(hopeless) >= wanted:
        return 1 if hopeless else 0
    err.print(f"{ready} of {wanted} pods were ready after {seconds:g} s.")
    return 4


def _end(launched: "Mesh", *, quick: bool = False) -> None:
    """Gracefully; a second Ctrl-C kills."""
    from argosy.platforms.local import launcher

    try:
        if quick:
            launched.kill()
        else:
            with err.status("stopping ..."):
                launched.stop()
    except KeyboardInterrupt:
        launched.kill()
    directory: MeshDirectory = launched.directory
    try:
        launcher.stop(directory.name)
    except launcher.LaunchError as error:
        err.print(f"[yellow]{escape(str(error))}[/]")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
