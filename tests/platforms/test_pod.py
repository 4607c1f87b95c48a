"""Pods with real processes, namespaces and mounts, without a proxy."""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from argosy.api.core import ConfigMap, Secret
from argosy.api.core_pod import Pod
from argosy.platforms.local import network, procfs
from argosy.platforms.local.environment import Sources
from argosy.platforms.local.images import ImageMap
from argosy.platforms.local.pod import PodHost, PodRunner
from argosy.testing.namespaces import run_inside

pytestmark = pytest.mark.e2e
PYTHON = sys.executable


class NoSidecar:
    """Ready at once; remembers when it was asked to drain."""

    ready = True
    message = ""
    environment: Mapping[str, str] = {}

    def __init__(self) -> None:
        self.drained_at = 0.0

    async def run(self, pod_netns: int, address: str) -> None:
        await asyncio.Event().wait()

    async def wait_ready(self) -> None:
        return

    async def drain(self) -> None:
        self.drained_at = time.monotonic()

    async def report(self) -> None:
        """Nothing is counted."""


class Pods:
    """Runs pods written as YAML, and waits for what they become."""

    def __init__(self, directory: Path, sources: Sources | None = None) -> None:
        self.directory = directory
        self.sources = sources or Sources({}, {})
        self.changed = asyncio.Event()
        self.host = PodHost(
            images=ImageMap(),
            addresses=network.AddressPool(),
            sources=lambda _: self.sources,
            sources_changed=asyncio.Condition(),
            mark=0x53A,
            leave_seconds=0.1,
        )
        self.count = 0
        self.runners: list[PodRunner] = []

    def runner(self, text: str) -> PodRunner:
        self.count += 1
        value = yaml.safe_load(text)
        value.setdefault("metadata", {}).setdefault("name", f"p{self.count}")
        value["metadata"].setdefault("namespace", "default")
        pod = msgspec.convert(value, Pod)
        directory = self.directory / f"p{self.count}"
        directory.mkdir()
        link = f"pod{self.count}"
        runner = PodRunner(pod, self.host, directory, link, NoSidecar(), self.changed.set)
        self.runners.append(runner)
        return runner

    async def until(self, condition: Callable[[], Any], seconds: float = 10) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "\n".join(self.describe())
            await asyncio.sleep(0.02)

    def describe(self) -> list[str]:
        """Every status and log, for a failure."""
        logs = [f"{p}: {p.read_text()}" for p in self.directory.glob("*/logs/*")]
        return [*(repr(r.status()) for r in self.runners), *logs]


def test_life_of_a_pod(tmp_path: Path) -> None:
    run_inside(life, str(tmp_path))


