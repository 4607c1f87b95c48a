"""Who may count, what is answered, and what is remembered for people."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import grpc
import pytest
from envoy.service.ratelimit.v3 import rls_pb2

from argosy.api.shared_limits import CountedLimit, LimitsDocument
from argosy.mixer.limits.bucket import Taken
from argosy.mixer.limits.counters import Ask, CountersError, MemoryCounters
from argosy.mixer.limits.judge import CannotCountError, LimitJudge
from argosy.mixer.limits.usage import MAX_SEEN

OK, OVER = rls_pb2.RateLimitResponse.OK, rls_pb2.RateLimitResponse.OVER_LIMIT
SHOP, AWAY = ("shop", "web"), ("away", "web")


@dataclass
class World:
    now: float = 0.0
    caller: tuple[str, str] = SHOP
    judge: LimitJudge = field(init=False)

    def __post_init__(self) -> None:
        counters = MemoryCounters(lambda: self.now)
        self.judge = LimitJudge(counters, lambda: self.caller, lambda: self.now)

    async def ask(
        self, *descriptors: Sequence[tuple[str, str]], domain: str = "argosy"
    ) -> rls_pb2.RateLimitResponse:
        request = rls_pb2.RateLimitRequest(domain=domain)
        for entries in descriptors:
            one = request.descriptors.add()
            for key, value in entries:
                one.entries.add(key=key, value=value)
        return await self.judge.decide(request)


def limit(name: str, requests: int = 1, **more: object) -> CountedLimit:
    facts: dict[str, object] = {
        "id": name,
        "requests": requests,
        "period": 3600,
        "burst": requests,
        "proxies": (SHOP,),
    }
    return CountedLimit(**(facts | more))  # type: ignore[arg-type]  # as written in the tests


def of(name: str, **keys: str) -> list[tuple[str, str]]:
    return [("limit", name), *keys.items()]


async def test_nobody_counts_before_the_control_plane_has_spoken() -> None:
    with pytest.raises(CannotCountError) as raised:
        await World().ask(of("shop/a/0"))
    assert raised.value.code is grpc.StatusCode.UNAVAILABLE


async def test_a_workload_counts_by_its_own_limits_only() -> None:
    world = World()
    world.judge.learn(LimitsDocument(limits=(limit("shop/a/0"),)))
    world.caller = AWAY
    for _ in range(3):
        with pytest.raises(CannotCountError, match="away/web may not count by shop/a/0") as raised:
            await world.ask(of("shop/a/0"))
        assert raised.value.code is grpc.StatusCode.PERMISSION_DENIED
    world.caller = SHOP
    assert (await world.ask(of("shop/a/0"))).overall_code == OK, "nobody else used it up"
    assert (await world.ask(of("shop/a/0"))).overall_code == OVER


async def test_other_questions_are_refused() -> None:
    world = World()
    world.judge.learn(LimitsDocument())
    with pytest.raises(CannotCountError, match="no question of a proxy"):
        await world.ask(of("shop/a/0"), domain="other")
    with pytest.raises(CannotCountError):
        await world.ask(*([of("shop/a/0")] * 257))
    with pytest.raises(CannotCountError):
        await world.ask([("limit", "shop/a/0"), *([("k", "v")] * 16)])


async def test_what_is_not_known_any_more_is_not_counted() -> None:
    world = World()
    world.judge.learn(LimitsDocument(limits=(limit("shop/a/0"),)))
    found = await world.ask(of("gone"), of("shop/a/0"), [("other", "x")], [])
    assert [one.code for one in found.statuses] == [OK] * 4
    found = await world.ask(of("gone"), of("shop/a/0"))
    assert [one.code for one in found.statuses] == [OK, OVER]


async def test_answers_say_what_is_left_and_when_there_is_more() -> None:
    world = World()
    told = limit("shop/a/0", 2, quota_headers=True, body="slow", content_type="text/x")
    world.judge.learn(LimitsDocument(limits=(told, limit("shop/b/0", 1))))
    found = await world.ask(of("shop/a/0", user="u"))
    assert {h.key: h.value for h in found.response_headers_to_add} == {
        "ratelimit-policy": '"shop.a.0";q=2;w=3600',
        "ratelimit": '"shop.a.0";r=1;t=1800',
    }
    (status,) = found.statuses
    assert (status.limit_remaining, status.current_limit.requests_per_unit) == (1, 2)
    assert status.current_limit.unit == rls_pb2.RateLimitResponse.RateLimit.HOUR
    assert status.duration_until_reset.seconds == 1800
    await world.ask(of("shop/a/0", user="u"))
    refused = await world.ask(of("shop/a/0", user="u"), of("shop/b/0"))
    assert refused.overall_code == OVER
    assert refused.raw_body == b"slow"
    headers = {h.key: h.value for h in refused.response_headers_to_add}
    assert headers["retry-after"] == "1800"
    assert headers["content-type"] == "text/x"
    assert headers["ratelimit"] == '"shop.a.0";r=0;t=3600'
    world.now = 1800
    assert (await world.ask(of("shop/a/0", user="u"))).overall_code == OK
    quiet = await world.ask(of("shop/b/0"))
    assert quiet.overall_code == OK, "the refused request took nothing of it"
    assert not quiet.response_headers_to_add
    assert not quiet.statuses[0].HasField("current_limit")


async def test_values_never_share_a_bucket_by_how_they_are_written() -> None:
    world = World()
    world.judge.learn(LimitsDocument(limits=(limit("shop/a/0"),)))
    for values in (("x|y", "z"), ("x", "y|z"), ("x|", "y|z"), ("x%7Cy", "z")):
        found = await world.ask(of("shop/a/0", a=values[0], b=values[1]))
        assert found.overall_code == OK
    for long in ("x" * 5000, "x" * 5000 + "y"):
        assert (await world.ask(of("shop/a/0", a=long))).overall_code == OK
        assert (await world.ask(of("shop/a/0", a=long))).overall_code == OVER
    assert isinstance(world.judge.counters, MemoryCounters)
    assert max(map(len, world.judge.counters.names())) <= 256 + len("shop/a/0")


async def test_a_limit_that_is_raised_lets_pass_at_once_what_it_allows_now() -> None:
    world = World()
    world.judge.learn(LimitsDocument(limits=(limit("shop/a/0", 2, period=86_400),)))
    for expected in (OK, OK, OVER):
        assert (await world.ask(of("shop/a/0"))).overall_code == expected
    world.judge.learn(LimitsDocument(limits=(limit("shop/a/0", 100, period=1),)))
    assert (await world.ask(of("shop/a/0"))).overall_code == OK


async def test_people_see_who_is_near_and_over() -> None:
    world = World()
    found = limit("shop/a/0", 10)
    world.judge.learn(LimitsDocument(limits=(found,)))
    for user, times in (("near", 9), ("over", 11), ("ok", 2)):
        for _ in range(times):
            await world.ask(of("shop/a/0", user=user))
    rows = {one.seen.values: one for one in world.judge.usage.of([found], world.now)[found.id]}
    assert {key[0]: one.state for key, one in rows.items()} == {
        "near": "NEAR",
        "over": "OVER",
        "ok": "OK",
    }
    assert (rows[("over",)].seen.allowed, rows[("over",)].seen.refused) == (10, 1)
    assert (rows[("near",)].remaining, rows[("over",)].remaining) == (1, 0)
    world.now += 1800
    later = {one.seen.values[0]: one for one in world.judge.usage.of([found], world.now)[found.id]}
    assert (later["over"].remaining, later["over"].state) == (5, "OK")


async def test_what_people_see_is_bounded() -> None:
    world = World()
    world.judge.learn(LimitsDocument(limits=(limit("shop/a/0"),)))
    for number in range(MAX_SEEN + 50):
        await world.ask(of("shop/a/0", user=str(number)))
    assert len(world.judge.usage) == MAX_SEEN
    await world.ask(of("shop/a/0", user="x" * 5000))
    shown = world.judge.usage.of([limit("shop/a/0")], 0.0)["shop/a/0"]
    longest = max(len(one.seen.values[0]) for one in shown)
    assert longest == 64


class Broken:
    async def take(self, asks: Sequence[Ask]) -> tuple[Taken, ...]:
        raise CountersError("Redis does not answer")


async def test_counters_that_fail_are_told_to_the_proxy() -> None:
    world = World()
    world.judge.learn(LimitsDocument(limits=(limit("shop/a/0"),)))
    world.judge.counters = Broken()
    with pytest.raises(CannotCountError, match="Redis does not answer") as raised:
        await world.ask(of("shop/a/0"))
    assert raised.value.code is grpc.StatusCode.UNAVAILABLE
