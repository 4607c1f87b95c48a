"""The control plane's traces: what a change becomes, what a request begins, and how spans leave."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import StatusCode
from starlette.applications import Starlette

from argosy import xds
from argosy.citadel.refusal import RefusedError as NotSignedError
from argosy.derive import formula
from argosy.mixer.traces import otlp as mixer_otlp
from argosy.pilot.graph import layers as graph
from argosy.server.http.app import create_app
from argosy.server.http.services import ApiServices, MixerAnswer, MixerQuestion, RefusedError
from argosy.server.tracing import outbox
from argosy.server.tracing.changes import PATIENCE_SECONDS, ChangeTraces, about_cells
from argosy.server.tracing.outbox import Outbox
from argosy.server.tracing.requests import signing
from argosy.server.tracing.tracer import BURST, tracer
from argosy.xds.distribution import Publications
from argosy.xds.rejection import RejectedResource, Rejection
from argosy.xds.type_urls import CLUSTER, ROUTE

APPLY = "/apis/argosy.dev/v1alpha1/apply"
START = datetime(2026, 1, 2, tzinfo=UTC)
CALLER = "00-5b8efff798038103d269b633813fc60c-eee19b7ec3c1b174-0"


class MovingClock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def now(self) -> datetime:
        return START

    def monotonic(self) -> float:
        return self.seconds


class Ended(SpanProcessor):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


class World:
    def __init__(self) -> None:
        self.clock = MovingClock()
        self.ended = Ended()
        self.tracer = tracer(self.ended, self.clock, "1")
        self.traces = ChangeTraces(self.tracer, self.clock)
        self.publications = Publications()

    def published(self, about: str, *proxies: str) -> xds.Publication:
        """A change that took 2 ms for routes and 3 ms for clusters."""
        change = self.traces.begin(about)
        for seconds, url in ((0.002, ROUTE), (0.003, CLUSTER)):
            self.clock.seconds += seconds
            change.refreshed(graph.layer_resource, ("layer", url, "name"))
        change.refreshed(formula(_other), ())
        change.computed_all()
        publication = self.publications.begin(7, 1, self.clock.seconds, list(enumerate(proxies)))
        self.traces.published(change, publication)
        return publication

    def named(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.ended.spans}


def _other(_get: object) -> int:
    return 0


@pytest.fixture
def world() -> World:
    return World()


def test_a_change_is_one_trace_until_the_last_proxy_has_answered(world: World) -> None:
    publication = world.published("VirtualService default/echo", "a", "b")
    for key in (0, 1):
        world.publications.sent(key, ROUTE, 300, world.clock.seconds)
    for key, seconds in ((1, 0.010), (0, 0.025)):
        at = 100.005 + seconds
        world.publications.answered(key, ROUTE, at, seconds)
        done = world.publications.progress(key, 1, at)
    assert world.ended.spans == [], "b alone has answered"
    assert done == [publication]
    world.traces.completed(publication)
    spans = world.named()
    names = ["change", "derive", "translate CDS", "translate RDS", "push RDS"]
    assert sorted(spans) == sorted(names)
    change, push = spans["change"], spans["push RDS"]
    assert change.parent is None
    facts = dict(change.attributes or {})
    assert facts["argosy.about"] == "VirtualService default/echo → 2 proxies"
    assert (facts["argosy.proxies"], facts["argosy.acknowledged"]) == (2, 2)
    assert (facts["argosy.slowest_proxy"], facts["argosy.slowest_ms"]) == ("a", 25.0)
    assert push.attributes is not None
    assert push.attributes["argosy.bytes"] == 600
    assert push.attributes["argosy.slowest_proxy"] == "a"
    assert (change.end_time or 0) - (change.start_time or 0) == pytest.approx(30e6, abs=1e3)
    assert (push.end_time or 0) - (push.start_time or 0) == pytest.approx(25e6, abs=1e3)
    busy = {name: (spans[name].attributes or {}).get("argosy.busy_ms") for name in names[2:4]}
    assert busy == {"translate CDS": 3.0, "translate RDS": 2.0}


def test_a_change_that_nobody_asked_for_and_that_concerns_nobody_is_no_trace(world: World) -> None:
    world.published("Pod default/a")
    assert world.ended.spans == []
    with world.tracer.start_as_current_span("apply"):
        world.published("VirtualService default/echo")
    spans = world.named()
    parent = spans["change"].parent
    assert parent is not None
    assert parent == spans["apply"].context
    assert (spans["apply"].attributes or {})["argosy.about"] == "VirtualService default/echo"


def test_a_task_that_outlives_its_request_begins_traces_of_its_own(world: World) -> None:
    with world.tracer.start_as_current_span("apply") as request:
        pass
    with trace.use_span(request):
        publication = world.published("Pod default/a", "a")
    world.publications.progress(0, 1, 100.1)
    world.traces.completed(publication)
    assert world.named()["change"].parent is None


def test_refusals_and_silence_are_failures(world: World) -> None:
    publication = world.published("EnvoyFilter default/x", "a", "b")
    world.publications.sent(0, ROUTE, 1, 100.0)
    world.publications.answered(0, ROUTE, 100.1, 0.1, refused=True)
    world.publications.reject(
        0, Rejection("a", ROUTE, "no such filter", (RejectedResource("x", "1"),), 1, 0.0)
    )
    world.publications.progress(0, 1, 100.1)
    world.traces.expire()
    assert world.ended.spans == [], "b may answer yet"
    world.clock.seconds += PATIENCE_SECONDS + 1
    world.traces.expire()
    spans = world.named()
    assert spans["change"].status.status_code is StatusCode.ERROR
    assert spans["change"].status.description == "a: no such filter"
    assert (spans["change"].attributes or {})["argosy.pending"] == "b"
    assert spans["push RDS"].status.description == "refused by 1 proxy"
    world.traces.completed(publication)
    assert len(world.ended.spans) == len(spans), "it is told once"


def test_however_many_there_are_the_traces_are_bounded(world: World) -> None:
    for _ in range(300):
        world.published("Pod default/a", "a")
    world.clock.seconds += PATIENCE_SECONDS + 1
    world.traces.expire()
    roots = [span for span in world.ended.spans if span.parent is None]
    assert BURST <= len(roots) <= BURST + PATIENCE_SECONDS + 1
    assert len(world.ended.spans) == 4 * len(roots)


def test_signing_is_a_span_and_a_failure_of_it_too(world: World) -> None:
    with signing(world.tracer, "spiffe://it", ""):
        pass
    with pytest.raises(NotSignedError), signing(world.tracer, "spiffe://it", "other"):
        raise NotSignedError(502, "it sleeps")
    one, two = world.ended.spans
    assert dict(one.attributes or {}) == {"argosy.about": "spiffe://it", "argosy.signer": "mesh"}
    assert one.status.is_ok
    assert two.status.description == "it sleeps"


def test_cells_that_are_no_objects_are_named_by_what_they_are() -> None:
    assert about_cells(["a", "b", 1]) == "str and 1 more"


def _client(app: Starlette, token: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://argosy",
        headers={"Authorization": f"Bearer {token}"},
    )


@pytest.mark.parametrize(
    ("token", "flag", "traced"),
    [("admin-token", "1", True), ("admin-token", "0", False), ("node-token", "1", False)],
)
async def test_a_request_that_writes_goes_on_with_the_callers_trace(
    services: ApiServices, world: World, token: str, flag: str, traced: bool
) -> None:
    app = create_app(replace(services, tracer=world.tracer))
    async with _client(app, token) as client:
        headers = {"traceparent": f"{CALLER}{flag}"}
        await client.get("/apis/networking.istio.io/v1/virtualservices", headers=headers)
        assert world.ended.spans == [], "it only reads"
        await client.post(APPLY, json={"files": []}, headers=headers)
        await client.put("/api/v1/namespaces/default/pods/x/status", json={}, headers=headers)
        await client.post(APPLY, json={"files": []}, headers={"Authorization": "Bearer wrong"})
    assert [span.name for span in world.ended.spans] == ["apply"] * traced
    for span in world.ended.spans:
        assert span.parent is not None
        assert f"{span.parent.trace_id:032x}" in CALLER
        facts = span.attributes or {}
        assert (facts["argosy.actor"], facts["http.response.status_code"]) == ("admin", 200)


class Mixer:
    """``services.MixerLink`` that answers what it is told to."""

    def __init__(self) -> None:
        self.status: list[int | None] = []
        self.bodies: list[bytes] = []
        self.taken = asyncio.Event()

    @asynccontextmanager
    async def ask(
        self, question: MixerQuestion, *, seconds: float | None = None
    ) -> AsyncIterator[MixerAnswer]:
        assert seconds is not None
        status = self.status.pop(0)
        if status is None:
            raise RefusedError(503, "away")
        self.bodies.append(question.body)
        self.taken.set()
        yield MixerAnswer(status, "", _nothing())

    async def runs(self) -> bool:
        return True


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


async def test_spans_reach_mixer_as_soon_as_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "_GATHER_SECONDS", 0.0)
    monkeypatch.setattr(outbox, "_RETRY_SECONDS", 0.0)
    mixer = Mixer()
    mixer.status = [None, None, 200]
    box = Outbox(mixer)
    made = tracer(box, MovingClock(), "1")
    with made.start_as_current_span(
        "above", attributes={"a": 1, "b": 2.5, "c": True, "d": "\udcff"}
    ):
        made.start_span("below").end()
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(box.run())
        await mixer.taken.wait()
        running.cancel()
    (body,) = mixer.bodies
    below, above = mixer_otlp.decode(body).spans
    assert (above.name, above.service) == ("above", "istiod.istio-system")
    assert (below.trace_id, below.parent_id) == (above.trace_id, above.span_id)
    assert above.attribute("d") == "?"
    assert (above.attribute("a"), above.attribute("b"), above.attribute("c")) == (
        "1",
        "2.5",
        "true",
    )


async def test_a_mixer_that_stays_away_costs_a_bounded_queue() -> None:
    box = Outbox(Mixer())
    made = tracer(box, MovingClock(), "1")
    with made.start_as_current_span("above"):
        for _ in range(outbox.MAX_SPANS + 10):
            made.start_span("below").end()
    assert len(box) == outbox.MAX_SPANS
