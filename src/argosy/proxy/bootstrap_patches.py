"""EnvoyFilters on the bootstrap of a proxy: which are for a pod, and the process that applies them.

The types of Envoy's bootstrap are large, and seldom needed: a process of its own loads them, so
that the agent stays small. It takes effect when the pod starts, as in Istio.
"""

import asyncio
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from argosy.api.core_pod import Pod
from argosy.api.networking_envoy_filter import EnvoyFilter
from argosy.model.envoy_filter import ApplyTo, Context
from argosy.pilot.compile.envoy_filters import (
    contexts,
    envoy_filter,
    in_order,
    proxy_matches,
    selects,
)
from argosy.pilot.compile.roles import role_of

Json = dict[str, Any]
SECONDS = 60.0


def bootstrap_patches(pod: Pod, filters: Iterable[EnvoyFilter], root_namespace: str) -> list[Json]:
    """The patches for the pod's bootstrap, in order, as plain data."""
    role = role_of(pod)
    written = {
        one.key: one
        for one in filters
        if one.metadata.namespace in (root_namespace, role.namespace)
        and any(patch.apply_to == "BOOTSTRAP" for patch in one.spec.config_patches)
    }
    allowed = {Context.ANY, *contexts(role.type)}
    found: list[Json] = []
    for one in in_order(map(envoy_filter, written.values()), root_namespace):
        if not selects(one, role):
            continue
        for patch in one.patches:
            if patch.apply_to is not ApplyTo.BOOTSTRAP or patch.context not in allowed:
                continue
            if proxy_matches(patch.proxy, role):
                value = written[one.object].spec.config_patches[patch.index].patch
                found.append(
                    {
                        "object": str(one.object),
                        "index": patch.index,
                        "operation": value.operation,
                        "value": value.value,
                    }
                )
    return found


async def patched_bootstrap(
    bootstrap: Json, patches: list[Json], directory: Path
) -> tuple[Json, list[str]]:
    """The bootstrap with the patches, and which were left out and why.

    ``directory`` is Envoy's, with its certificates: Envoy itself is asked there. When the process
    fails, nothing is patched.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "argosy.proxy.patch_bootstrap",
        cwd=directory,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    sent = json.dumps({"bootstrap": bootstrap, "patches": patches}).encode()
    try:
        async with asyncio.timeout(SECONDS):
            answer, errors = await process.communicate(sent)
    except TimeoutError:
        return bootstrap, ["it took too long"]
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        return bootstrap, [errors.decode(errors="replace")[-500:]]
    found = json.loads(answer)
    return found["bootstrap"], found["refused"]
