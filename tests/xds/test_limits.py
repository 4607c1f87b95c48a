"""Token buckets with a time of their own."""

from argosy.xds.limits import Limits, PeerBuckets, TokenBucket


def test_a_bucket_lets_a_burst_through_and_then_its_rate() -> None:
    bucket = TokenBucket(rate=2.0, burst=3, now=0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(0.5), bucket.take(0.5)] == [True, False]
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]


def test_peers_do_not_share_a_bucket() -> None:
    buckets = PeerBuckets(Limits(attempts=1, attempts_burst=1))
    assert buckets.take("a", 0.0)
    assert not buckets.take("a", 0.0)
    assert buckets.take("b", 0.0)


def test_only_so_many_peers_are_remembered() -> None:
    buckets = PeerBuckets(Limits(attempts=1, attempts_burst=1), capacity=2)
    for peer in ("a", "b", "c"):
        buckets.take(peer, 0.0)
    assert not buckets.take("c", 0.0)
    assert buckets.take("a", 0.0), "forgotten, the latest are kept"
