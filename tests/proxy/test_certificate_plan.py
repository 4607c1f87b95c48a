"""Renewal under a clock that the test turns: lifetimes, outages, clocks that disagree."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from argosy.proxy.certificate_plan import (
    Answered,
    Certificate,
    CertificatePlan,
    Event,
    Failed,
    Install,
    Installed,
    RenewalWanted,
    Request,
    Started,
    Tick,
    Wait,
)

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DAY = timedelta(hours=24)
SKEW = timedelta(minutes=2)


@dataclass
class World:
    """An authority, its clock and the agent's, and a record of what happened."""

    ahead: timedelta = timedelta()  # of the agent's clock
    lifetime: timedelta = DAY
    down: tuple[datetime, datetime] = (START - DAY, START - DAY)
    jitter: float = 0.5
    now: datetime = START  # by the agent's clock
    plan: CertificatePlan = field(default_factory=CertificatePlan)
    requests: list[datetime] = field(default_factory=list)
    installed: list[datetime] = field(default_factory=list)
    uncovered: timedelta = timedelta()
    serial: int = 0

    def sign(self) -> Event:
        true_now = self.now - self.ahead
        if self.down[0] <= true_now < self.down[1]:
            return Failed("connection refused", self.jitter)
        self.serial += 1
        certificate = Certificate(
            str(self.serial), true_now - SKEW, true_now - SKEW + SKEW + self.lifetime
        )
        return Answered(certificate, self.jitter)

    def run(self, duration: timedelta, first: Event | None = None) -> None:
        end = self.now + duration
        event: Event = first or Started(jitter=self.jitter)
        while self.now < end:
            (command,) = self.plan.handle(event, self.now)
            match command:
                case Request():
                    self.requests.append(self.now)
                    event = self.sign()
                case Install():
                    assert isinstance(event, Answered)
                    self.installed.append(self.now)
                    event = Installed(event.certificate, self.jitter)
                case Wait(until):
                    assert until > self.now
                    self.advance(min(until, end))
                    event = Tick()

    def advance(self, to: datetime) -> None:
        held = self.plan.held
        covered = held.not_after if held is not None else self.now
        self.uncovered += max(timedelta(), to - max(self.now, covered))
        self.now = to


def test_it_renews_at_half_life_for_days() -> None:
    world = World()
    world.run(timedelta(days=5))
    gaps = [b - a for a, b in pairwise(world.installed)]
    assert len(world.installed) == 10
    assert set(gaps) == {timedelta(hours=12)}
    assert world.requests == world.installed
    assert world.uncovered == timedelta()


def test_jitter_spreads_renewals_over_one_hundredth() -> None:
    first: list[datetime] = []
    for jitter in (0.0, 1.0):
        world = World(jitter=jitter)
        world.run(timedelta(hours=13))
        first.append(world.installed[1])
    assert first[1] - first[0] == DAY * 0.01
    assert first[0] == START + DAY * 0.495


def test_an_outage_costs_nothing_while_the_certificate_lasts() -> None:
    begin = START + timedelta(hours=11)
    world = World(down=(begin, begin + timedelta(hours=12)))
    world.run(timedelta(hours=30))
    assert world.uncovered == timedelta()
    tries = [at for at in world.requests if begin <= at < begin + timedelta(hours=12)]
    gaps = [b - a for a, b in pairwise(tries)]
    assert gaps[:4] == [timedelta(seconds=s) for s in (0.5, 1, 2, 4)]
    assert timedelta(minutes=5) in gaps
    urgent_from = START + DAY - (DAY + SKEW) * 0.1
    late = [b - a for a, b in pairwise(tries) if a >= urgent_from]
    assert late
    assert set(late) == {timedelta(seconds=10)}
    assert any(abs(at - urgent_from) < timedelta(seconds=1) for at in tries)
    recovered = next(at for at in world.installed if at > begin)
    assert recovered - (begin + timedelta(hours=12)) <= timedelta(seconds=10)


def test_a_certificate_stays_until_a_better_one_comes() -> None:
    world = World(down=(START + timedelta(hours=1), START + timedelta(days=3)))
    world.run(timedelta(days=2))
    assert world.plan.held is not None
    assert world.plan.held.serial == "1"
    assert world.plan.last_failure == "connection refused"
    world.run(timedelta(days=1, hours=6), Tick())
    assert world.plan.held.serial == "2"
    assert (world.plan.failures, world.plan.last_failure) == (0, "")


