"""One container: its process, restarts, probes and state.

Restarts wait 1, 2, 4 ... seconds up to five minutes, anew after ten good minutes: Kubernetes'
rule with a quicker start (there the first delay is ten seconds).
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from argosy.api.core_pod import (
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
)
from argosy.platforms.local import probe_runner, process
from argosy.platforms.local.backoff import Backoff
from argosy.platforms.local.container_plan import ContainerPlan
from argosy.platforms.local.probes import Health, Kind, Probe
from argosy.platforms.local.process import Command, Process, Sandbox

log = structlog.get_logger()


def timestamp() -> str:
    """Now, as Kubernetes writes times."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class ContainerRunner:
    """Runs one planned container in a pod's network namespace until it is done or stopped.

    ``changed`` is called whenever ``status`` has changed. ``mark`` is for the sockets of probes.
    """

    def __init__(
        self,
        plan: ContainerPlan,
        *,
        netns: int,
        host_name: str,
        address: str,
        mark: int,
        changed: Callable[[], None],
    ) -> None:
        self.plan = plan
        self._sandbox = Sandbox(netns, host_name, plan.view)
        self._address = address
        self._mark = mark
        self._changed = changed
        self._process: Process | None = None
        self._state = ContainerState(waiting=ContainerStateWaiting(reason="ContainerCreating"))
        self._last_state: ContainerState | None = None
        self._restarts = 0
        self._ready = False
        self._started = False
        self._stopping = asyncio.Event()
        self.exit_code: int | None = None
        """Of a container that will not be started again."""

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def ready(self) -> bool:
        return self._ready

    @property
    def status(self) -> ContainerStatus:
        return ContainerStatus(
            name=self.plan.name,
            image=self.plan.image,
            ready=self._ready,
            started=self._started,
            restart_count=self._restarts,
            state=self._state,
            last_state=self._last_state,
        )

    async def run(self) -> int:
        """Run, and restart as its policy says; returns the last exit code."""
        backoff = Backoff()
        while True:
            began = time.monotonic()
            code = await self._run_once()
            policy = self.plan.restart
            again = policy == "Always" or (policy == "OnFailure" and code != 0)
            if self._stopping.is_set() or not again:
                self.exit_code = code
                self._changed()
                return code
            delay = backoff.after_run(time.monotonic() - began)
            self._last_state = self._state if self._state.terminated else self._last_state
            self._set_waiting(delay, code)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._stopping.wait()
            self._restarts += 1

    async def stop(self, grace_seconds: float) -> None:
        """End it: the preStop hook, SIGTERM, and SIGKILL when ``grace_seconds`` are over."""
        self._stopping.set()
        deadline = time.monotonic() + grace_seconds
        running = self._process
        if running is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await self._pre_stop(running)
        await running.stop(max(deadline - time.monotonic(), 0.0))

    async def _run_once(self) -> int:
        if self._stopping.is_set():
            return self.exit_code or 0
        try:
            running = await asyncio.to_thread(process.start, self._sandbox, self.plan.command)
        except process.StartError as error:
            self._set_state(
                ContainerState(
                    terminated=ContainerStateTerminated(
                        exit_code=128, reason="StartError", message=str(error)
                    )
                )
            )
            return 128
        began = timestamp()
        self._process = running
        self._started = self.plan.probes.startup is None
        self._set_state(ContainerState(running=ContainerStateRunning(started_at=began)))
        try:
            async with asyncio.TaskGroup() as tasks:
                health = tasks.create_task(self._watch_health(running))
                code = await running.wait()
                health.cancel()
        except BaseException:
            process.kill_session(running.pid)
            raise
        finally:
            self._process = None
        self._ready = self._started = False
        self._set_state(
            ContainerState(
                terminated=ContainerStateTerminated(
                    exit_code=code,
                    reason="Completed" if code == 0 else "Error",
                    started_at=began,
                    finished_at=timestamp(),
                )
            )
        )
        return code

    async def _watch_health(self, running: Process) -> None:
        """Probe until the container must be restarted, and then end its process."""
        health = Health(self.plan.probes, time.monotonic())
        target = probe_runner.Target(
            self._sandbox.netns,
            self._address,
            running.pid,
            self.plan.command.env,
            self._mark,
        )
        recorded = asyncio.Event()

        async def ask(kind: Kind, probe: Probe) -> None:
            outcome = await probe_runner.run(probe, target)
            health.record(kind, outcome.success, time.monotonic())
            if not outcome.success and kind is not Kind.READINESS:
                log.info(
                    "probe.failed", container=self.plan.name, kind=kind.value, why=outcome.message
                )
            recorded.set()

        async with asyncio.TaskGroup() as tasks:
            while not health.must_restart:
                now = time.monotonic()
                for kind, probe in health.due(now):
                    tasks.create_task(ask(kind, probe))
                self._set_ready(health.started, health.ready(now))
                recorded.clear()
                next_at = health.next_at()
                pause = None if next_at is None else max(next_at - time.monotonic(), 0.0)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await recorded.wait()
        self._set_ready(started=self._started, ready=False)
        log.warning("container.unhealthy", container=self.plan.name)
        await running.stop(grace_seconds=10.0)

    async def _pre_stop(self, running: Process) -> None:
        if self.plan.pre_stop_sleep:
            await asyncio.sleep(self.plan.pre_stop_sleep)
        if self.plan.pre_stop:
            null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            command = Command(self.plan.pre_stop, self.plan.command.env)
            try:
                hook = await asyncio.to_thread(
                    process.start_beside, running.pid, command, (null, null, null)
                )
                await hook.wait()
            except process.StartError as error:
                log.warning("container.pre_stop_failed", container=self.plan.name, error=str(error))
            finally:
                os.close(null)

    def _set_waiting(self, delay: float, code: int) -> None:
        terminated = self._state.terminated
        reason = "CrashLoopBackOff" if code or self._restarts else "ContainerCreating"
        message = f"ended with exit code {code}; starts again in {delay:g} s"
        if terminated is not None and terminated.reason == "StartError":
            reason, message = "RunContainerError", terminated.message
        self._set_state(
            ContainerState(waiting=ContainerStateWaiting(reason=reason, message=message))
        )

    def _set_ready(self, started: bool, ready: bool) -> None:
        if (started, ready) != (self._started, self._ready):
            self._started, self._ready = started, ready
            self._changed()

    def _set_state(self, state: ContainerState) -> None:
        self._state = state
        self._changed()
