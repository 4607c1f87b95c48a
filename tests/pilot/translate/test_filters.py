"""The one filter table: what stands where, and why."""

import pytest

from argosy.model.request_authn import ClaimHeader, JwtProvider, JwtRule, NoKeys, RequestAuthn
from argosy.pilot.translate.fault import FAULT_FILTER
from argosy.pilot.translate.filters import (
    GRPC_WEB_FILTER,
    HTTP_FILTERS,
    ROUTER_FILTER,
    Group,
    HttpFilterFacts,
    Row,
    Side,
    http_filters,
)
from argosy.pilot.translate.jwt_authn import CLIENT_HEADERS_FILTER, JWT_FILTER

RULE = JwtRule("a", NoKeys(), claim_headers=(ClaimHeader("x-user", "sub"),))
TOKENS = RequestAuthn((JwtProvider(RULE, "keys"),))


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (HttpFilterFacts(Side.OUTBOUND), ["fault", "cors", "router"]),
        (HttpFilterFacts(Side.INBOUND), ["router"]),
        (HttpFilterFacts(Side.GATEWAY), ["fault", "cors", "router"]),
        (
            HttpFilterFacts(Side.GATEWAY, request_authn=TOKENS),
            ["header_mutation", "jwt_authn", "fault", "cors", "router"],
        ),
        (
            HttpFilterFacts(Side.OUTBOUND, dynamic_hosts=True, counts_messages=True),
            ["fault", "cors", "dynamic_forward_proxy", "grpc_stats", "router"],
        ),
        (HttpFilterFacts(Side.GATEWAY, grpc_web=True), ["grpc_web", "fault", "cors", "router"]),
    ],
)
def test_filters_of_a_side_in_order(facts: HttpFilterFacts, expected: list[str]) -> None:
    names = [found.name for found in http_filters(facts)]
    assert names == [f"envoy.filters.http.{name}" for name in expected]


def test_every_row_has_a_reason_and_the_router_ends_the_table() -> None:
    assert all(len(row.why_here) > 20 for row in HTTP_FILTERS)
    rows = [row for row in HTTP_FILTERS if isinstance(row, Row)]
    assert len({row.name for row in rows}) == len(rows)
    assert HTTP_FILTERS[0] is rows[0]
    assert rows[0].name == GRPC_WEB_FILTER
    assert HTTP_FILTERS[-1] is rows[-1]
    assert rows[-1].name == ROUTER_FILTER


def test_tokens_are_read_between_external_authorization_and_rules() -> None:
    """As in Istio. Rules before it would not know who the end user is; and whoever is asked outside
    must not be shown what a client wrote into the headers of claims."""
    places = {row.name: at for at, row in enumerate(HTTP_FILTERS) if isinstance(row, Row)}
    external, rules, limits = (at for at, row in enumerate(HTTP_FILTERS) if isinstance(row, Group))
    assert places[CLIENT_HEADERS_FILTER] < external < places[JWT_FILTER] < rules
    assert rules < limits < places[FAULT_FILTER], "what is refused costs no quota"
