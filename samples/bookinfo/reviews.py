"""Bookinfo's reviews service. Usage: reviews.py PORT.

Three versions by environment: v1 shows no ratings (ENABLE_RATINGS=false), v2 black stars, v3 red
ones (STAR_COLOR). Ratings are waited for 10 seconds, by v3 for 2.5: the difference that Istio's
fault injection task is about.
"""

import os
import sys
from typing import Any

from web import Request, Response, get_json, json_response, serve

ENABLE_RATINGS = os.environ.get("ENABLE_RATINGS", "false") == "true"
STAR_COLOR = os.environ.get("STAR_COLOR", "black")
RATINGS_HOST = os.environ.get("RATINGS_HOSTNAME", "ratings")
RATINGS_PORT = int(os.environ.get("RATINGS_SERVICE_PORT", "9080"))
RATINGS_SECONDS = 10.0 if STAR_COLOR == "black" else 2.5
TEXTS = (
    "An extremely entertaining play by Shakespeare. The slapstick humour is refreshing!",
    "Absolutely fun and entertaining. The play lacks thematic depth when compared to other plays"
    " by Shakespeare.",
)


def reviews(request: Request) -> Response:
    assert request.match
    product = request.match["id"]
    answer = [
        {"reviewer": f"Reviewer{i}", "text": text, **rating}
        for (i, text), rating in zip(enumerate(TEXTS, 1), ratings(product, request), strict=True)
    ]
    pod = os.environ.get("HOSTNAME", "")
    return json_response({"id": product, "podname": pod, "clustername": "null", "reviews": answer})


def ratings(product: str, request: Request) -> list[dict[str, Any]]:
    """What to add to each review."""
    if not ENABLE_RATINGS:
        return [{}, {}]
    try:
        answer = get_json(
            RATINGS_HOST,
            RATINGS_PORT,
            f"/ratings/{product}",
            request.propagated(),
            RATINGS_SECONDS,
        )
        stars = [answer["ratings"][f"Reviewer{i}"] for i in (1, 2)]
    except (OSError, ValueError, KeyError):
        return [{"rating": {"error": "Ratings service is currently unavailable"}}] * 2
    return [{"rating": {"stars": number, "color": STAR_COLOR}} for number in stars]


def health(_: Request) -> Response:
    return json_response({"status": "Reviews is healthy"})


if __name__ == "__main__":
    serve(
        int(sys.argv[1]) if len(sys.argv) > 1 else 9080,
        [("GET", "/health", health), ("GET", r"/reviews/(?P<id>\d+)", reviews)],
    )
