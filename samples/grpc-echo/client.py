"""Calls grpc-echo over one connection and prints each answer as a line.

client.py [--target [xds:///]HOST:PORT] [--call say|count|gather|chat] [--count N]
          [--metadata 'name: value']... [--timeout SECONDS]

A failed call is printed as its status, as ``UNAVAILABLE details``; the exit code is then 1.
"""

import argparse
import itertools
import queue
import sys
from collections.abc import Iterator

import grpc
import grpc.experimental
from google.protobuf.wrappers_pb2 import StringValue

SERVICE = "argosy.samples.Echo"
Metadata = list[tuple[str, str]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="grpc-echo:7070")
    parser.add_argument("--call", choices=("say", "count", "gather", "chat"), default="say")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--metadata", action="append", default=[])
    parser.add_argument("--timeout", type=float, default=20.0)
    options = parser.parse_args()
    metadata = [tuple(text.split(": ", 1)) for text in options.metadata]
    call = {"say": say, "count": count, "gather": gather, "chat": chat}[options.call]
    credentials = grpc.experimental.insecure_channel_credentials()
    if options.target.startswith("xds:"):
        credentials = grpc.xds_channel_credentials(credentials)
    with grpc.secure_channel(options.target, credentials) as channel:
        try:
            for line in call(channel, options.count, metadata, options.timeout):
                print(line)
        except grpc.RpcError as error:
            trailing = dict(error.trailing_metadata() or ())
            tries = f" tries={trailing['x-tries']}" if "x-tries" in trailing else ""
            print(f"{error.code().name} {error.details()}{tries}")
            return 1
    return 0


def say(channel: grpc.Channel, count: int, metadata: Metadata, timeout: float) -> Iterator[str]:
    """Unary calls one after the other."""
    method = channel.unary_unary(
        f"/{SERVICE}/Say", StringValue.SerializeToString, StringValue.FromString
    )
    for number in range(count):
        answer, call = method.with_call(
            StringValue(value=str(number)), timeout=timeout, metadata=metadata
        )
        trailing = dict(call.trailing_metadata())
        yield f"{answer.value} tries={trailing.get('x-tries', '?')} peer={trailing.get('x-peer')}"


def count(channel: grpc.Channel, count: int, metadata: Metadata, timeout: float) -> Iterator[str]:
    """One call that is answered with a stream."""
    method = channel.unary_stream(
        f"/{SERVICE}/Count", StringValue.SerializeToString, StringValue.FromString
    )
    answers = method(StringValue(value=str(count)), timeout=timeout, metadata=metadata)
    for answer in answers:
        yield answer.value


def gather(channel: grpc.Channel, count: int, metadata: Metadata, timeout: float) -> Iterator[str]:
    """One call with a stream of messages, answered once."""
    method = channel.stream_unary(
        f"/{SERVICE}/Gather", StringValue.SerializeToString, StringValue.FromString
    )
    requests = (StringValue(value=f"message-{number}") for number in range(count))
    yield method(requests, timeout=timeout, metadata=metadata).value


def chat(channel: grpc.Channel, count: int, metadata: Metadata, timeout: float) -> Iterator[str]:
    """One call: each message is sent when the answer to the one before has come."""
    method = channel.stream_stream(
        f"/{SERVICE}/Chat", StringValue.SerializeToString, StringValue.FromString
    )
    outbox: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    requests = (StringValue(value=text) for text in iter(outbox.get, None))
    answers = method(requests, timeout=timeout, metadata=metadata)
    for number in itertools.count():
        if number == count:
            outbox.put(None)
            break
        outbox.put(f"message-{number}")
        yield next(answers).value
    yield from (answer.value for answer in answers)


if __name__ == "__main__":
    sys.exit(main())