async def life(tmp_path: str) -> None:
    pods = Pods(
        Path(tmp_path),
        Sources(
            {"settings": msgspec.convert({"data": {"color": "red", "a.txt": "A"}}, ConfigMap)},
            {"key": msgspec.convert({"stringData": {"password": "xyz"}}, Secret)},
        ),
    )
    runner = pods.runner(f"""
spec:
  serviceAccountName: robot
  terminationGracePeriodSeconds: 2
  initContainers:
  - name: first
    image: x
    command: [sh, -c, "echo ready > /shared/init"]
    volumeMounts: [{{name: shared, mountPath: /shared}}]
  containers:
  - name: app
    image: x
    command:
    - {PYTHON}
    - -c
    - |
      import json, os, pathlib, socket, signal, sys
      facts = dict(os.environ)
      facts["init"] = pathlib.Path("/shared/init").read_text().strip()
      facts["a"] = pathlib.Path("/etc/argosy-test/config/a.txt").read_text()
      facts["secret"] = pathlib.Path("/etc/argosy-test/secret/password").read_text()
      facts["resolv"] = pathlib.Path("/etc/resolv.conf").read_text()
      facts["host"] = socket.gethostname()
      facts["me"] = socket.gethostbyname(socket.gethostname())
      facts["argv"] = sys.argv[1]
      pathlib.Path("/tmp/facts").write_text(json.dumps(facts))
      server = socket.create_server(("", 8080))
      signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
      while True: server.accept()[0].close()
    args: ["$(GREETING), $(NOBODY) $$(GREETING)"]
    ports: [{{containerPort: 8080, name: http}}]
    env:
    - {{name: NAME, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}
    - {{name: IP, valueFrom: {{fieldRef: {{fieldPath: status.podIP}}}}}}
    - {{name: SA, valueFrom: {{fieldRef: {{fieldPath: spec.serviceAccountName}}}}}}
    - {{name: COLOR, valueFrom: {{configMapKeyRef: {{name: settings, key: color}}}}}}
    - {{name: PASSWORD, valueFrom: {{secretKeyRef: {{name: key, key: password}}}}}}
    - {{name: NOT_THERE, valueFrom: {{secretKeyRef: {{name: nothing, key: x, optional: true}}}}}}
    - {{name: GREETING, value: "hello $(NAME)"}}
    readinessProbe:
      tcpSocket: {{port: http}}
    volumeMounts:
    - {{name: shared, mountPath: /shared}}
    - {{name: config, mountPath: /etc/argosy-test/config}}
    - {{name: secret, mountPath: /etc/argosy-test/secret, readOnly: true}}
    - {{name: missing, mountPath: /etc/argosy-test/missing}}
    - {{name: tmp, mountPath: /tmp}}
  volumes:
  - {{name: shared, emptyDir: {{}}}}
  - {{name: tmp, emptyDir: {{}}}}
  - {{name: config, configMap: {{name: settings}}}}
  - {{name: secret, secret: {{secretName: key}}}}
  - {{name: missing, secret: {{secretName: nothing, optional: true}}}}
""")
    sidecar = runner.sidecar
    assert isinstance(sidecar, NoSidecar)
    life = asyncio.ensure_future(runner.run())  # noqa: TID251  (a test's own task)
    await pods.until(lambda: runner.status().ready)
    status = runner.status()
    assert status.phase == "Running"
    assert status.pod_ip == "10.244.0.2"
    assert [c.ready for c in status.container_statuses] == [True]
    facts = msgspec.json.decode((runner.directory / "volumes" / "tmp" / "facts").read_bytes())
    assert facts["NAME"] == facts["host"] == "p1"
    assert facts["IP"] == facts["me"] == "10.244.0.2"
    assert facts["SA"] == "robot"
    assert (facts["COLOR"], facts["PASSWORD"]) == ("red", "xyz")
    assert "NOT_THERE" not in facts
    assert facts["argv"] == "hello p1, $(NOBODY) $(GREETING)"
    assert (facts["init"], facts["a"], facts["secret"]) == ("ready", "A", "xyz")
    assert "search default.svc.cluster.local svc.cluster.local cluster.local" in facts["resolv"]
    assert not os.path.exists("/etc/argosy-test")  # noqa: ASYNC240
    assert not os.path.exists("/shared")  # noqa: ASYNC240

    runner.leave()
    await pods.until(lambda: not runner.status().ready)
    await life
    assert sidecar.drained_at > 0
    terminated = runner.status().container_statuses[0].state
    assert terminated is not None
    assert terminated.terminated is not None
    assert terminated.terminated.exit_code == 7
    assert runner.netns == -1
    assert not (runner.directory / "volumes").exists()


def test_restarts_and_failures(tmp_path: Path) -> None:
    run_inside(failures, str(tmp_path))


