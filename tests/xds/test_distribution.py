"""Publications under way: overlapping, rejected, left by clients."""

from argosy.xds.distribution import Publications, Traffic
from argosy.xds.rejection import RejectedResource, Rejection


def rejection(generation: int) -> Rejection:
    return Rejection("b", "url", "no", (RejectedResource("x", "1"),), generation, 0.0)


def test_an_answer_counts_for_every_publication_up_to_it() -> None:
    publications = Publications()
    first = publications.begin(1, 10, 100.0, [(1, "a"), (2, "b")])
    second = publications.begin(2, 11, 101.0, [(1, "a")])
    assert publications.progress(1, 11, 102.0) == [first, second]
    assert (first.waiting, second.waiting) == ({2: "b"}, {}), "one is done, one is not"
    assert publications.progress(2, 9, 103.0) == []
    assert first.distribution(103.0).pending == ("b",)
    assert first.distribution(103.0).seconds == 3.0
    assert publications.progress(2, 10, 104.0) == [first]
    done = first.distribution(200.0)
    assert (done.touched, done.acknowledged, done.pending, done.seconds) == (2, 2, (), 4.0)


def test_a_rejection_is_held_against_what_it_answers() -> None:
    publications = Publications()
    first = publications.begin(1, 10, 0.0, [(2, "b"), (3, "c")])
    later = publications.begin(2, 11, 0.0, [(2, "b")])
    publications.reject(2, rejection(10))
    publications.progress(2, 11, 1.0)
    publications.progress(3, 11, 1.0)
    done = first.distribution(1.0)
    assert (done.touched, done.acknowledged, done.rejected) == (2, 1, (rejection(10),))
    assert later.distribution(1.0).rejected == ()


def test_who_leaves_is_not_waited_for() -> None:
    publications = Publications()
    first = publications.begin(1, 10, 0.0, [(1, "a"), (2, "b")])
    publications.progress(1, 10, 1.0)
    assert publications.leave(2, 2.0) == [first]
    assert publications.leave(1, 2.0) == []
    assert first.distribution(3.0).touched == 0


def test_a_revision_is_found_in_the_publication_that_carried_it() -> None:
    publications = Publications()
    one = publications.begin(3, 10, 0.0, [])
    publications.begin(7, 11, 0.0, [])
    assert publications.find(2) is one
    assert publications.find(3) is one
    found = publications.find(5)
    assert found is not None
    assert found.revision == 7
    assert publications.find(8) is None


def test_what_was_sent_while_it_waited_and_how_it_was_answered() -> None:
    publications = Publications(keep=2)
    first = publications.begin(1, 10, 100.0, [(1, "a"), (2, "b")])
    publications.sent(3, "url", 5, 100.1)
    assert first.traffic == {}, "it does not wait for that client"
    publications.sent(1, "url", 5, 100.1)
    publications.sent(2, "url", 7, 100.2)
    publications.answered(2, "other", 100.3, 0.1)
    publications.answered(2, "url", 100.3, 0.1, refused=True)
    publications.progress(2, 10, 100.3)
    publications.sent(2, "url", 1000, 100.4)
    publications.answered(1, "url", 100.5, 0.4)
    publications.progress(1, 10, 100.5)
    publications.answered(1, "url", 100.9, 9.0)
    assert first.traffic == {"url": Traffic(100.1, 100.5, 2, 12, 2, 1, "a", 0.4)}
    left = publications.begin(2, 11, 101.0, [(1, "a")])
    for number in (3, 4):
        publications.begin(number, 9 + number, 102.0, [])
    publications.sent(1, "url", 5, 103.0)
    assert left.traffic == {}, "it was too long ago"
    assert publications.progress(1, 99, 103.0) == []
