"""Timing and thresholds of Kubernetes' probes, with a clock of the test."""

from argosy.platforms.local.probes import Exec, Health, Kind, Listening, Probe, Probes

CHECK = Exec(("true",))


def kinds(health: Health, now: float) -> list[Kind]:
    return [kind for kind, _ in health.due(now)]


def test_no_probes_means_ready_at_once() -> None:
    health = Health(Probes(), 100.0)
    assert health.ready(100.0)
    assert health.next_at() is None


def test_readiness_waits_for_its_delay_and_success_threshold() -> None:
    probe = Probe(CHECK, initial_delay=5, period=10, success_threshold=2)
    health = Health(Probes(readiness=probe), 100.0)
    assert kinds(health, 104.9) == []
    assert health.next_at() == 105.0
    assert kinds(health, 105.0) == [Kind.READINESS]
    health.record(Kind.READINESS, True, 105.1)
    assert not health.ready(105.1)
    assert health.next_at() == 106.0, "until it has been ready once, every second"
    assert kinds(health, 106.0) == [Kind.READINESS]
    health.record(Kind.READINESS, True, 106.1)
    assert health.ready(106.1)


def test_a_ready_container_is_out_after_three_failures_and_back_after_one_success() -> None:
    health = Health(Probes(readiness=Probe(CHECK)), 0.0)
    health.due(0.0)
    health.record(Kind.READINESS, True, 0.0)
    now = 0.0
    for expected in (True, True, False):
        now += 10
        health.due(now)
        health.record(Kind.READINESS, False, now)
        assert health.ready(now) is expected
        assert not health.must_restart
    assert health.next_at() == now + 10
    health.record(Kind.READINESS, True, now)
    assert health.ready(now)


def test_liveness_restarts_after_its_failures_in_a_row() -> None:
    health = Health(Probes(liveness=Probe(CHECK, failure_threshold=2)), 0.0)
    assert health.ready(0.0)
    for outcome in (False, True, False):
        health.record(Kind.LIVENESS, outcome, 0.0)
    assert not health.must_restart
    health.record(Kind.LIVENESS, False, 0.0)
    assert health.must_restart
    assert not health.ready(0.0)


def test_startup_holds_the_others_back() -> None:
    startup = Probe(CHECK, period=1, failure_threshold=3)
    probes = Probes(startup=startup, liveness=Probe(CHECK), readiness=Probe(CHECK))
    health = Health(probes, 0.0)
    assert kinds(health, 0.0) == [Kind.STARTUP]
    health.record(Kind.STARTUP, False, 0.0)
    health.record(Kind.STARTUP, False, 1.0)
    assert not health.started
    health.record(Kind.STARTUP, True, 2.0)
    assert health.started
    assert sorted(k.value for k in kinds(health, 2.0)) == ["liveness", "readiness"]
    assert kinds(health, 50.0) != [Kind.STARTUP]


def test_startup_that_fails_restarts() -> None:
    health = Health(Probes(startup=Probe(CHECK, failure_threshold=2)), 0.0)
    health.record(Kind.STARTUP, False, 0.0)
    assert not health.must_restart
    health.record(Kind.STARTUP, False, 0.0)
    assert health.must_restart


def test_patience_ends_waiting_for_a_port() -> None:
    probes = Probes(readiness=Probe(Listening((80,)), period=0.05), patience=10)
    health = Health(probes, 0.0)
    health.due(0.0)
    health.record(Kind.READINESS, False, 0.0)
    assert not health.ready(9.9)
    assert health.ready(10.0)


def test_a_port_once_open_is_not_looked_at_again() -> None:
    probes = Probes(readiness=Probe(Listening((80,)), period=0.05), patience=10)
    health = Health(probes, 0.0)
    health.record(Kind.READINESS, True, 0.0)
    assert health.ready(0.0)
    assert health.next_at() == float("inf")
