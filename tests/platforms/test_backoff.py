from argosy.platforms.local.backoff import Backoff


def test_delays_double_to_five_minutes_and_forgive() -> None:
    backoff = Backoff()
    assert [backoff.after_run(1) for _ in range(11)] == [
        1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300,
    ]  # fmt: skip
    assert backoff.after_run(599) == 300
    assert backoff.after_run(600) == 1
    assert backoff.after_run(1) == 2
