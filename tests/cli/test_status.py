"""``argosy status``: the control plane's facts, and each proxy's state."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from argosy.server.http.services import ProxyCertificate, ProxyStatus, TypeState

Argosy = Callable[..., Any]


@pytest.fixture
def web(mesh: Any) -> Any:
    types = {
        "CDS": TypeState("SYNCED"),
        "EDS": TypeState("STALE"),
        "LDS": TypeState("SYNCED"),
        "RDS": TypeState("NACK", error="no such [cluster]"),
    }
    certificate = ProxyCertificate("abc", "2000-01-01T00:00:00Z")
    mesh.neighbours.connected = [
        ProxyStatus("web-1", "default", "sidecar", "spiffe://x", True, types, certificate),
        ProxyStatus("new-1", "default", "sidecar", "", True, {}),
    ]
    return mesh


def test_the_table(web: Any, argosy: Argosy) -> None:
    answer = argosy("status")
    assert answer.code == 0
    facts, table = answer.out.split("\n\n")
    assert [line.split(None, 1)[1] for line in facts.splitlines() if "ingressgateway" in line] == [
        "http://127.0.0.1:8080"
    ]
    assert "Up:  " in facts
    rows = [line.split() for line in table.splitlines()]
    assert rows[0] == ["PROXY", "CDS", "EDS", "LDS", "RDS", "CERTIFICATE", "IDENTITY"]
    assert rows[1] == [
        "web-1.default",
        "SYNCED",
        "STALE",
        "SYNCED",
        "NACK",
        "EXPIRED",
        "spiffe://x",
    ]
    assert rows[2] == ["new-1.default", *["NOT", "SENT"] * 4, "-", "-"]


def test_envoy_s_words_are_told(web: Any, argosy: Argosy) -> None:
    assert argosy("status").err.startswith("NACK: web-1.default (RDS): no such [cluster]\n")


def failing(url: str, *, kept: bool) -> dict[str, object]:
    """Keys of tokens, as the control plane tells of those that it cannot fetch."""
    times = {"since": "2026-01-02T03:04:05Z", "next_try": "2026-01-02T03:04:06Z"}
    return {"url": url, "discovery": False, "reason": "no [route]", "kept": kept, **times}


def test_keys_that_cannot_be_fetched_are_told(web: Any, argosy: Argosy) -> None:
    web.neighbours.failing = [failing("https://a/k", kept=True), failing("https://b/k", kept=False)]
    answer = argosy("status")
    assert answer.code == 0
    assert "KEYS: https://a/k since 2026-01-02T03:04:05Z: no [route]\n" in answer.err
    assert "earlier keys stay in force" in answer.err
    assert "KEYS: https://b/k" in answer.err
    assert "tokens are refused" in answer.err
    whole = json.loads(argosy("status", "-o", "json").out)
    assert [one["url"] for one in whole["controlPlane"]["keysFailing"]] == [
        "https://a/k",
        "https://b/k",
    ]


def test_formats(web: Any, argosy: Argosy) -> None:
    whole = json.loads(argosy("status", "-o", "json").out)
    assert whole["published"] == [
        {"service": "istio-system/istio-ingressgateway", "url": "http://127.0.0.1:8080"}
    ]
    assert [proxy["name"] for proxy in whole["proxies"]] == ["web-1", "new-1"]
    assert whole["controlPlane"]["objects"] == 3
    assert argosy("status", "-o", "name").out == "web-1.default\nnew-1.default\n"
    assert "SERIAL" in argosy("status", "-o", "wide").out


def test_no_proxy(mesh: Any, argosy: Argosy) -> None:
    answer = argosy("status")
    assert (answer.code, answer.err) == (0, "No proxy is connected.\n")
