"""Run inside a workload: a steady load, and what failed, as one JSON line at the end.

load.py URL --seconds S --rate R --concurrency C [--times]

With --times it ends by the clock, and tells of each request when it was sent and answered.
"""

import argparse
import http.client
import json
import sys
import threading
import time
from collections import Counter
from urllib.parse import urlsplit


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second, all together")
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--times", action="store_true", help="of each request, in seconds")
    options = parser.parse_args()
    url = urlsplit(options.url)
    started = time.monotonic()
    statuses: Counter[str] = Counter()
    failures: list[dict[str, object]] = []
    times: list[tuple[float, float, int]] = []
    slowest = 0.0
    lock = threading.Lock()

    def worker(number: int) -> None:
        nonlocal slowest
        connection: http.client.HTTPConnection | None = None
        pause = options.concurrency / options.rate
        due = started + pause * number / options.concurrency
        while due < started + options.seconds:
            time.sleep(max(0.0, due - time.monotonic()))
            due += pause
            sent = time.monotonic()
            if options.times and sent >= started + options.seconds:
                return
            status, why = "0", ""
            try:
                if connection is None:
                    connection = http.client.HTTPConnection(
                        url.hostname or "", url.port or 80, timeout=20
                    )
                connection.request("GET", url.path or "/")
                response = connection.getresponse()
                body = response.read()
                status = str(response.status)
                if status != "200":
                    why = body[:200].decode("utf-8", "replace")
                if response.will_close:
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException) as error:
                why = f"{type(error).__name__}: {error}"
                if connection is not None:
                    connection.close()
                connection = None
            taken = time.monotonic() - sent
            with lock:
                statuses[status] += 1
                if options.times:
                    times.append((sent - started, sent - started + taken, int(status)))
                slowest = max(slowest, taken)
                if status != "200":
                    failures.append({"at": round(sent - started, 2), "status": status, "why": why})

    threads = [threading.Thread(target=worker, args=(i,)) for i in range(options.concurrency)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    summary = {
        "requests": sum(statuses.values()),
        "statuses": dict(statuses),
        "slowest": round(slowest, 3),
        "seconds": round(time.monotonic() - started, 3),
        "failures": failures[:50],
        "times": times,
    }
    sys.stdout.write(json.dumps(summary) + "\n")


if __name__ == "__main__":
    main()
