"""Who may read the metrics, and who may say how much is logged."""

from collections.abc import Iterator

import httpx
import pytest

from argosy.base import log

LOGGING = "/apis/argosy.dev/v1alpha1/logging"


@pytest.fixture(autouse=True)
def _levels() -> Iterator[None]:
    before = log.levels()
    yield
    log.set_levels(before)


async def test_the_metrics(api: httpx.AsyncClient) -> None:
    answer = await api.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert answer.text.startswith("# TYPE pilot_xds gauge")


@pytest.mark.parametrize(("token", "code"), [("view-token", 200), ("", 401), ("wrong", 401)])
async def test_who_may_read_them(api: httpx.AsyncClient, token: str, code: int) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    assert (await api.get("/metrics", headers=headers)).status_code == code
    if code == 200:
        code = 403
    assert (await api.get(LOGGING, headers=headers)).status_code == code
    body = {"levels": {"default": "debug"}}
    assert (await api.put(LOGGING, headers=headers, json=body)).status_code == code
    assert log.levels()["default"] == "info"


async def test_levels(api: httpx.AsyncClient) -> None:
    wanted = {"levels": {"default": "warning", "xds": "debug"}}
    assert (await api.put(LOGGING, json=wanted)).json() == wanted
    assert (await api.get(LOGGING)).json() == wanted
    for wrong in ({"default": "loud"}, {"X": "info"}):
        answer = await api.put(LOGGING, json={"levels": wrong})
        assert answer.status_code == 422
        assert answer.json()["message"].startswith("levels: ")
    assert (await api.get(LOGGING)).json() == wanted, "a mistake changes nothing"
