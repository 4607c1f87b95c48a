"""Startup, liveness and readiness of one container, with the timing of Kubernetes. Sans-io.

https://kubernetes.io/docs/tasks/configure-pod-container/configure-liveness-readiness-startup-probes/
Two things are quicker than there, never slower: probes start without jitter, and until a container
has been ready once, its readiness is asked every second if the period is longer.
"""

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class HttpGet:
    """Success is a status from 200 to 399. ``host`` empty is the pod's address."""

    port: int
    path: str = "/"
    host: str = ""
    scheme: str = "HTTP"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class TcpSocket:
    """Success is an accepted connection."""

    port: int
    host: str = ""


@dataclass(frozen=True, slots=True)
class Exec:
    """Success is exit code 0 of this program, run in the container."""

    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Grpc:
    """Success is SERVING from the gRPC health service (grpc.health.v1)."""

    port: int
    service: str = ""


@dataclass(frozen=True, slots=True)
class Listening:
    """Success is a TCP socket that listens on one of the ports, seen without connecting.

    Not of Kubernetes: it stands in for the readiness probe of a container that declares ports and
    no probe, so that no request meets a program which is still loading.
    """

    ports: tuple[int, ...]


Check = HttpGet | TcpSocket | Exec | Grpc | Listening


@dataclass(frozen=True, slots=True)
class Probe:
    """Times in seconds; the defaults are those of Kubernetes."""

    check: Check
    initial_delay: float = 0.0
    period: float = 10.0
    timeout: float = 1.0
    success_threshold: int = 1
    failure_threshold: int = 3


class Kind(Enum):
    STARTUP = "startup"
    LIVENESS = "liveness"
    READINESS = "readiness"


@dataclass(frozen=True, slots=True)
class Probes:
    """The probes of one container. ``patience``: readiness is granted after so many seconds
    whatever the probe says (used with ``Listening`` only)."""

    startup: Probe | None = None
    liveness: Probe | None = None
    readiness: Probe | None = None
    patience: float | None = None


@dataclass(slots=True)
class _State:
    probe: Probe
    passing: bool
    next_at: float
    successes: int = 0
    failures: int = 0

    def record(self, success: bool) -> None:
        if success:
            self.successes, self.failures = self.successes + 1, 0
            if self.successes >= self.probe.success_threshold:
                self.passing = True
        else:
            self.successes, self.failures = 0, self.failures + 1
            if self.failures >= self.probe.failure_threshold:
                self.passing = False


class Health:
    """The health of one run of a container, started at ``now`` (monotonic seconds).

    ``due`` says which probes to run; their outcome comes back through ``record``. ``must_restart``
    turns true when a startup or liveness probe has failed too often.
    """

    def __init__(self, probes: Probes, now: float) -> None:
        self._probes = probes
        self._began = now
        self._was_ready = False
        self._states: dict[Kind, _State] = {}
        self.must_restart = False
        if probes.startup is not None:
            self._begin(Kind.STARTUP, probes.startup, now + probes.startup.initial_delay)
        else:
            self._begin_others(now)

    @property
    def started(self) -> bool:
        startup = self._states.get(Kind.STARTUP)
        return startup is None or startup.passing

    def ready(self, now: float) -> bool:
        """Whether the container may take traffic."""
        if not self.started or self.must_restart:
            return False
        state = self._states.get(Kind.READINESS)
        if state is None or state.passing:
            return True
        patience = self._probes.patience
        return patience is not None and now >= self._began + patience

    def next_at(self) -> float | None:
        """When the next probe is due, or patience ends."""
        times = [state.next_at for state in self._states.values()]
        patience = self._probes.patience
        readiness = self._states.get(Kind.READINESS)
        if patience is not None and readiness is not None and not readiness.passing:
            times.append(self._began + patience)
        return min(times, default=None)

    def due(self, now: float) -> tuple[tuple[Kind, Probe], ...]:
        """The probes to run now. Each is due again one period later."""
        due = []
        for kind, state in self._states.items():
            if state.next_at <= now:
                state.next_at = now + self._period(kind, state)
                due.append((kind, state.probe))
        return tuple(due)

    def record(self, kind: Kind, success: bool, now: float) -> None:
        """The outcome of a probe; a timeout is a failure."""
        state = self._states.get(kind)
        if state is None:
            return
        was_passing = state.passing
        state.record(success)
        match kind:
            case Kind.STARTUP:
                if state.passing and not was_passing:
                    self._states[Kind.STARTUP].next_at = float("inf")
                    self._begin_others(now)
                elif state.failures >= state.probe.failure_threshold:
                    self.must_restart = True
            case Kind.LIVENESS:
                self.must_restart = self.must_restart or not state.passing
            case Kind.READINESS:
                self._was_ready = self._was_ready or state.passing
                if isinstance(state.probe.check, Listening) and state.passing:
                    state.next_at = float("inf")

    def _begin_others(self, now: float) -> None:
        if self._probes.liveness is not None:
            liveness = self._probes.liveness
            self._begin(Kind.LIVENESS, liveness, max(self._began + liveness.initial_delay, now))
            self._states[Kind.LIVENESS].passing = True
        if self._probes.readiness is not None:
            readiness = self._probes.readiness
            self._begin(Kind.READINESS, readiness, max(self._began + readiness.initial_delay, now))

    def _begin(self, kind: Kind, probe: Probe, at: float) -> None:
        self._states[kind] = _State(probe, passing=False, next_at=at)

    def _period(self, kind: Kind, state: _State) -> float:
        if kind is Kind.READINESS and not self._was_ready:
            return min(state.probe.period, 1.0)
        return state.probe.period
