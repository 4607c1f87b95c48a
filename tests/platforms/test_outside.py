import socket
import threading
from collections.abc import Iterator

import pytest

from argosy.platforms.local import outside
from argosy.platforms.local.outside import Outside


@pytest.fixture
def channel() -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def serve() -> None:
        while outside.answer(ours):
            pass

    thread = threading.Thread(target=serve)
    thread.start()
    yield theirs
    theirs.close()
    thread.join(5)
    assert not thread.is_alive(), "the server ends with its client"
    ours.close()


def test_sockets_of_each_kind(channel: socket.socket) -> None:
    client = Outside(channel)
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with client.open(kind) as made:
            assert (made.family, made.type) == (socket.AF_INET, kind)
            made.bind(("127.0.0.1", 0))


def test_an_unknown_request_is_refused_and_the_next_served(channel: socket.socket) -> None:
    channel.send(b"?")
    assert channel.recv(1) == b"!"
    with Outside(channel).open() as made:
        assert made.type == socket.SOCK_STREAM