def test_the_first_certificate_is_urgent() -> None:
    world = World(down=(START, START + timedelta(minutes=1)))
    world.run(timedelta(minutes=2))
    gaps = [b - a for a, b in pairwise(world.requests)]
    assert max(gaps) == timedelta(seconds=10)
    assert world.installed[0] - START <= timedelta(seconds=70)


def test_a_clock_hours_ahead_renews_sooner_but_not_all_the_time() -> None:
    world = World(ahead=timedelta(hours=20))
    world.run(timedelta(days=1))
    assert world.uncovered == timedelta()
    assert {b - a for a, b in pairwise(world.installed)} == {timedelta(hours=2)}


def test_a_clock_days_ahead_is_named_and_not_hammered() -> None:
    world = World(ahead=timedelta(days=2))
    world.run(timedelta(hours=1))
    assert world.installed == []
    assert "compare this machine's clock" in world.plan.last_failure
    assert len(world.requests) < 375


def test_a_clock_behind_keeps_the_certificate_that_is_valid() -> None:
    held = Certificate("old", START - timedelta(hours=12), START + timedelta(hours=12))
    world = World(ahead=-timedelta(minutes=10))
    world.run(timedelta(minutes=5), Started(held))
    assert world.installed == []
    assert "begins at" in world.plan.last_failure
    assert world.plan.held == held


def test_a_clock_behind_takes_what_it_gets_when_it_has_nothing() -> None:
    world = World(ahead=-timedelta(minutes=10))
    world.run(timedelta(minutes=1))
    assert len(world.installed) == 1


def test_a_certificate_from_an_earlier_run_is_used_until_its_half_life() -> None:
    held = Certificate("old", START - timedelta(hours=2), START + timedelta(hours=22))
    world = World()
    world.run(timedelta(hours=11), Started(held, 0.5))
    assert world.requests == [START + timedelta(hours=10)]


def test_an_expired_certificate_from_an_earlier_run_is_not_held() -> None:
    world = World()
    world.run(timedelta(minutes=1), Started(Certificate("old", START - 2 * DAY, START)))
    assert world.requests == [START]
    assert world.plan.held is not None
    assert world.plan.held.serial == "1"


def test_renewal_on_demand_at_once_even_while_backing_off() -> None:
    plan = CertificatePlan()
    assert plan.handle(Started(), START) == [Request()]
    held = Certificate("1", START, START + DAY)
    assert plan.handle(Answered(held), START) == [Install()]
    assert plan.handle(Installed(held), START) == [Wait(START + DAY / 2)]
    assert plan.handle(RenewalWanted(), START + timedelta(hours=1)) == [Request()]
    assert plan.handle(RenewalWanted(), START + timedelta(hours=1)) == []
    (wait,) = plan.handle(Failed("no"), START + timedelta(hours=1))
    assert isinstance(wait, Wait)
    assert plan.handle(RenewalWanted(), START + timedelta(hours=1)) == [Request()]


def test_a_disk_that_is_full_is_a_failure_like_others() -> None:
    plan = CertificatePlan()
    plan.handle(Started(), START)
    plan.handle(Answered(Certificate("1", START, START + DAY)), START)
    (wait,) = plan.handle(Failed("no space left"), START)
    assert wait == Wait(START + timedelta(seconds=0.5))
    assert plan.held is None


def test_a_machine_that_slept_renews_when_it_wakes() -> None:
    world = World()
    world.run(timedelta(hours=1))
    world.now += timedelta(hours=15)
    world.run(timedelta(seconds=1), Tick())
    assert world.requests[-1] == START + timedelta(hours=16)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 70),
    st.integers(0, 10),
    st.floats(0, 1),
    st.integers(-100, 100),
    st.integers(1, 48),
)
def test_no_outage_shorter_than_the_rest_of_the_life_uncovers(
    begin: int, hours: int, jitter: float, ahead: int, lifetime: int
) -> None:
    """Down for less than the 0.49 of a life that is left when renewal begins: never uncovered."""
    life = timedelta(hours=lifetime)
    outage = min(timedelta(hours=hours), life * 0.45)
    down = START + life * (begin / 10) + timedelta(seconds=1)
    world = World(
        ahead=timedelta(seconds=ahead), lifetime=life, down=(down, down + outage), jitter=jitter
    )
    world.run(life * 10)
    assert world.uncovered == timedelta()
    assert len(world.installed) >= 15
