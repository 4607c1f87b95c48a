"""What is kept, who sees it, what is asked for: bounded whatever comes."""

import msgspec
import pytest

from argosy.mixer.records import hub as hub_module
from argosy.mixer.records.hub import LATE_TICKS, MAX_VIEWERS, MAX_WAITING, Hub, TooManyError
from argosy.mixer.records.load import RAISE_TICKS, RECORDS_PER_SECOND, SETTLE_TICKS, Share
from argosy.mixer.records.record import TCP, Record, Reporter
from argosy.mixer.records.recording import ANY_PATH, MAX_PATHS, Recorder, template
from argosy.mixer.records.tap import Watch, WatchError, matches
from argosy.model.records import ALL, Direction, Wanted, Wish, tap_share

WEB = Reporter("default", "web", "web-v1", "web-v1-a", {"app": "web"})
SHOP = Reporter("shop", "cart", "cart", "cart-a", {"app": "cart"})
CURL = "spiffe://cluster.local/ns/default/sa/curl"


def a_record(**facts: object) -> Record:
    usual = Record(
        100.0,
        5.0,
        Direction.INBOUND,
        "HTTP/2",
        WEB,
        request_id="a",
        method="GET",
        path="/items/1",
        status=200,
        server_address="10.0.0.1:8080",
        source_principal=CURL,
        source_address="10.0.0.2:40000",
    )
    return msgspec.structs.replace(usual, **facts)


def nothing() -> None:
    pass


def test_failures_outlive_what_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "MAX_OTHERS", 3)
    hub = Hub()
    hub.take(a_record(request_id="bad", status=500))
    for number in range(10):
        hub.take(a_record(request_id=str(number)))
    assert hub.kept == 4
    assert [one.request_id for one in hub.request("bad")] == ["bad"]
    assert hub.request("0") == []
    assert [one.request_id for one in hub.request("9")] == ["9"]


def test_a_request_is_found_with_the_connection_beneath_it() -> None:
    hub = Hub()
    asked = a_record(
        direction=Direction.OUTBOUND, status=503, upstream_local_address="10.0.0.2:40000", time=99.0
    )
    refused = a_record(protocol=TCP, status=0, flags=("NR",), request_id="", reporter=SHOP)
    other = a_record(protocol=TCP, status=0, flags=("NR",), request_id="", source_address="x:1")
    long_ago = msgspec.structs.replace(refused, time=-1000.0)
    for record in (refused, asked, other, long_ago):
        hub.take(record)
    assert hub.request("a") == [asked, refused]
    assert hub.request("a", "shop") == [refused]
    assert hub.request("a", "elsewhere") == []


def test_the_last_ones_of_a_workload() -> None:
    hub = Hub()
    for number in range(5):
        hub.take(a_record(time=float(number), status=500 if number % 2 else 200))
    hub.take(a_record(time=9.0, reporter=SHOP))
    last = hub.last(namespace="default", workload="web-v1", failures=False, limit=3)
    assert [one.time for one in last] == [4.0, 3.0, 2.0]
    failed = hub.last(namespace="", workload="", failures=True, limit=9)
    assert [one.time for one in failed] == [3.0, 1.0]


def test_viewers_get_what_they_watch_and_the_slow_ones_lose_the_rest() -> None:
    hub = Hub()
    told = 0

    def tell() -> None:
        nonlocal told
        told += 1

    viewer = hub.watch(Watch(namespace="default", labels={"app": "web"}), tell)
    for _ in range(MAX_WAITING + 5):
        hub.take(a_record())
    hub.take(a_record(reporter=SHOP))
    assert len(viewer.waiting) == MAX_WAITING == told
    assert viewer.dropped == hub.counts.unread == 5


def test_only_so_many_may_watch() -> None:
    hub = Hub()
    for _ in range(MAX_VIEWERS):
        hub.watch(Watch(), nothing)
    with pytest.raises(TooManyError):
        hub.watch(Watch(), nothing)


def test_what_is_wanted_follows_who_looks() -> None:
    changes = 0

    def changed() -> None:
        nonlocal changes
        changes += 1

    hub = Hub(changed)
    assert hub.wanted == Wanted()
    viewer = hub.watch(Watch(namespace="default", labels={"app": "web"}), nothing)
    same = hub.watch(Watch(namespace="default", labels={"app": "web"}, path="/x"), nothing)
    hub.watch(Watch(namespace="default", failures=True), nothing)
    assert hub.wanted == Wanted((Wish("default", (("app", "web"),), ALL),))
    hub.record("shop", 60, now=1000.0)
    assert hub.wanted.wishes == (
        Wish("default", (("app", "web"),), ALL),
        Wish("shop", (), ALL),
    )
    assert hub.is_wanted(SHOP)
    hub.tick(1061.0)
    hub.leave(viewer)
    assert hub.wanted.wishes == (Wish("default", (("app", "web"),), ALL),)
    hub.leave(same)
    assert hub.wanted == Wanted()
    for _ in range(hub_module.LATE_TICKS):
        hub.tick(1070.0)
    assert not hub.is_wanted(SHOP)
    assert changes == 7


def test_what_a_proxy_held_back_is_of_the_recording_all_the_same() -> None:
    hub = Hub()
    recorder = hub.record("default", 10, now=95.0)
    hub.take(a_record(time=96.0))
    hub.tick(105.5)
    assert hub.wanted == Wanted()
    hub.take(a_record(time=104.9))
    hub.take(a_record(time=105.1))
    for _ in range(hub_module.LATE_TICKS):
        hub.tick(106.0)
    hub.take(a_record(time=104.9))
    assert recorder.records == 2


