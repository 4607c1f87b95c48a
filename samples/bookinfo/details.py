"""Bookinfo's details service: what is known of a book. Usage: details.py PORT."""

import sys

from web import Request, Response, json_response, serve


def details(request: Request) -> Response:
    assert request.match
    return json_response(
        {
            "id": int(request.match["id"]),
            "author": "William Shakespeare",
            "year": 1595,
            "type": "paperback",
            "pages": 200,
            "publisher": "PublisherA",
            "language": "English",
            "ISBN-10": "1234567890",
            "ISBN-13": "123-1234567890",
        }
    )


def health(_: Request) -> Response:
    return json_response({"status": "Details is healthy"})


if __name__ == "__main__":
    serve(
        int(sys.argv[1]) if len(sys.argv) > 1 else 9080,
        [("GET", "/health", health), ("GET", r"/details/(?P<id>\d+)", details)],
    )
