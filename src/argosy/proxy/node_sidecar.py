"""What stands beside a pod's containers: Envoy with capture, certificates and DNS, or DNS alone.

Fail closed: the capture rules are there before any process, and the application starts only when
Envoy serves. An Envoy that ends is started again; meanwhile connections are refused, not leaked.
"""

import asyncio
import contextlib
import json
import os
import resource
import socket
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import structlog

from argosy.api.core_pod import Pod
from argosy.api.meta import Metadata
from argosy.api.proxy_config import ProxyConfig
from argosy.model.proxy import ProxyType
from argosy.model.standard_metrics import WORKLOAD_ENVIRONMENT
from argosy.pilot.compile.capture_ports import ports_of
from argosy.pilot.compile.endpoints import facts_of, workload_name
from argosy.pilot.compile.injection import Injection
from argosy.pilot.compile.localities import locality_of
from argosy.platforms.local import netns, process, procfs, state
from argosy.platforms.local.backoff import Backoff
from argosy.platforms.local.environment import ConfigError, Sources
from argosy.platforms.local.mounts import View
from argosy.platforms.local.process import Command, Process, Sandbox
from argosy.proxy import capture, dns, envoy, span_names
from argosy.proxy.annotations import proxy_settings
from argosy.proxy.bootstrap import AGENT_PORT, STATS_FLUSH_SECONDS, ProxyFacts, bootstrap
from argosy.proxy.bootstrap_patches import patched_bootstrap
from argosy.proxy.capture import BYPASS_MARK, DNS_PORT, OWN_PORTS, PROXY_DNS_PORT
from argosy.proxy.connection_limit import usual_limit
from argosy.proxy.interception import interception
from argosy.proxy.names import Answer, NameTable
from argosy.proxy.node_injection import proxy_labels
from argosy.proxy.node_metrics import ApplicationMetrics, MetricsServer, application_metrics
from argosy.proxy.node_rules import KeptRules, load
from argosy.proxy.user_volumes import user_view

_POLL_SECONDS = 0.025
_DRAIN_POLL_SECONDS = 0.1
_DRAINED_AFTER_SECONDS = 0.3
_REPORT_SECONDS = 0.2
_STOP_SECONDS = 5.0
_RETRY_SECONDS = 1.0
log = structlog.get_logger()


class Credentials(Protocol):
    """The certificate files of one workload."""

    async def ready(self) -> None:
        """Returns when the files are there."""
        ...

    async def run(self) -> None:
        """Write them, and renew them until cancelled."""
        ...


@dataclass(frozen=True, slots=True)
class MeshFacts:
    """What all sidecars of a node share. ``names`` and ``forward`` serve DNS.

    ``sources`` are the present ConfigMaps and Secrets of a namespace; ``proxy_config`` is what
    holds for the proxy of a pod where its annotations say nothing.
    ``policy`` are the rules of NetworkPolicies for a pod. ``dials_services``: whether proxies may
    themselves dial addresses of services, and not of endpoints.
    ``bootstrap_patches`` are those of EnvoyFilters, for a pod that starts. ``mixer``: its host and
    port, if the mesh has one.
    ``merges_metrics``: pods show their applications' metrics too.
    """

    mesh: str
    ads: tuple[str, int]
    names: Callable[[], NameTable]
    forward: dns.Forward
    credentials: Callable[[Pod, Path], Credentials]
    sources: Callable[[str], Sources]
    proxy_config: Callable[[Metadata], ProxyConfig]
    policy: Callable[[Pod], capture.Ruleset]
    dials_services: Callable[[], bool]
    bootstrap_patches: Callable[[Pod], list[dict[str, Any]]] = lambda _: []
    merges_metrics: Callable[[], bool] = lambda: True
    mixer: tuple[str, int] | None = None


class NameService:
    """DNS inside one pod's namespace."""

    def __init__(self, facts: MeshFacts, namespace: str) -> None:
        self._facts = facts
        self._namespace = namespace

    async def run(self, pod_netns: int) -> None:
        """Serve until cancelled. Raises OSError when the sockets cannot be made."""
        udp, tcp = await asyncio.to_thread(_dns_sockets, pod_netns, DNS_PORT)
        await dns.DnsServer(udp, tcp, self._resolve, self._facts.forward).run()

    async def run_for_proxy(self, pod_netns: int) -> None:
        """Likewise for the proxy, to which hosts of ServiceEntries mean what they mean outside."""
        udp, tcp = await asyncio.to_thread(_dns_sockets, pod_netns, PROXY_DNS_PORT)
        await dns.DnsServer(udp, tcp, self._resolve_service, self._facts.forward).run()

    def _resolve(self, name: str) -> Answer:
        return self._facts.names().resolve(name, self._namespace)

    def _resolve_service(self, name: str) -> Answer:
        return self._facts.names().resolve_service(name, self._namespace)


