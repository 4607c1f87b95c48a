"""``argosy logs``: what workloads and their proxies have written."""

import contextlib
import os
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from argosy.cli import complete
from argosy.cli.client import (
    ApiClient,
    CliError,
    Json,
    NotFoundError,
    find_pod,
    name_of,
    namespace_of,
    why_late,
)
from argosy.cli.options import ContainerOption, MeshOption, NamespaceOption, SelectorOption
from argosy.cli.output import err

PROXY = "istio-proxy"
_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
_PAUSE_SECONDS = 0.2


def logs(
    target: Annotated[
        str | None,
        typer.Argument(
            help="deploy/NAME, svc/NAME, or a pod: NAME or NAME.NAMESPACE.",
            metavar="[WORKLOAD]",
            autocompletion=complete.workloads,
        ),
    ] = None,
    container: ContainerOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines come.")] = False,
    tail: Annotated[int, typer.Option("--tail", help="Only so many last lines.")] = -1,
    selector: SelectorOption = "",
    namespace: NamespaceOption = "default",
    mesh: MeshOption = "default",
) -> None:
    """Show what a workload, or its proxy (-c istio-proxy), has written.

    With -l every line is led by the name of its pod. -f goes on when the program is started again.
    """
    if bool(target) == bool(selector):
        raise CliError("say which: a WORKLOAD, or -l LABELS", code=2)
    with ApiClient(mesh) as client:
        if target:
            pods = [find_pod(client, target, namespace)]
        else:
            pods = client.items(f"/api/v1/namespaces/{namespace}/pods", selector)
            if not pods:
                raise NotFoundError(f"no pod in namespace {namespace!r} has the labels {selector}")
        sources = [_source(client, pod, container, led=not target) for pod in pods]
    _write([(source, source.log.last(tail)) for source in sources])
    if follow:
        with contextlib.suppress(KeyboardInterrupt):
            _follow(sources)
        return
    for source in sources:
        if source.log.rest:
            _write([(source, [source.log.rest + b"\n"])])


class LogFile:
    """A log that processes append to: across restarts of the program and renewals of the file.

    The node empties a file that has grown too large, after copying it to ``NAME.1``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rest = b""
        """An unfinished last line."""
        self._file: BinaryIO | None = None

    def last(self, count: int) -> list[bytes]:
        """The last ``count`` lines, all when negative; ``more`` goes on from there."""
        lines: list[bytes] = []
        with contextlib.suppress(FileNotFoundError):
            lines = self.path.with_name(f"{self.path.name}.1").read_bytes().splitlines(True)
        lines += self.more()
        return lines if count < 0 else list(deque(lines, maxlen=count))

    def more(self) -> list[bytes]:
        """The whole lines that have come since."""
        found = self._look()
        data = b""
        same = found is not None and self._is_open(found)
        if self._file is not None:
            if found is not None and same and found.st_size < self._file.tell():
                self._file.seek(0)
            data = self._file.read()
        if found is not None and not same:
            with contextlib.suppress(FileNotFoundError):
                self._file = self.path.open("rb")
                data += self._file.read()
        *lines, self.rest = (self.rest + data).split(b"\n")
        return [line + b"\n" for line in lines]

    @property
    def is_gone(self) -> bool:
        return self._look() is None

    def _look(self) -> os.stat_result | None:
        try:
            return self.path.stat()
        except FileNotFoundError:
            return None

    def _is_open(self, found: os.stat_result) -> bool:
        return self._file is not None and os.fstat(self._file.fileno()).st_ino == found.st_ino


@dataclass(frozen=True, slots=True)
class _Source:
    pod: str
    log: LogFile
    prefix: bytes


def _source(client: ApiClient, pod: Json, container: str | None, *, led: bool) -> _Source:
    containers = [c["name"] for c in pod["spec"]["containers"]]
    containers += [c["name"] for c in pod["spec"].get("initContainers", ())]
    default = (pod["metadata"].get("annotations") or {}).get(_DEFAULT_CONTAINER, containers[0])
    name = container or default
    directory = client.directory.pod(namespace_of(pod), name_of(pod)) / "logs"
    path = directory / ("envoy.log" if name == PROXY else f"{name}.log")
    known = list(dict.fromkeys([*containers, PROXY]))
    if name not in known:
        hint = f"Containers: {', '.join(known)}"
        raise NotFoundError(f"pod {name_of(pod)} has no container {name!r}", hint)
    if not path.exists():
        raise CliError(
            f"container {name!r} of pod {name_of(pod)} has no log yet", ": ".join(why_late(pod))
        )
    return _Source(name_of(pod), LogFile(path), f"[{name_of(pod)}] ".encode() if led else b"")


def _follow(sources: list[_Source]) -> None:
    """Until every pod is gone."""
    while sources:
        news = [(source, source.log.more()) for source in sources]
        _write(news)
        gone = [source for source in sources if source.log.is_gone]
        for source in gone:
            err.print(f"pod {source.pod} is gone", markup=False)
        sources = [source for source in sources if source not in gone]
        if not any(lines for _, lines in news):
            time.sleep(_PAUSE_SECONDS)


def _write(news: list[tuple[_Source, list[bytes]]]) -> None:
    for source, lines in news:
        for line in lines:
            sys.stdout.buffer.write(source.prefix + line)
    sys.stdout.flush()
