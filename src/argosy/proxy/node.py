"""``python -m argosy.proxy.node``: the node of a mesh on one machine.

It watches the control plane as a kubelet and as the Deployment controller do: makes the pods that
Deployments want, runs each with its sidecar, and says how they are. It needs no grpc.
"""

import argparse
import asyncio
import contextlib
import functools
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from argosy.api.core_pod import Pod
from argosy.base import log as logging
from argosy.pilot.compile.injection import Injection
from argosy.platforms.local import images, logs, network, process, state, workloads
from argosy.platforms.local.container import timestamp
from argosy.platforms.local.exec import ExecError, ExecRequest
from argosy.platforms.local.exec import serve as serve_exec
from argosy.platforms.local.outside import Outside
from argosy.platforms.local.pod import PodHost, PodRunner
from argosy.platforms.local.pod_status import PROXY_CONTAINER, with_transitions
from argosy.platforms.local.process import Command, Process
from argosy.platforms.local.state import MeshDirectory
from argosy.proxy import node_doors, node_server
from argosy.proxy.capture import BYPASS_MARK
from argosy.proxy.envoy import EnvoyAdmin
from argosy.proxy.names import NameTable
from argosy.proxy.node_api import ApiClient, ApiError, Gone, Put, Restarted, Synced
from argosy.proxy.node_cluster import KINDS, Cluster
from argosy.proxy.node_credentials import NodeCertificates
from argosy.proxy.node_egress import Egress
from argosy.proxy.node_grpc import GrpcAgent
from argosy.proxy.node_health import MachineHealth
from argosy.proxy.node_ingress import Ingress, published_sockets
from argosy.proxy.node_injection import injected, injection
from argosy.proxy.node_resolver import resolver
from argosy.proxy.node_sidecar import EnvoySidecar, MeshFacts, PlainSidecar
from argosy.proxy.node_workloads import Workloads

_SETTLE_SECONDS = 0.005
_RETRY_SECONDS = 1.0
_STOP_GRACE_SECONDS = 10.0
_LOG_CHECK_SECONDS = 10.0
Key = tuple[str, str]
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class NodeOptions:
    directory: MeshDirectory
    ads: tuple[str, int]
    images: images.ImageMap
    mixer: tuple[str, int] | None = None


@dataclass(slots=True)
class _Running:
    """One pod's life: its runner, and the event that makes its status be told."""

    runner: PodRunner
    uid: str
    news: asyncio.Event
    health: MachineHealth


