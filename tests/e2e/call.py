"""Run inside a workload: makes requests and prints what came back, as JSON lines.

call.py URL [--count N] [--concurrency C] [--header 'name: value']... [--timeout S] [--host H]
        [--method M] [--body]
"""

import argparse
import http.client
import json
import sys
import threading
import time
from typing import Any
from urllib.parse import urlsplit


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--concurrency", type=int, default=1)
    parser.add_argument("--header", action="append", default=[])
    parser.add_argument("--timeout", type=float, default=15.0)
    parser.add_argument("--method", default="GET")
    parser.add_argument("--body", action="store_true", help="print bodies")
    parser.add_argument("--fresh", action="store_true", help="a connection per request")
    options = parser.parse_args()
    headers = dict(text.split(": ", 1) for text in options.header)
    lock = threading.Lock()
    left = iter(range(options.count))

    def worker() -> None:
        connection: http.client.HTTPConnection | None = None
        while True:
            with lock:
                if next(left, None) is None:
                    return
            url = urlsplit(options.url)
            started = time.monotonic()
            result: dict[str, Any] = {}
            try:
                if connection is None:
                    connection = http.client.HTTPConnection(
                        url.hostname or "", url.port or 80, timeout=options.timeout
                    )
                path = (url.path or "/") + (f"?{url.query}" if url.query else "")
                connection.request(options.method, path, headers=headers)
                response = connection.getresponse()
                body = response.read()
                result["status"] = response.status
                result["headers"] = {name.lower(): value for name, value in response.getheaders()}
                if options.body:
                    result["body"] = body.decode("utf-8", "replace")
                if response.will_close or options.fresh:
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException) as error:
                result = {"status": 0, "error": f"{type(error).__name__}: {error}"}
                if connection is not None:
                    connection.close()
                connection = None
            result["seconds"] = round(time.monotonic() - started, 4)
            with lock:
                sys.stdout.write(json.dumps(result) + "\n")

    threads = [threading.Thread(target=worker) for _ in range(options.concurrency)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
