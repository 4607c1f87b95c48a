"""When to start again what ended: delays that double, and forgive after a good run. Sans-io."""


class Backoff:
    """Seconds to wait before each start.

    The first restart is after ``initial`` seconds, each further one after twice the last delay, at
    most ``maximum``. A run of ``reset_after`` seconds or more counts as good: delays start anew.
    """

    def __init__(
        self, *, initial: float = 1.0, maximum: float = 300.0, reset_after: float = 600.0
    ) -> None:
        self._initial = initial
        self._maximum = maximum
        self._reset_after = reset_after
        self._next = initial

    def after_run(self, seconds: float) -> float:
        """The delay before the next start, after a run that lasted ``seconds``."""
        if seconds >= self._reset_after:
            self._next = self._initial
        delay = self._next
        self._next = min(self._next * 2, self._maximum)
        return delay
