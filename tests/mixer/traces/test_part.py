"""The room of traces: what is large is taken while others run."""

import asyncio
import json
from pathlib import Path
from typing import Any, cast

from argosy.base.clock import SystemClock
from argosy.base.names import TrustDomain
from argosy.citadel.identity import TrustDomains
from argosy.mixer.caller import Rules
from argosy.mixer.control_plane import ControlPlane
from argosy.mixer.credentials import MixerCredentials
from argosy.mixer.parts import Ground
from argosy.mixer.traces.http_intake import MAX_BODY_BYTES, Posted
from argosy.mixer.traces.part import LARGE_BYTES, Traces
from argosy.testing.certificates import ScratchAuthority


class Credentials:
    def rules(self) -> Rules:
        return Rules(TrustDomains(TrustDomain("cluster.local")))

    def current(self) -> Any:
        raise AssertionError("nobody connects")


def spans(count: int) -> bytes:
    """OTLP in JSON."""
    one = {
        "name": "get",
        "startTimeUnixNano": "1700000000000000000",
        "endTimeUnixNano": "1700000000000000001",
    }
    found = [one | {"traceId": f"{n + 1:032x}", "spanId": f"{n + 1:016x}"} for n in range(count)]
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": found}]}]}).encode()


async def test_a_large_message_lets_others_run(tmp_path: Path) -> None:
    ground = Ground(
        tmp_path,
        SystemClock(),
        cast(ControlPlane, None),
        cast(MixerCredentials, Credentials()),
        "127.0.0.1",
    )
    traces = Traces(ground)
    sender = ScratchAuthority().credential("spiffe://cluster.local/ns/shop/sa/web")
    body = spans(5_000)
    assert LARGE_BYTES < len(body) < MAX_BODY_BYTES
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(others())
        posted = Posted(sender.certificate.encode(), "/v1/traces", "application/json", body)
        answer = await traces._posted(posted)
        task.cancel()
    assert (answer.status, answer.body) == (200, b"{}")
    assert traces._store.counts.spans == 5_000
    assert turns > 10