class Node:
    """The whole node; ``run`` returns when it has been stopped and all pods are gone."""

    def __init__(self, options: NodeOptions) -> None:
        directory = options.directory
        self._directory = directory
        self._api = ApiClient(directory.api_socket, directory.admin_token)
        self._cluster = Cluster()
        self._names = NameTable(())
        self._running: dict[Key, _Running] = {}
        self._links = 0
        self._synced = False
        self._dirty = asyncio.Event()
        self._workloads = Workloads(self._api, self._cluster, self._dirty.set)
        self._changed = asyncio.Condition()
        self._stopping = asyncio.Event()
        self._outside = Outside.from_environment()
        self._resolver = resolver(self._outside)
        self._certificates = NodeCertificates(self._api, self._proxy, self._cluster.proxy_config)
        self._facts = MeshFacts(
            mesh=directory.name,
            ads=options.ads,
            mixer=options.mixer,
            names=lambda: self._names,
            forward=self._resolver,
            credentials=self._certificates.keeper,
            sources=self._cluster.sources,
            proxy_config=self._cluster.proxy_config,
            policy=self._cluster.policy,
            dials_services=self._cluster.has_envoy_filters,
            bootstrap_patches=self._cluster.bootstrap_patches,
            merges_metrics=self._cluster.merges_metrics,
        )
        self._host = PodHost(
            images=options.images,
            addresses=network.AddressPool(),
            sources=self._cluster.sources,
            sources_changed=self._changed,
            mark=BYPASS_MARK,
        )
        self._tasks: asyncio.TaskGroup | None = None

    def stop(self) -> None:
        """Begin to stop; a second call stops without patience."""
        if self._stopping.is_set():
            log.warning("node.killed")
            os._exit(1)
        self._stopping.set()

    async def run(self) -> None:
        await asyncio.to_thread(process.kill_other_namespaces)
        await asyncio.to_thread(node_doors.guard)
        ingress = Ingress(self._cluster, self._wait_change)
        node_socket = node_server.listen(self._directory.node_socket)
        exec_socket = node_server.listen(self._directory.exec_socket)
        async with asyncio.TaskGroup() as background, asyncio.TaskGroup() as pods:
            self._tasks = pods
            parts: dict[str, Callable[[], Awaitable[None]]] = {
                "watch": self._watch,
                "trust": self._certificates.trust.run,
                "certificates": self._certificates.report,
                "reconcile": self._reconcile_for_ever,
                "logs": self._bound_logs,
                "resolver": self._resolver.run,
                "exec": lambda: self._serve_exec(exec_socket),
                "http": lambda: node_server.serve(node_socket, self._directory.admin_token, self),
            }
            if self._outside is not None:
                parts["egress"] = Egress(self._outside).serve
            for published in published_sockets():
                parts[published.published.url] = functools.partial(ingress.serve, published)
            services = [background.create_task(_keep(what, do)) for what, do in parts.items()]
            await self._stopping.wait()
            log.info("node.stopping", pods=len(self._running))
            for running in self._running.values():
                running.runner.leave(grace_seconds=_STOP_GRACE_SECONDS, quick=True)
            while self._running:
                await self._wait_change()
            for service in services:
                service.cancel()
        await self._api.close()

    # What the HTTP interface shows.

    def pods(self) -> list[dict[str, object]]:
        return [
            {
                "namespace": namespace,
                "name": name,
                "address": running.runner.address,
                "ready": running.runner.status().ready,
                "proxy": running.runner.sidecar.ready,
                "message": running.runner.sidecar.message
                if not running.runner.sidecar.ready
                else "",
            }
            for (namespace, name), running in sorted(self._running.items())
        ]

    def status(self) -> dict[str, object]:
        return {"pods": len(self._running), "synced": self._synced}

    def admin(self, namespace: str, pod: str) -> EnvoyAdmin | None:
        running = self._running.get((namespace, pod))
        if running is None or not isinstance(running.runner.sidecar, EnvoySidecar):
            return None
        return running.runner.sidecar.admin if running.runner.netns >= 0 else None

    def _proxy(self, key: Key) -> EnvoySidecar | None:
        running = self._running.get(key)
        sidecar = running.runner.sidecar if running is not None else None
        return sidecar if isinstance(sidecar, EnvoySidecar) else None

    # From the control plane.

    async def _watch(self) -> None:
        async for event in self._api.watch(KINDS):
            match event:
                case Put(value):
                    self._cluster.put(value)
                case Gone(value):
                    self._cluster.remove(value)
                case Restarted():
                    self._cluster.restart()
                case Synced():
                    self._cluster.synced()
                    self._synced = True
            self._dirty.set()

    async def _reconcile_for_ever(self) -> None:
        while True:
            await self._dirty.wait()
            await asyncio.sleep(_SETTLE_SECONDS)
            self._dirty.clear()
            self._names = self._cluster.names()
            if self._synced and not self._stopping.is_set():
                self._run_pods()
                await self._workloads.control()
            for running in self._running.values():
                if isinstance(running.runner.sidecar, EnvoySidecar | PlainSidecar | GrpcAgent):
                    running.runner.sidecar.refresh()
            await self._tell_change()

    async def _tell_change(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _wait_change(self) -> None:
        async with self._changed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.25):
                    await self._changed.wait()

    # Pods.

    def _run_pods(self) -> None:
        """Begin the lives of new pods, and the ends of those that shall not be."""
        assert self._tasks is not None
        wanted = {(p.metadata.namespace, p.metadata.name): p for p in self._cluster.all(Pod)}
        for key, running in self._running.items():
            pod = wanted.get(key)
            if pod is None or pod.metadata.uid != running.uid:
                running.runner.leave()
            elif workloads.is_terminating(pod):
                running.runner.leave(grace_seconds=pod.metadata.deletion_grace_period_seconds)
            else:
                running.runner.pod = pod
        for key, pod in wanted.items():
            if key in self._running:
                continue
            if workloads.is_terminating(pod):
                self._tasks.create_task(self._forget(pod))
            elif not workloads.is_finished(pod):
                self._begin(key, pod)

    def _begin(self, key: Key, pod: Pod) -> None:
        assert self._tasks is not None
        kind = injection(pod, self._cluster.namespace_labels(pod.metadata.namespace))
        pod = injected(pod, kind, self._cluster.capture_ports())
        directory = self._directory.pod(*key)
        news = asyncio.Event()
        sidecar: EnvoySidecar | GrpcAgent | PlainSidecar
        targets = self._cluster.service_targets
        if kind is Injection.NONE:
            sidecar = PlainSidecar(pod, self._facts, targets, news.set)
        elif kind is Injection.GRPC:
            sidecar = GrpcAgent(pod, self._facts, directory, targets, news.set)
        else:
            sidecar = EnvoySidecar(pod, kind, self._facts, directory, targets, news.set)
        self._links += 1
        runner = PodRunner(pod, self._host, directory, f"pod{self._links}", sidecar, news.set)
        health = MachineHealth(
            runner, lambda: self._cluster.group_of(runner.pod), BYPASS_MARK, news.set
        )
        self._running[key] = _Running(runner, pod.metadata.uid, news, health)
        self._tasks.create_task(self._live(key, pod))

    async def _live(self, key: Key, pod: Pod) -> None:
        """One pod from its namespace to its removal from the API."""
        running = self._running[key]
        directory = self._directory.pod(*key)
        log.info("pod.begins", namespace=key[0], pod=key[1])
        try:
            await asyncio.to_thread(_prepare, directory)
            await self._tell_injected(pod)
            async with asyncio.TaskGroup() as tasks:
                beside = [
                    tasks.create_task(self._tell_pod(key, running)),
                    tasks.create_task(running.health.run()),
                ]
                await running.runner.run()
                for task in beside:
                    task.cancel()
            if self._cluster.get(Pod, *key) is None and not self._stopping.is_set():
                await asyncio.to_thread(state.remove_tree, directory)
        except* Exception:
            log.exception("pod.failed", pod=key[1])
            await asyncio.sleep(_RETRY_SECONDS)
        finally:
            del self._running[key]
            self._certificates.forget(key)
            self._dirty.set()
        log.info("pod.ended", namespace=key[0], pod=key[1])
        await self._tell_change()
        current = self._cluster.get(Pod, *key)
        if (
            current is not None
            and workloads.is_terminating(current)
            and not self._stopping.is_set()
        ):
            await self._forget(current)

    async def _tell_injected(self, pod: Pod) -> None:
        """Give a pod that no Deployment made the labels and annotations of injection."""
        metadata = pod.metadata
        known = self._cluster.get(Pod, metadata.namespace, metadata.name)
        if known is not None and known.metadata.labels != metadata.labels:
            added = {"labels": metadata.labels, "annotations": metadata.annotations}
            patch: dict[str, Any] = {"metadata": added}
            with contextlib.suppress(ApiError):
                labelled = await self._api.patch("Pod", metadata.namespace, metadata.name, patch)
                self._cluster.put(labelled)

    async def _tell_pod(self, key: Key, running: _Running) -> None:
        """Keep the pod's status in the API as it is, until cancelled."""
        told = None
        running.news.set()
        while True:
            await running.news.wait()
            running.news.clear()
            status = running.health.added_to(running.runner.status())
            if told is not None and status == told:
                continue
            current = self._cluster.get(Pod, *key)
            before = current.status if current is not None else None
            dated = with_transitions(status, before, timestamp())
            try:
                self._cluster.put(await self._api.patch_status("Pod", *key, dated))
            except ApiError as error:
                if error.code != 404:
                    log.warning("pod.status_refused", pod=key[1], error=str(error))
                    asyncio.get_running_loop().call_later(_RETRY_SECONDS, running.news.set)
                    continue
            told = status
            self._dirty.set()

    async def _forget(self, pod: Pod) -> None:
        """Remove a pod that has ended from the API and from this machine."""
        namespace, name = pod.metadata.namespace, pod.metadata.name
        try:
            await self._api.delete("Pod", namespace, name, grace_seconds=0)
        except ApiError as error:
            log.warning("pod.not_removed", pod=name, error=str(error))
            await asyncio.sleep(_RETRY_SECONDS)
            self._dirty.set()
            return
        self._cluster.remove(pod)
        self._dirty.set()
        await asyncio.to_thread(state.remove_tree, self._directory.pod(namespace, name))

    async def _bound_logs(self) -> None:
        while True:
            await asyncio.sleep(_LOG_CHECK_SECONDS)
            await asyncio.to_thread(_bound_all, self._directory.pods)

    # Commands in pods.

    async def _serve_exec(self, listener: Any) -> None:
        token: str | None = None
        while token is None:
            with contextlib.suppress(FileNotFoundError):
                token = await asyncio.to_thread(self._directory.admin_token.read_text)
            await asyncio.sleep(0 if token else 0.05)
        await serve_exec(listener, token.strip(), self._start_beside)

    async def _start_beside(self, request: ExecRequest, fds: tuple[int, ...]) -> Process:
        running = self._running.get((request.namespace, request.pod))
        if running is None:
            raise ExecError(f"pod {request.namespace}/{request.pod} does not run here")
        pid, command = _beside(running.runner, request)
        if pid is None:
            name = request.container or "container"
            raise ExecError(f"{name} of pod {request.pod} is not running")
        return await asyncio.to_thread(
            lambda: process.start_beside(pid, command, fds, controlling_terminal=request.terminal)
        )