class PlainSidecar:
    """No proxy: names, and service addresses translated to endpoints as kube-proxy does."""

    def __init__(
        self,
        pod: Pod,
        facts: MeshFacts,
        targets: Callable[[], tuple[capture.ServiceTarget, ...]],
        changed: Callable[[], None],
    ) -> None:
        self._names = NameService(facts, pod.metadata.namespace)
        self._rules = KeptRules(lambda: facts.policy(pod), lambda: capture.plain(targets()))
        self._changed = changed
        self._ready = asyncio.Event()
        self.message = "the pod's network is being prepared"

    @property
    def environment(self) -> Mapping[str, str]:
        return {}

    @property
    def ready(self) -> bool:
        return self._ready.is_set()

    def refresh(self) -> None:
        """The services or endpoints may have changed."""
        self._rules.refresh()

    async def wait_ready(self) -> None:
        await self._ready.wait()

    async def drain(self) -> None:
        return

    async def report(self) -> None:
        """Nothing is counted."""

    async def run(self, pod_netns: int, address: str) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(for_ever("dns", lambda: self._names.run(pod_netns)))
            await self._rules.apply(pod_netns)
            self._ready.set()
            self._changed()
            await self._rules.run(pod_netns)


class EnvoySidecar:
    """Envoy beside a pod's containers, or alone as a gateway."""

    def __init__(
        self,
        pod: Pod,
        kind: Injection,
        facts: MeshFacts,
        directory: Path,
        targets: Callable[[], tuple[capture.ServiceTarget, ...]],
        changed: Callable[[], None],
    ) -> None:
        self._pod = pod
        self._kind = kind
        self._ports = ports_of(pod.metadata.annotations)
        below = facts.proxy_config(pod.metadata)
        self._settings = proxy_settings(pod.metadata.annotations, below)
        self._interception, mistakes = interception(pod.metadata.annotations)
        partial = kind is not Injection.GATEWAY and self._interception.is_partial_outbound

        def services() -> capture.Ruleset:
            used = partial or facts.dials_services()
            return capture.beside_sidecar(targets()) if used else capture.NO_SERVICES

        self._rules = KeptRules(lambda: facts.policy(pod), services)
        for mistake in (*self._settings.mistakes, *mistakes):
            log.warning("annotation.ignored", pod=pod.metadata.name, mistake=mistake)
        self._facts = facts
        self._directory = directory
        self._changed = changed
        self._names = NameService(facts, pod.metadata.namespace)
        self._ready = asyncio.Event()
        self._was_ready = asyncio.Event()
        self._process: Process | None = None
        self._netns = -1
        self.admin = envoy.EnvoyAdmin(lambda: netns.socket_in(self._netns))
        self.message = "the proxy is starting"
        self.restarts = 0

    @property
    def environment(self) -> Mapping[str, str]:
        return {}

    @property
    def ready(self) -> bool:
        return self._ready.is_set()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def refresh(self) -> None:
        """The services or endpoints may have changed."""
        self._rules.refresh()

    async def wait_ready(self) -> None:
        """Until Envoy has served for the first time."""
        await self._was_ready.wait()

    async def run(self, pod_netns: int, address: str) -> None:
        """Everything, until cancelled."""
        self._netns = pod_netns
        gateway = self._kind is Injection.GATEWAY
        rules = capture.gateway() if gateway else capture.sidecar(self._interception, self._ports)
        await load(pod_netns, rules)
        await self._rules.apply(pod_netns)
        credentials = self._facts.credentials(self._pod, self._directory)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(for_ever("dns", lambda: self._names.run(pod_netns)))
                tasks.create_task(
                    for_ever("proxy dns", lambda: self._names.run_for_proxy(pod_netns))
                )
                tasks.create_task(for_ever("credentials", credentials.run))
                tasks.create_task(for_ever("metrics", self._serve_metrics))
                tasks.create_task(self._rules.run(pod_netns))
                content = self._bootstrap(address)
                self._write_bootstrap(content)
                self.message = "the proxy waits for its certificate"
                await credentials.ready()
                await self._patch_bootstrap(content)
                await self._keep_envoy(await self._user_view(address))
        finally:
            await self.admin.close()

    async def _serve_metrics(self) -> None:
        metadata = self._pod.metadata
        server = MetricsServer(
            lambda: netns.socket_in(self._netns, mark=BYPASS_MARK),
            lambda: self.ready,
            self._application_metrics,
            facts_of(metadata.name, metadata.namespace, metadata.labels),
        )
        await server.run(await asyncio.to_thread(_metrics_socket, self._netns))

    def _application_metrics(self) -> ApplicationMetrics | None:
        merged = self._facts.merges_metrics()
        return application_metrics(self._pod.metadata.annotations) if merged else None

    async def drain(self) -> None:
        """Ask clients to leave, and wait until they have, for a bounded time."""
        running = self._process
        if running is None:
            return
        await self.admin.drain()
        deadline = time.monotonic() + self._settings.termination_seconds
        quiet_since: float | None = None
        while time.monotonic() < deadline:
            now = time.monotonic()
            if await asyncio.to_thread(_inbound_connections, running.pid, self._ports.inbound):
                quiet_since = None
            elif quiet_since is None:
                quiet_since = now
            elif now - quiet_since >= _DRAINED_AFTER_SECONDS:
                return
            await asyncio.sleep(_DRAIN_POLL_SECONDS)

    async def report(self) -> None:
        """Wait until the proxy has told Mixer what it has counted: an Envoy that ends seldom does."""
        if self._facts.mixer is not None and self._process is not None:
            await asyncio.sleep(STATS_FLUSH_SECONDS + _REPORT_SECONDS)

    async def _user_view(self, address: str) -> View | None:
        """The volumes that the pod's annotations want, as soon as their Secrets are there."""
        keep = (envoy.envoy_path().parent, self._directory)
        place = self._directory / "proxy"
        while True:
            try:
                sources = self._facts.sources(self._pod.metadata.namespace)
                return await asyncio.to_thread(user_view, self._pod, address, sources, place, keep)
            except (ConfigError, OSError) as error:
                self.message = str(error)
                self._changed()
            await asyncio.sleep(_RETRY_SECONDS)

    async def _keep_envoy(self, view: View | None) -> None:
        backoff = Backoff(initial=0.1, maximum=30.0, reset_after=60.0)
        metadata = self._pod.metadata
        command = Command(
            envoy.command(
                concurrency=self._settings.concurrency,
                log_level=self._settings.log_level,
                drain_seconds=self._settings.drain_seconds,
                flush_ms=self._settings.flush_ms,
                flush_kb=self._settings.flush_kb,
            ),
            {
                "PATH": os.environ.get("PATH", ""),
                **dict(self._settings.environment),
                WORKLOAD_ENVIRONMENT: facts_of(metadata.name, metadata.namespace, metadata.labels),
                **self._span_environment(),
            },
            cwd=str(self._directory),
            log=self._directory / "logs" / "envoy.log",
        )
        while True:
            began = time.monotonic()
            why = await self._run_envoy(command, view)
            self._ready.clear()
            delay = backoff.after_run(time.monotonic() - began)
            self.message = f"the proxy ended ({why}); starts again in {delay:g} s"
            self.restarts += 1
            self._changed()
            log.warning("envoy.ended", pod=self._pod.metadata.name, why=why, restart_in=delay)
            await asyncio.sleep(delay)

    async def _run_envoy(self, command: Command, view: View | None) -> str:
        """One run of Envoy; returns how it ended."""
        try:
            running = await asyncio.to_thread(
                process.start, Sandbox(self._netns, view=view), command
            )
        except process.StartError as error:
            return str(error)
        self._process = running
        self.message = "the proxy waits for its configuration"
        try:
            async with asyncio.TaskGroup() as tasks:
                watching = tasks.create_task(self._watch_readiness())
                code = await running.wait()
                watching.cancel()
            return f"exit code {code}"
        except asyncio.CancelledError:
            await asyncio.shield(running.stop(_STOP_SECONDS))
            raise
        finally:
            self._process = None

    async def _watch_readiness(self) -> None:
        while not await self.admin.is_ready():  # noqa: ASYNC110  (another process is asked)
            await asyncio.sleep(_POLL_SECONDS)
        self._ready.set()
        self._was_ready.set()
        self._changed()
        failures = 0
        while True:  # somebody may close its listeners: then nobody should be sent here
            await asyncio.sleep(self._settings.readiness_period)
            failures = 0 if await self.admin.is_serving() else failures + 1
            if failures == 0 and not self.ready:
                self._ready.set()
                self._changed()
            elif failures >= self._settings.readiness_failures and self.ready:
                self.message = "the proxy's listeners accept no connections"
                self._ready.clear()
                self._changed()

    def _bootstrap(self, address: str) -> dict[str, Any]:
        pod = self._pod
        gateway = self._kind is Injection.GATEWAY
        kind = ProxyType.ROUTER if gateway else ProxyType.SIDECAR
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        facts = ProxyFacts(
            type=kind,
            name=pod.metadata.name,
            namespace=pod.metadata.namespace,
            address=address,
            service_account=pod.spec.account,
            labels=proxy_labels(pod),
            workload=workload_name(pod.metadata.name, pod.metadata.labels),
            mesh=self._facts.mesh,
            ads=self._facts.ads,
            mixer=self._facts.mixer,
            annotations=tuple(sorted(pod.metadata.annotations.items())),
            locality=locality_of(pod),
            stats=self._settings.stats,
            cluster=self._service_name(),
            metadata=self._settings.metadata,
            runtime=self._settings.runtime,
            statsd=self._settings.statsd,
            connection_limit=self._settings.connection_limit or usual_limit(kind, descriptors),
        )
        return bootstrap(facts)

    def _spoken(self) -> span_names.Spoken:
        return span_names.spoken(self._pod.metadata, self._facts.mesh)

    def _service_name(self) -> str:
        """What its spans are told under, and the node's cluster, as in Istio."""
        return self._settings.cluster or self._spoken().service(self._settings.service_name)

    def _span_environment(self) -> dict[str, str]:
        written = dict(self._settings.environment)
        return span_names.environment(self._spoken(), self._service_name(), written)

    def _write_bootstrap(self, bootstrap: dict[str, Any]) -> None:
        content = json.dumps(bootstrap, sort_keys=True).encode()
        state.write_private(self._directory / envoy.BOOTSTRAP_FILE, content)

    async def _patch_bootstrap(self, bootstrap: dict[str, Any]) -> None:
        """What EnvoyFilters say of it; what Envoy would refuse is left out."""
        patches = self._facts.bootstrap_patches(self._pod)
        if not patches:
            return
        self.message = "the proxy's bootstrap is being patched"
        patched, refused = await patched_bootstrap(bootstrap, patches, self._directory)
        for why in refused:
            log.warning("bootstrap.patch_refused", pod=self._pod.metadata.name, why=why)
        self._write_bootstrap(patched)


