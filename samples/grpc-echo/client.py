"""Calls grpc-echo over one connection and prints each answer as a line.

client.py [--target HOST:PORT] [--call say|count|chat] [--count N] [--metadata 'name: value']...

A failed call is printed as its status, as ``UNAVAILABLE details``; the exit code is then 1.
"""

import argparse
import itertools
import queue
import sys
from collections.abc import Iterator

import grpc
from google.protobuf.wrappers_pb2 import StringValue

SERVICE = "argosy.samples.Echo"
DEADLINE_SECONDS = 20.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="grpc-echo:7070")
    parser.add_argument("--call", choices=("say", "count", "chat"), default="say")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--metadata", action="append", default=[])
    options = parser.parse_args()
    metadata = [tuple(text.split(": ", 1)) for text in options.metadata]
    call = {"say": say, "count": count, "chat": chat}[options.call]
    with grpc.insecure_channel(options.target) as channel:
        try:
            for line in call(channel, options.count, metadata):
                print(line)
        except grpc.RpcError as error:
            print(f"{error.code().name} {error.details()}")
            return 1
    return 0


def say(channel: grpc.Channel, count: int, metadata: list[tuple[str, str]]) -> Iterator[str]:
    """Unary calls one after the other."""
    method = channel.unary_unary(
        f"/{SERVICE}/Say", StringValue.SerializeToString, StringValue.FromString
    )
    for number in range(count):
        answer, call = method.with_call(
            StringValue(value=str(number)), timeout=DEADLINE_SECONDS, metadata=metadata
        )
        tries = dict(call.trailing_metadata()).get("x-tries", "?")
        yield f"{answer.value} tries={tries}"


def count(channel: grpc.Channel, count: int, metadata: list[tuple[str, str]]) -> Iterator[str]:
    """One call that is answered with a stream."""
    method = channel.unary_stream(
        f"/{SERVICE}/Count", StringValue.SerializeToString, StringValue.FromString
    )
    answers = method(StringValue(value=str(count)), timeout=DEADLINE_SECONDS, metadata=metadata)
    for answer in answers:
        yield answer.value


def chat(channel: grpc.Channel, count: int, metadata: list[tuple[str, str]]) -> Iterator[str]:
    """One call: each message is sent when the answer to the one before has come."""
    method = channel.stream_stream(
        f"/{SERVICE}/Chat", StringValue.SerializeToString, StringValue.FromString
    )
    outbox: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    requests = (StringValue(value=text) for text in iter(outbox.get, None))
    answers = method(requests, timeout=DEADLINE_SECONDS, metadata=metadata)
    for number in itertools.count():
        if number == count:
            outbox.put(None)
            break
        outbox.put(f"message-{number}")
        yield next(answers).value
    yield from (answer.value for answer in answers)


if __name__ == "__main__":
    sys.exit(main())
