"""EnvoyFilters as YAML, and the Envoy filters that tests put in with them."""

import json
from collections.abc import Iterable
from typing import Any

HCM = "envoy.filters.network.http_connection_manager"
ROUTER = "envoy.filters.http.router"
LUA = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"


def envoy_filter(
    name: str, *patches: dict[str, Any], namespace: str = "default", **spec: object
) -> str:
    document = {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"configPatches": list(patches), **spec},
    }
    return json.dumps(document)


def patch(
    apply_to: str, match: dict[str, Any], operation: str, value: object = None
) -> dict[str, Any]:
    what = {"operation": operation} | ({} if value is None else {"value": value})
    return {"applyTo": apply_to, "match": match, "patch": what}


def of_manager(context: str, sub_filter: str = "", **listener: object) -> dict[str, Any]:
    found: dict[str, Any] = {"name": HCM}
    if sub_filter:
        found["subFilter"] = {"name": sub_filter}
    return {"context": context, "listener": {"filterChain": {"filter": found}, **listener}}


def lua(name: str, code: str) -> dict[str, Any]:
    return {
        "name": name,
        "typed_config": {"@type": LUA, "default_source_code": {"inline_string": code}},
    }


def answering(header: str, value: str) -> dict[str, Any]:
    code = f'function envoy_on_response(h) h:headers():add("{header}", "{value}") end'
    return lua(header, code)


def own(answer: Any, *tags: str) -> set[str]:
    """Which of the patches have tagged an answer.

    A connection between proxies from before goes on as it was made, so tests name their own tags.
    """
    return {tag for tag in tags if f"x-own-{tag}" in answer.headers}


def tagging(tag: str, context: str, **conditions: Any) -> dict[str, Any]:
    """A patch that adds a header to answers, in listeners that fit."""
    match = of_manager(context, ROUTER)
    match["listener"]["filterChain"] |= conditions.pop("chain", {})
    match["listener"] |= conditions
    return patch("HTTP_FILTER", match, "INSERT_BEFORE", answering(f"x-own-{tag}", "yes"))


def tagging_table(tag: str, context: str, **conditions: Any) -> dict[str, Any]:
    """The same of route tables that fit."""
    match = {"context": context, "routeConfiguration": conditions}
    header = {"header": {"key": f"x-own-{tag}", "value": "yes"}}
    return patch("ROUTE_CONFIGURATION", match, "MERGE", {"response_headers_to_add": [header]})


def told(problems: Iterable[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Severity, code and field of problems as the API tells them."""
    return [(p["severity"], p["code"], p["field"]) for p in problems]


def static_cluster(name: str, address: str, port: int) -> dict[str, Any]:
    place = {"socket_address": {"address": address, "port_value": port}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": place}}]}]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
    }
