"""Our own reading of paths is Envoy's, in every mode."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.pilot.translate.random_policies import Call
from tests.pilot.translate.test_authorization_live import (
    Clients,
    application,
    authority,
    listener,
    quiet_port,
    serving,
)

from argosy.model.authz import NO_AUTHORIZATION
from argosy.model.listener import ListenerSettings, PathNormalization
from argosy.model.service import Protocol
from argosy.pilot.compile.normalized_path import PathRefusedError, normalization, normalized
from argosy.testing.certificates import ScratchAuthority
from argosy.testing.raw_http import Http1

pytestmark = pytest.mark.envoy

__all__ = ["application", "authority"]

CALLER = Call("", "127.0.0.1", "", False, "GET", "reviews", "/", ())
_PARTS = (
    *("/", "//", "/./", "/../", "..", ".", "\\", "%2f", "%2F", "%5c", "%5C", "%2e", "%2E%2e"),
    *("a", "B", "%41", "%7e", "%7E", "%20", "%25", "%252f", "%zz", "%", "%4", "~", "-", "_"),
    *(";x=1", "!", "'", "(", ")", "*", "+", ",", ":", "@", "$", "&", "=", "[", "]", "^", "`"),
    *("{", "}", "|", '"', "<", ">", "%00", "%c3%a4", "%C3", "?", "?a=/../b//c", "%3f", "%23"),
)


def paths() -> Iterator[str]:
    chosen = random.Random(20260101)
    yield from (
        "/.;x=1",
        "/../.;x=1",
        "/a/..;x",
        "/a/.;/b",
        "//../.;x=1|",
        "/../.x",
        "/a/../.x",
        "//../a",
        "/..a/.%7e",
        "/b/..%7e",
        "/%%41%42",
        "/%4%41%",
        "/%a%zz%41",
    )
    for part in _PARTS:
        yield f"/{part}"
        yield f"/a{part}b"
    for _ in range(400):
        yield "/" + "".join(chosen.choice(_PARTS) for _ in range(chosen.randint(1, 8)))


def ours(path: str, settings: ListenerSettings) -> str:
    try:
        return normalized(path, normalization(settings))
    except PathRefusedError:
        return "refused"


def test_paths_are_read_as_envoy_reads_them(
    authority: ScratchAuthority, application: int, tmp_path: Path
) -> None:
    """500 paths in each of four modes."""
    modes = {quiet_port(): ListenerSettings(path_normalization=mode) for mode in PathNormalization}
    clients = Clients(authority, tmp_path)
    protos = [
        listener(NO_AUTHORIZATION, port, Protocol.HTTP, usual=usual)
        for port, usual in modes.items()
    ]
    differ = []
    with serving(tmp_path, authority, application, *protos):
        for port, settings in modes.items():
            http = None
            for path in paths():
                http = http or Http1(clients.connect(port, CALLER))
                answer = http.request("GET", path, (("host", "reviews"),))
                told = answer.status == 200
                envoys = json.loads(answer.body)["path"] if told else "refused"
                if not told:
                    http = None
                if envoys != ours(path, settings):
                    differ.append(
                        (settings.path_normalization.name, path, envoys, ours(path, settings))
                    )
    assert not differ, "\n".join(map(repr, differ))
