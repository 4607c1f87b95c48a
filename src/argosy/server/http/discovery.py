"""Discovery: which groups, versions and kinds are served.

https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api
"""

import platform

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from argosy.api.registry import KINDS, Registered
from argosy.server.http.encoding import Json, json_response
from argosy.server.http.target import not_served

_VERBS: list[Json] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
]
_STATUS_VERBS: list[Json] = ["get", "patch", "update"]


def routes(version: str) -> list[BaseRoute]:
    async def versions(_request: Request) -> Response:
        return json_response({"kind": "APIVersions", "versions": ["v1"]})

    async def groups(_request: Request) -> Response:
        found = [_group(group) for group in _groups()]
        return json_response({"kind": "APIGroupList", "apiVersion": "v1", "groups": found})

    async def group(request: Request) -> Response:
        name = request.path_params["group"]
        if name not in _groups():
            raise not_served(request)
        return json_response({"kind": "APIGroup", "apiVersion": "v1", **_group(name)})

    async def resources(request: Request) -> Response:
        name, wanted = request.path_params.get("group", ""), request.path_params["version"]
        found = [entry for entry in KINDS if entry.group == name and wanted in entry.versions]
        if not found:
            raise not_served(request)
        listed = [resource for entry in found for resource in _resources(entry)]
        return json_response(
            {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": f"{name}/{wanted}" if name else wanted,
                "resources": listed,
            }
        )

    async def say_version(_request: Request) -> Response:
        """``gitVersion`` is what Kubernetes' clients show."""
        major, minor, *_ = [*version.split("."), "", ""]
        return json_response(
            {
                "major": major,
                "minor": minor,
                "gitVersion": f"v{version}+argosy",
                "platform": f"{platform.system().lower()}/{platform.machine()}",
            }
        )

    return [
        Route("/api", versions),
        Route("/apis", groups),
        Route("/version", say_version),
        Route("/api/{version}", resources),
        Route("/apis/{group}", group),
        Route("/apis/{group}/{version}", resources),
    ]


def _groups() -> list[str]:
    return list(dict.fromkeys(entry.group for entry in KINDS if entry.group))


def _group(name: str) -> dict[str, Json]:
    kinds = [entry for entry in KINDS if entry.group == name]
    versions = dict.fromkeys(version for entry in kinds for version in entry.versions)
    found: list[Json] = [
        {"groupVersion": f"{name}/{version}", "version": version} for version in versions
    ]
    return {"name": name, "versions": found, "preferredVersion": found[0]}


def _resources(entry: Registered) -> list[Json]:
    resource: dict[str, Json] = {
        "name": entry.plural,
        "singularName": entry.singular,
        "namespaced": entry.namespaced,
        "kind": entry.kind,
        "verbs": _VERBS,
    }
    if entry.short_names:
        resource["shortNames"] = list(entry.short_names)
    if not hasattr(entry.struct(), "status"):
        return [resource]
    status: dict[str, Json] = {
        "name": f"{entry.plural}/status",
        "singularName": "",
        "namespaced": entry.namespaced,
        "kind": entry.kind,
        "verbs": _STATUS_VERBS,
    }
    return [resource, status]
