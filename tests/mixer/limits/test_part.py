"""What proxies tell of their own limits: whose word is taken, and who is shown what."""

import contextvars
from pathlib import Path
from typing import Any, cast

import httpx
from starlette.applications import Starlette

from argosy.api.shared_limits import CountedLimit, LimitsDocument
from argosy.base.clock import SystemClock
from argosy.citadel.identity import SpiffeId
from argosy.mixer import caller
from argosy.mixer.asker import NAMESPACE_HEADER
from argosy.mixer.collect.otlp import LimitCount
from argosy.mixer.control_plane import ControlPlane
from argosy.mixer.credentials import MixerCredentials
from argosy.mixer.limits.part import LimitsPart
from argosy.mixer.parts import Ground


def limit(name: str, **more: Any) -> CountedLimit:
    facts = {"requests": 10, "period": 3600, "burst": 10, "proxies": (("shop", "web"),)}
    return CountedLimit(id=name, counts_all=True, **(facts | more))


class World:
    def __init__(self, *own: CountedLimit) -> None:
        ground = Ground(
            Path(),
            SystemClock(),
            cast(ControlPlane, None),
            cast(MixerCredentials, None),
            "127.0.0.1",
        )
        self.part = LimitsPart(ground)
        self.own = own

    async def learn(self) -> None:
        await self.part._learn(LimitsDocument(version="1", own=self.own))

    def tell(self, *counts: LimitCount, account: str = "web", address: str = "10.0.0.1") -> None:
        """As the workload web of the namespace shop, which has proven that it is."""
        who = caller.Caller(
            SpiffeId("cluster.local", "shop", account),
            address,
            cast(Any, None),
            caller.Stated("web", "shop"),
        )
        context = contextvars.copy_context()
        context.run(caller._caller.set, who)
        context.run(self.part.take, counts)

    async def rows(self, namespace: str = "") -> dict[str, list[dict[str, Any]]]:
        transport = httpx.ASGITransport(Starlette(routes=list(self.part.routes())))
        async with httpx.AsyncClient(transport=transport, base_url="http://mixer") as client:
            answer = await client.get("/limits", headers={NAMESPACE_HEADER: namespace})
        return {one["id"]: one["rows"] for one in answer.json()["items"]}


async def test_a_proxy_tells_of_limits_that_it_counts_by_and_of_no_others() -> None:
    world = World(limit("shop/a/0"), limit("bank/a/0", proxies=(("bank", "web"),)))
    await world.learn()
    world.tell(LimitCount("shop/a/0", 9), LimitCount("bank/a/0", 5, 5), LimitCount("", 1))
    world.tell(LimitCount("shop/a/0", 1), account="other", address="10.0.0.2")
    found = await world.rows()
    assert found["bank/a/0"] == []
    (row,) = found["shop/a/0"]
    assert row["replica"] == {"namespace": "shop", "workload": "web", "address": "10.0.0.1"}
    assert (row["state"], row["remaining"], row["allowed"], row["refused"]) == ("NEAR", 1, 9, 0)
    assert set(await world.rows("bank")) == {"bank/a/0"}


async def test_each_replica_has_a_row_those_that_are_over_first() -> None:
    world = World(limit("shop/a/0"))
    await world.learn()
    for number, refused in ((1, 0), (2, 4), (3, 0)):
        world.tell(LimitCount("shop/a/0", 2 * number, refused), address=f"10.0.0.{number}")
    rows = (await world.rows())["shop/a/0"]
    assert [(row["replica"]["address"], row["state"]) for row in rows] == [
        ("10.0.0.2", "OVER"),
        ("10.0.0.3", "OK"),
        ("10.0.0.1", "OK"),
    ]


async def test_rules_that_one_filter_counts_share_what_it_refused() -> None:
    world = World(limit("shop/a/x"), limit("shop/a/y"))
    await world.learn()
    world.tell(LimitCount("shop/a/x,y,x", 7, 2))
    for rows in (await world.rows()).values():
        assert [(row["allowed"], row["used"], row["refused"]) for row in rows] == [(None, None, 2)]
