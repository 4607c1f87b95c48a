"""Bookinfo's ratings service: how many stars each reviewer gave. Usage: ratings.py PORT."""

import json
import sys

from web import Request, Response, json_response, serve

_ratings: dict[int, dict[str, int]] = {}


def get_ratings(request: Request) -> Response:
    assert request.match
    product = int(request.match["id"])
    ratings = _ratings.get(product, {"Reviewer1": 5, "Reviewer2": 4})
    return json_response({"id": product, "ratings": ratings})


def put_ratings(request: Request) -> Response:
    assert request.match
    product = int(request.match["id"])
    try:
        ratings = {str(who): int(stars) for who, stars in json.loads(request.body).items()}
    except (ValueError, AttributeError, TypeError):
        return json_response({"error": "please provide valid ratings JSON"}, 400)
    _ratings[product] = ratings
    return json_response({"id": product, "ratings": ratings})


def health(_: Request) -> Response:
    return json_response({"status": "Ratings is healthy"})


if __name__ == "__main__":
    serve(
        int(sys.argv[1]) if len(sys.argv) > 1 else 9080,
        [
            ("GET", "/health", health),
            ("GET", r"/ratings/(?P<id>\d+)", get_ratings),
            ("POST", r"/ratings/(?P<id>\d+)", put_ratings),
        ],
    )
