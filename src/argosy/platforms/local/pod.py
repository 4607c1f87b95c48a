"""One pod: its network namespace, what stands beside its containers, and the containers.

Order of life: namespace and link; the sidecar, until it is ready; init containers one after the
other; all containers. Order of death: the pod is out of the endpoints (``leaving``), the sidecar
drains, the containers get SIGTERM, the sidecar ends last. Then everything in the namespace is gone.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog
from pyroute2.netlink.exceptions import NetlinkError

from argosy.api.core_container import Container
from argosy.api.core_pod import (
    ContainerState,
    ContainerStateRunning,
    ContainerStateWaiting,
    ContainerStatus,
    Pod,
    PodStatus,
)
from argosy.platforms.local import mounts, netns, network, process, state, volumes
from argosy.platforms.local.container import ContainerRunner, timestamp
from argosy.platforms.local.container_plan import (
    ContainerPlan,
    ImageError,
    PodPlace,
    container_plan,
)
from argosy.platforms.local.environment import ConfigError, Sources
from argosy.platforms.local.images import ImageMap
from argosy.platforms.local.pod_status import Outcome, PodFacts, is_proxy, pod_status

_RETRY_SECONDS = 2.0
_CREATING = ContainerStateWaiting(reason="ContainerCreating")
log = structlog.get_logger()


class Sidecar(Protocol):
    """What stands beside a pod's containers: a proxy, or only name resolution."""

    @property
    def ready(self) -> bool: ...

    @property
    def message(self) -> str:
        """Why it is not ready."""
        ...

    @property
    def environment(self) -> Mapping[str, str]:
        """What every container's environment has for its sake."""
        ...

    async def run(self, pod_netns: int, address: str) -> None:
        """Serve until cancelled; ends what it started."""
        ...

    async def wait_ready(self) -> None: ...

    async def drain(self) -> None:
        """Turn new requests away gently; returns after the time that takes."""
        ...

    async def report(self) -> None:
        """Tell the last of what was counted; returns after the time that takes."""
        ...


@dataclass(frozen=True, slots=True)
class PodHost:
    """What all pods of a node share. ``sources`` are the present ones of a namespace.

    ``leave_seconds``: how long after a pod began to leave others may still send it requests.
    """

    images: ImageMap
    addresses: network.AddressPool
    sources: Callable[[str], Sources]
    sources_changed: asyncio.Condition
    mark: int
    leave_seconds: float = 1.0