async def failures(tmp_path: str) -> None:
    pods = Pods(Path(tmp_path))
    crashing = pods.runner("""
spec:
  containers:
  - {name: app, image: x, command: [sh, -c, "exit 3"]}
""")
    job = pods.runner("""
spec:
  restartPolicy: Never
  containers:
  - {name: a, image: x, command: ["true"]}
  - {name: b, image: x, command: [sh, -c, "kill -9 $$$$"]}
""")
    unmapped = pods.runner("spec: {containers: [{name: a, image: some/image:1}]}")
    unconfigured = pods.runner("""
spec:
  containers:
  - name: a
    image: x
    command: ["true"]
    env: [{name: X, valueFrom: {configMapKeyRef: {name: later, key: k}}}]
""")
    missing = pods.runner("spec: {containers: [{name: a, image: x, command: [/no/such/program]}]}")
    unhealthy = pods.runner("""
spec:
  containers:
  - name: a
    image: x
    command: [sleep, "100"]
    livenessProbe: {exec: {command: ["false"]}, periodSeconds: 1, failureThreshold: 1}
""")
    stubborn = pods.runner(f"""
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: a
    image: x
    command:
    - {PYTHON}
    - -c
    - |
      import os, signal, time
      signal.signal(signal.SIGTERM, signal.SIG_IGN)
      if os.fork() == 0:
          os.setsid()
          if os.fork() == 0:
              time.sleep(1000)
          os._exit(0)
      time.sleep(1000)
    readinessProbe: {{exec: {{command: ["true"]}}}}
""")
    runners = [crashing, job, unmapped, unconfigured, missing, unhealthy, stubborn]
    lives = [asyncio.ensure_future(r.run()) for r in runners]  # noqa: TID251  (a test's own tasks)

    def only(runner: PodRunner) -> Any:
        return runner.status().container_statuses[0]

    def waiting(runner: PodRunner) -> Any:
        return only(runner).state.waiting

    await pods.until(lambda: only(crashing).restart_count >= 1 and waiting(crashing))
    assert waiting(crashing).reason == "CrashLoopBackOff"
    assert only(crashing).last_state.terminated.exit_code == 3
    assert not crashing.status().ready

    await pods.until(lambda: job.status().phase == "Failed")
    states: list[Any] = [c.state for c in job.status().container_statuses]
    assert [state.terminated.exit_code for state in states] == [0, 137]

    assert waiting(unmapped).reason == "ErrImageNeverPull"
    assert waiting(unmapped).message.startswith('no command for image "some/image:1": add')
    assert unmapped.status().phase == "Pending"

    assert waiting(unconfigured).reason == "CreateContainerConfigError"
    assert waiting(unconfigured).message == 'configmap "later" not found'
    later = msgspec.convert({"data": {"k": "v"}}, ConfigMap)
    pods.sources = Sources({"later": later}, {})
    async with pods.host.sources_changed:
        pods.host.sources_changed.notify_all()
    await pods.until(lambda: only(unconfigured).last_state or only(unconfigured).state.terminated)

    await pods.until(lambda: waiting(missing) and waiting(missing).reason == "RunContainerError")
    assert waiting(missing).message == "program /no/such/program not found"

    await pods.until(lambda: only(unhealthy).restart_count >= 1)

    await pods.until(lambda: stubborn.status().ready)
    began = time.monotonic()
    for runner in runners:
        runner.leave()
    await asyncio.gather(*lives)
    assert 0.9 < time.monotonic() - began < 15
    await pods.until(lambda: not living_others())


def living_others() -> list[int]:
    """Processes other than this one; those that ended and that nobody waits for do not count."""
    stats = {pid: Path(f"/proc/{pid}/stat").read_text() for pid in procfs.pids()}
    return [p for p, text in stats.items() if p != os.getpid() and " Z " not in text]


def test_pods_start_fast(tmp_path: Path) -> None:
    run_inside(fast, str(tmp_path))


async def fast(tmp_path: str) -> None:
    pods = Pods(Path(tmp_path))
    text = "spec: {containers: [{name: a, image: x, command: [sleep, '100']}]}"
    runners = [pods.runner(text) for _ in range(20)]
    began = time.monotonic()
    lives = [asyncio.ensure_future(r.run()) for r in runners]  # noqa: TID251  (a test's own tasks)
    await pods.until(lambda: all(r.status().ready for r in runners))
    assert time.monotonic() - began < 20 * 0.5  # one after the other they would need more
    for runner in runners:
        runner.leave(quick=True)
    await asyncio.gather(*lives)
