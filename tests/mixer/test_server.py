"""What becomes of Mixer when one of its parts ends."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from argosy.mixer.server import Mixer, Settings


class Part:
    """Ends after a moment, with an error or without."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    def handlers(self) -> Sequence[Any]:
        return ()

    def routes(self) -> Sequence[Any]:
        return ()

    async def run(self) -> None:
        await asyncio.sleep(0.01)
        if self._error is not None:
            raise self._error


@pytest.mark.parametrize("error", [ZeroDivisionError("a mistake"), None], ids=str)
async def test_a_part_that_ends_ends_mixer_and_says_so(
    tmp_path: Path, error: Exception | None
) -> None:
    """So that it is started again, as a whole."""
    mixer = Mixer(
        Settings(
            "127.0.0.1:0",
            tmp_path / "mixer",
            tmp_path / "mixer.sock",
            tmp_path / "nobody.sock",
            tmp_path / "token",
        )
    )
    mixer._parts = (Part(error),)
    with capture_logs() as logs:
        async with asyncio.timeout(20):
            with pytest.raises(ExceptionGroup) as ended:
                await mixer.run(asyncio.Event())
    (raised,) = ended.value.exceptions
    if error is None:
        assert "Part.run has ended" in str(raised)
    else:
        assert raised is error
        failed = [line["part"] for line in logs if line["event"] == "mixer.part_failed"]
        assert failed == ["Part.run"]
