"""Bookinfo's page: details and reviews of a book, put together. Usage: productpage.py PORT.

Reviews are asked for with a timeout of 3 seconds, and a second time when that fails; details once.
Whoever logs in (any name, no password is checked) is passed on in the header `end-user`.
"""

import hashlib
import hmac
import html
import os
import secrets
import sys
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import parse_qs, quote, unquote

from web import Request, Response, StatusError, get_json, json_response, serve

DOMAIN = "." + os.environ["SERVICES_DOMAIN"] if os.environ.get("SERVICES_DOMAIN") else ""
DETAILS = os.environ.get("DETAILS_HOSTNAME", "details") + DOMAIN
REVIEWS = os.environ.get("REVIEWS_HOSTNAME", "reviews") + DOMAIN
RATINGS = os.environ.get("RATINGS_HOSTNAME", "ratings") + DOMAIN
PORTS = {
    name: int(os.environ.get(f"{name.upper()}_SERVICE_PORT", "9080"))
    for name in ("details", "reviews", "ratings")
}
SECONDS = 3.0
PRODUCTS = [
    {
        "id": 0,
        "title": "The Comedy of Errors",
        "descriptionHtml": "The Comedy of Errors is one of Shakespeare's early plays. It is his "
        "shortest and one of his most farcical comedies, with a major part of the humour coming "
        "from slapstick and mistaken identity, in addition to puns and word play.",
    }
]
PAGE = Template((Path(__file__).parent / "productpage.html").read_text(encoding="utf-8"))
_KEY = secrets.token_bytes(32)


def sign(user: str) -> str:
    mac = hmac.new(_KEY, user.encode(), hashlib.sha256).hexdigest()
    return f"{quote(user, safe='')}.{mac}"


def logged_in(request: Request) -> str:
    """The user of this session, or nothing."""
    try:
        cookie = SimpleCookie(request.headers.get("cookie", "")).get("session")
    except CookieError:
        return ""
    if cookie is None:
        return ""
    user, _, _ = cookie.value.rpartition(".")
    return unquote(user) if hmac.compare_digest(sign(unquote(user)), cookie.value) else ""


def headers(request: Request) -> dict[str, str]:
    carried = request.propagated()
    if user := logged_in(request):
        carried["end-user"] = user
    return carried


def fetch(service: str, host: str, product: str, request: Request, tries: int) -> tuple[int, Any]:
    status = 500
    for _ in range(tries):
        try:
            path = f"/{service}/{product}"
            return 200, get_json(host, PORTS[service], path, headers(request), SECONDS)
        except StatusError as error:
            status = error.status
        except (OSError, ValueError):
            status = 500
    return status, {"error": f"Sorry, product {service} are currently unavailable for this book."}


def details(product: str, request: Request) -> tuple[int, Any]:
    return fetch("details", DETAILS, product, request, tries=1)


def reviews(product: str, request: Request) -> tuple[int, Any]:
    return fetch("reviews", REVIEWS, product, request, tries=2)


def page(request: Request) -> Response:
    user = logged_in(request)
    if user:
        session = f'<span>{html.escape(user)}</span> <a href="/logout">sign out</a>'
    else:
        session = (
            '<form action="/login" method="post"><input name="username" placeholder="user name"'
            ' aria-label="user name"> <button>Sign in</button></form>'
        )
    body = PAGE.substitute(
        title=html.escape(PRODUCTS[0]["title"]),  # type: ignore[call-overload]  # it is a str
        description=PRODUCTS[0]["descriptionHtml"],
        session=session,
        details=_details_html(details("0", request)[1]),
        reviews=_reviews_html(reviews("0", request)[1]),
    )
    return Response(200, body.encode(), "text/html; charset=utf-8")


def _details_html(answer: Any) -> str:
    if "error" in answer:
        return f"<p class=error>Error fetching product details!</p><p>{answer['error']}</p>"
    rows = "".join(
        f"<dt>{label}</dt><dd>{html.escape(str(answer[key]))}</dd>"
        for label, key in (
            ("ISBN-10", "ISBN-10"),
            ("Publisher", "publisher"),
            ("Pages", "pages"),
            ("Type", "type"),
            ("Language", "language"),
        )
        if key in answer
    )
    return f"<dl>{rows}</dl>"


def _reviews_html(answer: Any) -> str:
    if "error" in answer:
        return f"<p class=error>Error fetching product reviews!</p><p>{answer['error']}</p>"
    blocks = []
    for review in answer["reviews"]:
        rating = review.get("rating")
        stars = ""
        if rating and "error" in rating:
            stars = f"<p><i>{html.escape(rating['error'])}</i></p>"
        elif rating:
            color = html.escape(rating["color"])
            star = '<span class="glyphicon glyphicon-star">★</span>'
            empty = '<span class="glyphicon glyphicon-star-empty">☆</span>'
            number = int(rating["stars"])
            stars = f'<p><font color="{color}">{star * number}{empty * (5 - number)}</font></p>'
        blocks.append(
            f"<blockquote><p>{html.escape(review['text'])}</p>"
            f"<small>{html.escape(review['reviewer'])}</small>{stars}</blockquote>"
        )
    served = html.escape(answer.get("podname") or "")
    return "".join(blocks) + f"<p class=served>Reviews served by: {served}</p>"


def index(_: Request) -> Response:
    body = '<!doctype html><title>Bookinfo</title><p><a href="/productpage">Bookinfo</a></p>'
    return Response(200, body.encode(), "text/html; charset=utf-8")


def login(request: Request) -> Response:
    user = parse_qs(request.body.decode("utf-8", "replace")).get("username", [""])[0]
    cookie = f"session={sign(user)}; Path=/; HttpOnly; SameSite=Lax"
    return Response(302, headers={"location": "/productpage", "set-cookie": cookie})


def logout(_: Request) -> Response:
    cookie = "session=; Path=/; Max-Age=0"
    return Response(302, headers={"location": "/productpage", "set-cookie": cookie})


def product(request: Request) -> Response:
    assert request.match
    status, answer = details(request.match["id"], request)
    return json_response(answer, status)


def product_reviews(request: Request) -> Response:
    assert request.match
    status, answer = reviews(request.match["id"], request)
    return json_response(answer, status)


def product_ratings(request: Request) -> Response:
    assert request.match
    status, answer = fetch("ratings", RATINGS, request.match["id"], request, tries=1)
    return json_response(answer, status)


if __name__ == "__main__":
    serve(
        int(sys.argv[1]) if len(sys.argv) > 1 else 9080,
        [
            ("GET", "/", index),
            ("GET", "/index.html", index),
            ("GET", "/health", lambda _: Response(200, b"Product page is healthy", "text/plain")),
            ("GET", "/productpage", page),
            ("POST", "/login", login),
            ("GET", "/logout", logout),
            ("GET", "/api/v1/products", lambda _: json_response(PRODUCTS)),
            ("GET", r"/api/v1/products/(?P<id>\d+)", product),
            ("GET", r"/api/v1/products/(?P<id>\d+)/reviews", product_reviews),
            ("GET", r"/api/v1/products/(?P<id>\d+)/ratings", product_ratings),
        ],
    )
