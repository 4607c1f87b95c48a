"""Istio's tcp-echo: sends every line back behind a word. Usage: tcp_echo.py PORT[,PORT...] WORD."""

import asyncio
import sys


async def main(ports: list[int], word: bytes) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(word + b" " + line)
                await writer.drain()
        except (OSError, ValueError):
            pass
        finally:
            writer.close()

    servers = [await asyncio.start_server(echo, "0.0.0.0", port) for port in ports]
    print(f"listening on {ports}", flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(main([int(port) for port in sys.argv[1].split(",")], sys.argv[2].encode()))