async def for_ever(what: str, serve: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Serve, and serve again when it failed, until cancelled."""
    while True:
        try:
            await serve()
        except (OSError, ExceptionGroup) as error:
            log.warning("sidecar.part_failed", part=what, error=str(error))
        await asyncio.sleep(_RETRY_SECONDS)


def _metrics_socket(pod_netns: int) -> socket.socket:
    listener = netns.socket_in(pod_netns)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", AGENT_PORT))
        listener.listen(16)
    except OSError:
        listener.close()
        raise
    return listener


def _dns_sockets(pod_netns: int, port: int) -> tuple[socket.socket, socket.socket]:
    udp = netns.socket_in(pod_netns, kind=socket.SOCK_DGRAM)
    try:
        udp.bind(("127.0.0.1", port))
        tcp = netns.socket_in(pod_netns)
        try:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind(("127.0.0.1", port))
            tcp.listen(64)
        except OSError:
            tcp.close()
            raise
    except OSError:
        udp.close()
        raise
    return udp, tcp


def _inbound_connections(pid: int, captured: int) -> int:
    """Connections from other workloads that this one holds open, captured at this port or not."""
    sockets = procfs.tcp_sockets(pid)
    listening = {port for port, _, state in sockets if state == procfs.LISTEN}
    listening = (listening - set(OWN_PORTS)) | {captured}
    return sum(
        state == procfs.ESTABLISHED and port in listening and not _is_loopback(remote)
        for port, remote, state in sockets
    )


def _is_loopback(remote: str) -> bool:
    """Of an address as ``/proc/net/tcp`` writes it: little-endian words in hexadecimal."""
    with contextlib.suppress(ValueError):
        return bytes.fromhex(remote)[-1] == 127
    return False
