"""What somebody watches: which workloads, and which of their requests. Pure."""

from collections.abc import Mapping
from fnmatch import fnmatchcase

import msgspec

from argosy.mixer.records.record import Record

MAX_LABELS = 32


class WatchError(ValueError):
    """A watch that cannot be; the message says why."""


class Watch(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Everything must hold. Empty means any.

    ``namespace``, ``labels`` and ``pod`` are of the workload whose proxy tells. ``path`` is a glob:
    ``*`` is any text, ``/`` too. ``statuses`` are ``404`` or ``5xx``. ``source`` is the name of a
    workload, a service account or ``namespace/name`` of either. ``minimum`` is a duration in
    milliseconds. ``direction`` is ``inbound`` (at gateways, too) or ``outbound``.
    """

    namespace: str = ""
    labels: dict[str, str] = {}
    pod: str = ""
    path: str = ""
    statuses: tuple[str, ...] = ()
    method: str = ""
    source: str = ""
    minimum: float = 0.0
    direction: str = ""
    failures: bool = False

    def check(self) -> None:
        """Raises ``WatchError``."""
        if self.direction not in ("", "inbound", "outbound"):
            raise WatchError(f"direction: {self.direction!r} is neither inbound nor outbound")
        for status in self.statuses:
            if not is_status(status):
                raise WatchError(f"status: {status!r} is neither like 404 nor like 5xx")
        if len(self.labels) > MAX_LABELS:
            raise WatchError(f"labels: more than {MAX_LABELS}")
        for text in (self.namespace, self.pod, self.path, self.method, self.source):
            if len(text) > 512:
                raise WatchError(f"{text[:40]!r}... is too long")


def is_status(text: str) -> bool:
    return len(text) == 3 and text[0] in "12345" and (text[1:] == "xx" or text[1:].isdigit())


def concerns(watch: Watch, namespace: str, labels: Mapping[str, str], pod: str) -> bool:
    """Whether the watch is for what the proxy of this workload tells."""
    return (
        watch.namespace in ("", namespace)
        and watch.pod in ("", pod)
        and watch.labels.items() <= labels.items()
    )


def matches(watch: Watch, record: Record) -> bool:
    """Whether a record is one that is watched."""
    reporter = record.reporter
    if not concerns(watch, reporter.namespace, reporter.labels, reporter.pod):
        return False
    if watch.failures and not record.is_failure:
        return False
    if watch.direction and (watch.direction == "outbound") != (record.direction == "outbound"):
        return False
    if watch.method and watch.method.upper() != record.method:
        return False
    if watch.path and not fnmatchcase(record.path, watch.path):
        return False
    if watch.statuses and not any(_has_status(record, one) for one in watch.statuses):
        return False
    if record.duration < watch.minimum:
        return False
    return not watch.source or _is_from(record, watch.source)


def _has_status(record: Record, wanted: str) -> bool:
    status = str(record.status)
    return status == wanted or (wanted.endswith("xx") and status[0] == wanted[0])


def _is_from(record: Record, wanted: str) -> bool:
    namespace, _, name = wanted.rpartition("/")
    if record.direction == "outbound":
        reporter = record.reporter
        names = {reporter.workload, reporter.service_account, reporter.pod}
        return name in names and namespace in ("", reporter.namespace)
    account = record.source_principal.partition("/ns/")[2]
    of, _, account = account.partition("/sa/")
    return name == account and namespace in ("", of)
