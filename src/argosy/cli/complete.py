"""What the shell offers for an argument: asks a running mesh, briefly, and never complains.

Every command imports it, so it imports what it needs when the shell asks.
"""

from collections.abc import Iterable

import httpx
import typer

from argosy.cli.client import ApiClient, CliError, Json, name_of
from argosy.platforms.local.state import mesh_names

_PODS = "/api/v1/namespaces/{}/pods"
_DEPLOYMENTS = "/apis/apps/v1/namespaces/{}/deployments"


def objects(ctx: typer.Context, incomplete: str) -> list[str]:
    """A kind, ``KIND/NAME``, or after a kind its names."""
    from argosy.api import registry
    from argosy.cli.kinds import ALL

    before: list[str] = ctx.params.get("objects") or []
    if "/" in incomplete or (before and "/" in before[0]):
        word, slash, _ = incomplete.partition("/")
        found = [f"{word}/{name}" for name in _names(ctx, word)] if slash else []
    elif before:
        found = [name for name in _names(ctx, before[0]) if name not in before]
    else:
        found = [ALL, *(entry.singular for entry in registry.KINDS)]
        found += [short for entry in registry.KINDS for short in entry.short_names]
    return _starting(found, incomplete)


def workloads(ctx: typer.Context, incomplete: str) -> list[str]:
    """``deploy/NAME`` and the names of pods."""
    namespace = _namespace(ctx)
    deployments = _ask(ctx, _DEPLOYMENTS.format(namespace))
    pods = _ask(ctx, _PODS.format(namespace))
    found = [f"deploy/{name_of(item)}" for item in deployments] + [name_of(pod) for pod in pods]
    return _starting(found, incomplete)


def namespaces(ctx: typer.Context, incomplete: str) -> list[str]:
    return _starting(map(name_of, _ask(ctx, "/api/v1/namespaces")), incomplete)


def meshes(incomplete: str) -> list[str]:
    try:
        return _starting(mesh_names(), incomplete)
    except OSError:
        return []


def _names(ctx: typer.Context, word: str) -> list[str]:
    from argosy.cli.kinds import kind_named

    try:
        return [name_of(item) for item in _ask(ctx, kind_named(word).path(_namespace(ctx)))]
    except CliError:
        return []


def _namespace(ctx: typer.Context) -> str:
    return str(ctx.params.get("namespace") or "default")


def _ask(ctx: typer.Context, path: str) -> list[Json]:
    try:
        with ApiClient(str(ctx.params.get("mesh") or "default"), patience=0) as client:
            return client.items(path)
    except (CliError, OSError, httpx.HTTPError):
        return []


def _starting(found: Iterable[str], incomplete: str) -> list[str]:
    return [item for item in found if item.startswith(incomplete)]