def test_shares_are_of_the_proxies_that_are_wanted() -> None:
    wanted = Wanted((Wish("default", (("app", "web"),), 5000), Wish("", (), 10)))
    labels = (("app", "web"), ("version", "v1"))
    assert tap_share(wanted, "default", labels) == 5000
    assert tap_share(wanted, "shop", labels) == 10
    assert tap_share(Wanted(), "default", labels) == 0


def test_too_much_is_dropped_at_once_and_asked_for_less() -> None:
    hub = Hub()
    assert hub.admit(3 * RECORDS_PER_SECOND, wanted=False) == 2 * RECORDS_PER_SECOND
    assert hub.counts.dropped == RECORDS_PER_SECOND
    hub.tick(0.0)
    assert hub.wanted.failures == ALL // 4
    assert hub.admit(10, wanted=True) == 10


def test_a_share_settles_where_it_fits() -> None:
    share = Share()
    rate = 50_000
    for _ in range(60):
        share.admit(rate * share.share // ALL)
        share.tick()
    assert rate * share.share // ALL <= RECORDS_PER_SECOND
    assert rate * share.share // ALL > RECORDS_PER_SECOND // 4
    for _ in range((RAISE_TICKS + SETTLE_TICKS) * 10):
        share.tick()
    assert share.share == ALL


@pytest.mark.parametrize(
    ("watch", "seen"),
    [
        (Watch(), True),
        (Watch(namespace="shop"), False),
        (Watch(pod="web-v1-a"), True),
        (Watch(pod="web-v1-b"), False),
        (Watch(path="/items/*"), True),
        (Watch(path="/other/*"), False),
        (Watch(statuses=("404", "2xx")), True),
        (Watch(statuses=("5xx",)), False),
        (Watch(method="get"), True),
        (Watch(method="POST"), False),
        (Watch(source="curl"), True),
        (Watch(source="default/curl"), True),
        (Watch(source="shop/curl"), False),
        (Watch(minimum=5.0), True),
        (Watch(minimum=5.1), False),
        (Watch(direction="inbound"), True),
        (Watch(direction="outbound"), False),
        (Watch(failures=True), False),
    ],
)
def test_watches(watch: Watch, seen: bool) -> None:
    watch.check()
    assert matches(watch, a_record()) is seen


def test_a_client_is_known_by_its_workload() -> None:
    asked = a_record(direction=Direction.OUTBOUND)
    assert matches(Watch(source="web-v1"), asked)
    assert not matches(Watch(source="curl"), asked)


@pytest.mark.parametrize(
    "watch",
    [
        Watch(direction="sideways"),
        Watch(statuses=("6xx",)),
        Watch(statuses=("20",)),
        Watch(path="x" * 600),
        Watch(labels={str(n): "" for n in range(40)}),
    ],
)
def test_bad_watches(watch: Watch) -> None:
    with pytest.raises(WatchError):
        watch.check()


def test_paths_with_ids_are_one() -> None:
    assert template("/reviews/17/by/4b6c0b8a-2f0e-4c6e-9a55-5d2c3d3a8d10") == "/reviews/{*}/by/{*}"
    assert template("/v1/abc/0123456789abcdef0") == "/v1/abc/{*}"
    assert template("/") == "/"


def test_a_recording_sums_up_calls() -> None:
    recorder = Recorder("default", 0.0, 100.0)
    recorder.take(a_record(path="/items/1", time=5.0))
    recorder.take(a_record(path="/items/2", time=7.0, details="rbac_access_denied", status=403))
    recorder.take(a_record(direction=Direction.OUTBOUND))
    recorder.take(a_record(reporter=SHOP))
    recorder.take(a_record(protocol=TCP, method="", path="", status=0))
    tcp, http = recorder.observed()
    assert (http.source_principal, http.workload, http.port) == (CURL, "web-v1", 8080)
    assert (http.path, http.count, http.denied) == ("/items/{*}", 2, 1)
    assert (http.first, http.last) == (5.0, 7.0)
    assert (tcp.protocol, tcp.path, tcp.count) == ("TCP", "", 1)
    assert recorder.observed("shop") == []
    assert recorder.recording(50.0).active
    assert not recorder.recording(100.0).active


def test_what_is_dropped_after_a_recording_is_not_missing_in_it() -> None:
    hub = Hub()
    recorder = hub.record("", 10.0, 0.0)
    hub.watch(Watch(), nothing)
    for second in range(11, 11 + LATE_TICKS + 1):
        hub.tick(float(second))
    assert hub.admit(10 * RECORDS_PER_SECOND, wanted=True) < 10 * RECORDS_PER_SECOND
    hub.tick(20.0)
    assert recorder.complete
    again = hub.record("", 10.0, 20.0)
    hub.admit(10 * RECORDS_PER_SECOND, wanted=True)
    assert not again.complete


def test_too_many_paths_become_one(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder("", 0.0, 100.0)
    for number in range(MAX_PATHS + 50):
        recorder.take(a_record(path=f"/name-{number}"))
    (only,) = recorder.observed()
    assert (only.path, only.count) == (ANY_PATH, MAX_PATHS + 50)
    assert recorder.recording(1.0).complete
    monkeypatch.setattr("argosy.mixer.records.recording.MAX_OBSERVED", 1)
    recorder.take(a_record(reporter=SHOP))
    assert len(recorder.observed()) == 1
    assert not recorder.recording(1.0).complete