class PodRunner:
    """Runs one pod until stopped; ``status`` is what the API shall say, ``changed`` its news."""

    def __init__(
        self,
        pod: Pod,
        host: PodHost,
        directory: Path,
        link: str,
        sidecar: Sidecar,
        changed: Callable[[], None],
    ) -> None:
        self.pod = pod
        self.sidecar = sidecar
        self.directory = directory
        self._host = host
        self._link = link
        self._changed = changed
        self._netns = -1
        self._address = ""
        self._started_at = timestamp()
        self._init: dict[str, ContainerRunner] = {}
        self._containers: dict[str, ContainerRunner] = {}
        self._blocked: dict[str, ContainerStateWaiting] = {}
        self._initialized = not pod.spec.init_containers
        self._leaving = asyncio.Event()
        self._quick = False
        self._grace = float(pod.spec.termination_grace_period_seconds)

    @property
    def address(self) -> str:
        return self._address

    @property
    def netns(self) -> int:
        """A descriptor of its namespace; -1 before and after its life."""
        return self._netns

    def pid_of(self, container: str) -> int | None:
        """The process of a running container; of the first one when ``container`` is empty."""
        runner = self.runner_of(container)
        return runner.pid if runner is not None else None

    def runner_of(self, container: str) -> ContainerRunner | None:
        if not container:
            return next(iter(self._containers.values()), None)
        return self._containers.get(container) or self._init.get(container)

    def leave(self, *, grace_seconds: float | None = None, quick: bool = False) -> None:
        """Begin its end. ``quick`` does not wait for others to stop calling it."""
        if grace_seconds is not None:
            self._grace = min(self._grace, grace_seconds)
        self._quick = self._quick or quick
        self._leaving.set()

    async def run(self) -> None:
        """Its whole life. Returns when nothing of it is left."""
        try:
            await self._enter()
            async with asyncio.TaskGroup() as tasks:
                beside = tasks.create_task(self.sidecar.run(self._netns, self._address))
                living = tasks.create_task(self._live())
                await self._leaving.wait()
                await self._die(living)
                beside.cancel()
        finally:
            await asyncio.shield(asyncio.to_thread(self._clean_up))

    async def _enter(self) -> None:
        self._address = self._host.addresses.take()
        while True:
            try:
                self._netns = await asyncio.to_thread(netns.create)
                await asyncio.to_thread(network.attach, self._netns, self._link, self._address)
                break
            except (OSError, NetlinkError) as error:
                log.warning("pod.network_failed", pod=self.pod.metadata.name, error=str(error))
                self._close_netns()
                await asyncio.to_thread(network.detach, self._link)
                await asyncio.sleep(_RETRY_SECONDS)
        self._changed()

    async def _live(self) -> None:
        """From the sidecar's readiness to the end of all containers."""
        spec = self.pod.spec
        names = [c.name for c in spec.containers if not is_proxy(c)]
        for name in names:
            waiting = ContainerStateWaiting(
                reason="PodInitializing", message="waiting for the sidecar"
            )
            self._blocked[name] = waiting
        await self.sidecar.wait_ready()
        for container in spec.init_containers:
            if is_proxy(container):
                continue
            plan = await self._plan(container, init=True)
            runner = self._runner(plan)
            self._init[container.name] = runner
            if await runner.run() != 0:
                self._changed()
                return
        self._initialized = True
        async with asyncio.TaskGroup() as tasks:
            for container in spec.containers:
                if not is_proxy(container):
                    tasks.create_task(self._run_container(container))
        self._changed()

    async def _run_container(self, container: Container) -> None:
        runner = self._runner(await self._plan(container, init=False))
        self._blocked.pop(container.name, None)
        self._containers[container.name] = runner
        if self._leaving.is_set():
            return
        await runner.run()

    async def _plan(self, container: Container, *, init: bool) -> ContainerPlan:
        """Its plan, as soon as everything that it needs is there."""
        while True:
            try:
                return await asyncio.to_thread(self._plan_now, container, init)
            except ImageError as error:
                self._block(container.name, "ErrImageNeverPull", str(error))
            except ConfigError as error:
                self._block(container.name, "CreateContainerConfigError", str(error))
            except OSError as error:
                self._block(container.name, "CreateContainerError", str(error))
            async with self._host.sources_changed:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(30):
                        await self._host.sources_changed.wait()

    def _plan_now(self, container: Container, init: bool) -> ContainerPlan:
        metadata, spec = self.pod.metadata, self.pod.spec
        sources = self._host.sources(metadata.namespace)
        host_name = spec.hostname or metadata.name
        directory = self.directory
        claims = volumes.claims_of(directory.parents[1], metadata.namespace)
        place = PodPlace(
            directory,
            self._address,
            host_name,
            volumes.write(self.pod, self._address, sources, directory / "volumes", claims),
            self._network_files(host_name),
            self.sidecar.environment,
        )
        return container_plan(container, self.pod, place, sources, self._host.images, init=init)

    def _network_files(self, host_name: str) -> tuple[mounts.Mount, ...]:
        """``/etc/resolv.conf`` and ``/etc/hosts`` as a kubelet writes them."""
        namespace = self.pod.metadata.namespace
        search = f"{namespace}.svc.cluster.local svc.cluster.local cluster.local"
        resolver = f"nameserver {network.GATEWAY}\nsearch {search}\noptions ndots:5\n"
        own = host_name
        if self.pod.spec.subdomain:
            own = f"{host_name}.{self.pod.spec.subdomain}.{namespace}.svc.cluster.local {host_name}"
        hosts = ["127.0.0.1\tlocalhost", "::1\tlocalhost", f"{self._address}\t{own}"]
        hosts += [f"{a.ip}\t{' '.join(a.hostnames)}" for a in self.pod.spec.host_aliases]
        directory = self.directory / "etc"
        directory.mkdir(parents=True, exist_ok=True)
        made = []
        for name, text in (
            ("resolv.conf", resolver),
            ("hosts", "\n".join([*hosts, ""])),
            ("hostname", f"{host_name}\n"),
        ):
            path = directory / name
            path.write_text(text)
            made.append(mounts.Mount(path, f"/etc/{name}"))
        return tuple(made)

    def _runner(self, plan: ContainerPlan) -> ContainerRunner:
        return ContainerRunner(
            plan,
            netns=self._netns,
            host_name=self.pod.spec.hostname or self.pod.metadata.name,
            address=self._address,
            mark=self._host.mark,
            changed=self._changed,
        )

    async def _die(self, living: "asyncio.Task[None]") -> None:
        self._changed()
        began = time.monotonic()
        serving = any(runner.ready for runner in self._containers.values())
        if not self._quick and (serving or not self._containers):
            await asyncio.sleep(min(self._host.leave_seconds, self._grace))
            await self.sidecar.drain()
        left = max(self._grace - (time.monotonic() - began), 0.1)
        runners = [*self._init.values(), *self._containers.values()]
        async with asyncio.TaskGroup() as tasks:
            for runner in runners:
                tasks.create_task(runner.stop(left))
        if self._grace and not self._quick:
            await self.sidecar.report()
        living.cancel()
        await asyncio.wait([living])

    def _block(self, name: str, reason: str, message: str) -> None:
        self._blocked[name] = ContainerStateWaiting(reason=reason, message=message)
        self._changed()

    def _clean_up(self) -> None:
        if self._netns >= 0:
            process.kill_namespace(self._netns)
        self._close_netns()
        with contextlib.suppress(NetlinkError):
            network.detach(self._link)
        if self._address:
            self._host.addresses.give_back(self._address)
        for name in ("volumes", "scratch", "etc", "certs", "proxy"):
            state.remove_tree(self.directory / name)

    def _close_netns(self) -> None:
        if self._netns >= 0:
            os.close(self._netns)
            self._netns = -1

    def status(self) -> PodStatus:
        """The present status."""
        return pod_status(
            PodFacts(
                pod=self.pod,
                address=self._address,
                started_at=self._started_at,
                initialized=self._initialized,
                leaving=self._leaving.is_set(),
                sidecar_ready=self.sidecar.ready,
                sidecar_message=self.sidecar.message,
                init=self._outcomes(self.pod.spec.init_containers, self._init),
                containers=self._outcomes(self.pod.spec.containers, self._containers),
            )
        )

    def _outcomes(
        self, containers: tuple[Container, ...], runners: dict[str, ContainerRunner]
    ) -> tuple[Outcome, ...]:
        outcomes = []
        for container in containers:
            runner = runners.get(container.name)
            if is_proxy(container):
                running = ContainerState(running=ContainerStateRunning(started_at=self._started_at))
                proxy = ContainerStatus(
                    name=container.name,
                    image=container.image,
                    ready=self.sidecar.ready,
                    started=True,
                    state=running,
                )
                outcomes.append(Outcome(proxy, exit_code=None))
            elif runner is not None:
                outcomes.append(Outcome(runner.status, runner.exit_code))
            else:
                blocked = self._blocked.get(container.name, _CREATING)
                waiting = ContainerStatus(
                    name=container.name,
                    image=container.image,
                    state=ContainerState(waiting=blocked),
                )
                outcomes.append(Outcome(waiting, exit_code=None))
        return tuple(outcomes)
