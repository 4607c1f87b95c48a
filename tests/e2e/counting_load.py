"""Run inside a workload: so many requests as fast as they are answered; prints what came back.

counting_load.py HOST PORT COUNT PATH... : the paths in turn, over CONNECTIONS kept connections. Prints one
JSON object: by path, how many answers had which status; "0" had none.
"""

import asyncio
import json
import sys
from collections import Counter

CONNECTIONS = 24


async def one(host: str, port: int, paths: list[str], found: dict[str, Counter[str]]) -> None:
    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None
    while paths:
        path = paths.pop()
        if writer is None:
            reader, writer = await asyncio.open_connection(host, port)
        assert reader is not None
        writer.write(f"GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").lower().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines[1:] if line)
            await reader.readexactly(int(headers["content-length"]))
            found[path][lines[0].split(" ")[1]] += 1
            keep = headers.get("connection") != "close"
        except (OSError, asyncio.IncompleteReadError):
            found[path]["0"] += 1
            keep = False
        if not keep:
            writer.close()
            writer = None


async def main() -> None:
    host, port, count, *paths = sys.argv[1:]
    todo = [paths[number % len(paths)] for number in range(int(count))]
    found: dict[str, Counter[str]] = {path: Counter() for path in paths}
    async with asyncio.TaskGroup() as tasks:
        for _ in range(CONNECTIONS):
            tasks.create_task(one(host, int(port), todo, found))
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
