"""What makes pods: Deployments and StatefulSets, carried out at the control plane's API."""

import asyncio
import secrets
from collections.abc import Callable

import msgspec
import structlog

from argosy.api.apps import Deployment, StatefulSet
from argosy.api.core_pod import Pod
from argosy.api.meta import Object
from argosy.platforms.local import stateful, workloads
from argosy.platforms.local.container import timestamp
from argosy.proxy.node_api import ApiClient, ApiError
from argosy.proxy.node_cluster import Cluster
from argosy.proxy.node_injection import injected, injection

_RETRY_SECONDS = 1.0
log = structlog.get_logger()


class Workloads:
    """``again`` makes the caller call ``control`` again soon."""

    def __init__(self, api: ApiClient, cluster: Cluster, again: Callable[[], None]) -> None:
        self._api = api
        self._cluster = cluster
        self._again = again

    async def control(self) -> None:
        """Take the next steps, and tell how far each workload is."""
        pods = self._cluster.all(Pod)
        deployments = self._cluster.all(Deployment)
        stateful_sets = self._cluster.all(StatefulSet)
        steps: list[workloads.Step] = [
            *workloads.orphans(pods, deployments),
            *stateful.orphans(pods, stateful_sets),
        ]
        taken = {pod.metadata.name[-5:] for pod in pods}
        for deployment in deployments:
            steps += workloads.steps(deployment, pods, lambda: _suffix(taken))
        for stateful_set in stateful_sets:
            steps += stateful.steps(stateful_set, pods)
        try:
            async with asyncio.TaskGroup() as tasks:
                for step in steps:
                    tasks.create_task(self._do(step))
                for deployment in deployments:
                    status = workloads.status(deployment, pods, timestamp())
                    tasks.create_task(self._tell(deployment, deployment.status, status))
                for one in stateful_sets:
                    tasks.create_task(self._tell(one, one.status, stateful.status(one, pods)))
        except* ApiError as errors:
            log.warning("workloads.refused", errors=[str(e) for e in errors.exceptions])
            asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._again)
        if steps:
            self._again()

    async def _do(self, step: workloads.Step) -> None:
        match step:
            case workloads.Create(pod):
                kind = injection(pod, self._cluster.namespace_labels(pod.metadata.namespace))
                ports = self._cluster.capture_ports()
                made = await self._api.create(injected(pod, kind, ports))
                self._cluster.put(made)
            case workloads.Delete(namespace, name):
                await self._api.delete("Pod", namespace, name)
                known = self._cluster.get(Pod, namespace, name)
                if known is not None and not workloads.is_terminating(known):
                    metadata = msgspec.structs.replace(
                        known.metadata, deletion_timestamp=timestamp()
                    )
                    self._cluster.put(msgspec.structs.replace(known, metadata=metadata))

    async def _tell(self, value: Object, before: object, status: msgspec.Struct) -> None:
        if before == status:
            return
        namespace, name = value.metadata.namespace, value.metadata.name
        try:
            told = await self._api.patch_status(value.kind, namespace, name, status)
        except ApiError as error:
            if error.code != 404:
                raise
        else:
            self._cluster.put(told)


def _suffix(taken: set[str]) -> str:
    while (suffix := workloads.random_suffix(secrets.randbelow(2**31))) in taken:
        pass
    taken.add(suffix)
    return suffix
