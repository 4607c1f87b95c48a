"""The parts of fetching keys put together, for a control plane."""

import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from argosy import derive
from argosy.base.clock import Clock
from argosy.model.request_authn import KeySource
from argosy.pilot.graph.request_authn import key_servers, wanted_keys
from argosy.server.jwks.addresses import (
    ALLOWED_VARIABLE,
    BLOCKED_VARIABLE,
    AddressRules,
    address_rules,
)
from argosy.server.jwks.plan import REFRESH
from argosy.server.jwks.reach import Reach
from argosy.server.jwks.service import Keys, Publish

if TYPE_CHECKING:
    from argosy.server.jwks.fetch import Fetcher

REFRESH_VARIABLE = "PILOT_JWT_PUB_KEY_REFRESH_INTERVAL"
"""How often keys are fetched again; the name is Istio's."""


@dataclass(frozen=True, slots=True)
class KeySettings:
    """``file`` keeps the last good keys. ``reach`` is made when there is something to fetch."""

    file: Path
    rules: AddressRules
    reach: Callable[[], Reach]
    refresh: timedelta = REFRESH


def key_rules(environment: Mapping[str, str], mesh: Iterable[str]) -> AddressRules:
    """As the variables say; ``mesh`` are the blocks of pods and services. Raises RulesError."""
    allowed = environment.get(ALLOWED_VARIABLE, "")
    return address_rules(mesh, allowed, environment.get(BLOCKED_VARIABLE, ""))


def keys(settings: KeySettings, engine: derive.Engine, publish: Publish, clock: Clock) -> Keys:
    engine.observe(wanted_keys)

    known: tuple[tuple[KeySource, timedelta], ...] = ()

    def wanted() -> Iterable[tuple[KeySource, timedelta]]:
        """A formula that fails is our own mistake: it takes no keys away."""
        nonlocal known
        found = engine.value(wanted_keys)
        if not isinstance(found, derive.Failed):
            known = found
        return known

    def in_mesh(host: str, port: int) -> tuple[tuple[str, int], ...] | None:
        found = engine.value(key_servers, host, port)
        return None if isinstance(found, derive.Failed) else found

    @cache
    def fetcher() -> "Fetcher":
        from argosy.server.jwks.dialing import GuardedBackend  # noqa: PLC0415  (as below)
        from argosy.server.jwks.fetch import Fetcher  # noqa: PLC0415  (most meshes need it never)

        backend = GuardedBackend(settings.rules, settings.reach(), in_mesh)
        return Fetcher(backend, ssl.create_default_context())

    async def fetch(source: KeySource, wait: timedelta) -> str:
        return await fetcher().fetch(source, wait)

    return Keys(
        wanted=wanted,
        fetch=fetch,
        publish=publish,
        clock=clock,
        file=settings.file,
        refresh=settings.refresh,
    )
