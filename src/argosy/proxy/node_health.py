"""The probe of a WorkloadGroup, run by the agent of each of its machines.

https://istio.io/latest/docs/reference/config/networking/workload-group/#ReadinessProbe
What it finds becomes a condition of the machine's pod, from which the control plane takes the
health of its WorkloadEntry.
"""

import asyncio
import time
from collections.abc import Callable

import msgspec

from argosy.api.core_pod import PodStatus
from argosy.api.meta import Condition
from argosy.api.networking_workload_entry import ReadinessProbe, WorkloadGroup
from argosy.pilot.compile.registrations import PROBE_CONDITION, group_of
from argosy.platforms.local import probe_runner
from argosy.platforms.local.pod import PodRunner
from argosy.platforms.local.probes import (
    Check,
    Exec,
    Grpc,
    Health,
    HttpGet,
    Probe,
    Probes,
    TcpSocket,
)

_LOOK_SECONDS = 0.5
"""How often the group is looked at: its probe may change while the machine runs."""


class MachineHealth:
    """Of one pod; of one that is no machine it does nothing. ``changed``: there is news to tell."""

    def __init__(
        self,
        runner: PodRunner,
        group: Callable[[], WorkloadGroup | None],
        mark: int,
        changed: Callable[[], None],
    ) -> None:
        self._runner = runner
        self._group = group
        self._mark = mark
        self._changed = changed
        self._found: tuple[bool, str] | None = None

    def added_to(self, status: PodStatus) -> PodStatus:
        """The pod's status with what the probe last found."""
        if self._found is None:
            return status
        healthy, message = self._found
        condition = Condition(
            type=PROBE_CONDITION,
            status="True" if healthy else "False",
            reason="" if healthy else "ProbeFailed",
            message=message,
        )
        return msgspec.structs.replace(status, conditions=(*status.conditions, condition))

    async def run(self) -> None:
        """Probe until cancelled."""
        if not group_of(self._runner.pod.metadata):
            return
        while True:
            written = self._written()
            if written is None:
                self._set(None)
                await asyncio.sleep(_LOOK_SECONDS)
            else:
                await self._probe(written)

    def _written(self) -> ReadinessProbe | None:
        group = self._group()
        return None if group is None else group.spec.probe

    async def _probe(self, written: ReadinessProbe) -> None:
        """Until the group has another probe."""
        health = Health(Probes(readiness=probe_of(written)), time.monotonic())
        while self._written() == written:
            for kind, probe in health.due(time.monotonic()):
                outcome = await self._ask(probe)
                now = time.monotonic()
                health.record(kind, outcome.success, now)
                ready = health.ready(now)
                if self._found is None or self._found[0] != ready:
                    self._set((ready, "" if ready else outcome.message))
            next_at = health.next_at() or 0.0
            await asyncio.sleep(min(max(next_at - time.monotonic(), 0.0), _LOOK_SECONDS))

    async def _ask(self, probe: Probe) -> probe_runner.Outcome:
        container = self._runner.runner_of("")
        pid = None if container is None else container.pid
        if container is None or pid is None:
            return probe_runner.Outcome(False, "the application does not run")
        target = probe_runner.Target(
            self._runner.netns,
            self._runner.address,
            pid,
            container.plan.command.env,
            self._mark,
        )
        return await probe_runner.run(probe, target)

    def _set(self, found: tuple[bool, str] | None) -> None:
        if found != self._found:
            self._found = found
            self._changed()


def probe_of(written: ReadinessProbe) -> Probe:
    """What is 0 is as in Kubernetes. The API has seen to it that there is one check."""
    bare = Probe(_check(written))
    return Probe(
        bare.check,
        initial_delay=float(written.initial_delay_seconds),
        period=float(written.period_seconds or bare.period),
        timeout=float(written.timeout_seconds or bare.timeout),
        success_threshold=written.success_threshold or bare.success_threshold,
        failure_threshold=written.failure_threshold or bare.failure_threshold,
    )


def _check(written: ReadinessProbe) -> Check:
    if (http := written.http_get) is not None:
        return HttpGet(
            port=http.port,
            path=http.path or "/",
            host=http.host,
            scheme=http.scheme or "HTTP",
            headers=tuple((header.name, header.value) for header in http.http_headers),
        )
    if written.tcp_socket is not None:
        return TcpSocket(written.tcp_socket.port, written.tcp_socket.host)
    if written.exec is not None:
        return Exec(written.exec.command)
    if written.grpc is not None:
        return Grpc(written.grpc.port, written.grpc.service or "")
    return Exec(("false",))