def _beside(runner: PodRunner, request: ExecRequest) -> tuple[int | None, Command]:
    """Beside which process to run, and how."""
    sidecar = runner.sidecar
    container = runner.runner_of(request.container)
    no_containers = container is None and not request.container
    if request.container == PROXY_CONTAINER or no_containers:
        pid = sidecar.pid if isinstance(sidecar, EnvoySidecar) else None
        return pid, Command(request.argv, dict(os.environ))
    if container is None:
        raise ExecError(f"pod {request.pod} has no container {request.container!r}")
    planned = container.plan.command
    return container.pid, Command(request.argv, planned.env, planned.cwd)


async def _keep(what: str, serve: Callable[[], Awaitable[None]]) -> None:
    """Serve until cancelled; a part that fails is our bug, and must not take the pods with it."""
    while True:
        try:
            await serve()
            return
        except Exception:
            log.exception("node.part_failed", part=what)
        await asyncio.sleep(_RETRY_SECONDS)


def _prepare(directory: Path) -> None:
    """An empty directory for a pod, but for the logs of an earlier life."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for entry in directory.iterdir():
        if entry.name != "logs":
            state.remove_tree(entry)


def _bound_all(pods: Path) -> None:
    for path in pods.glob("*/*/logs/*.log"):
        logs.keep_bounded(path)


def main() -> int:
    parser = argparse.ArgumentParser(prog="argosy.proxy.node", description=__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="the mesh's state directory")
    parser.add_argument("--ads-address", required=True, help="host:port of the control plane")
    parser.add_argument("--mixer-address", help="host:port of Mixer, if there is one")
    parser.add_argument("--images", type=Path, action="append", default=[], help="image maps")
    parser.add_argument("--log-level", default="", help="debug, or default:info,dns:debug")
    arguments = parser.parse_args()
    mixer = arguments.mixer_address
    try:
        logging.configure(arguments.log_level)
    except logging.LevelError as error:
        parser.error(str(error))
    try:
        options = NodeOptions(
            MeshDirectory.at(arguments.directory),
            _address(arguments.ads_address),
            images.ImageMap.read(arguments.images),
            None if mixer is None else _address(mixer),
        )
    except images.ImageMapError as error:
        log.error("node.cannot_start", reason=str(error))
        return 1
    asyncio.run(_run(options))
    return 0


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


async def _run(options: NodeOptions) -> None:
    node = Node(options)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, node.stop)
    await node.run()


if __name__ == "__main__":
    sys.exit(main())
