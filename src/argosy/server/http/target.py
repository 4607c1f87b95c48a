"""What a Kubernetes path names: ``/apis/apps/v1/namespaces/x/deployments/y/status`` and the like.

https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris
"""

from dataclasses import dataclass

from starlette.requests import Request

from argosy.api.registry import Registered, get_resource
from argosy.base.names import CLUSTER_SCOPED, Namespace, ObjectKey
from argosy.server.http.errors import ApiError


@dataclass(frozen=True, slots=True)
class Target:
    """A kind in the version that was asked for; ``namespace`` None means all, ``name`` "" means many."""

    kind: Registered
    version: str
    namespace: Namespace | None
    name: str

    @property
    def api_version(self) -> str:
        return f"{self.kind.group}/{self.version}" if self.kind.group else self.version

    @property
    def any_key(self) -> ObjectKey:
        """As ``key``, without a name where the target has none."""
        return ObjectKey(self.kind.kind, self.namespace or CLUSTER_SCOPED, self.name)

    @property
    def new_key(self) -> ObjectKey:
        """Of an object whose name is not known yet."""
        return ObjectKey(self.kind.kind, self.namespace or CLUSTER_SCOPED, self.name or "?")

    @property
    def place(self) -> str | None:
        """Where objects of it are: a namespace, None for all of them, "" for outside of any."""
        return self.namespace if self.kind.namespaced else CLUSTER_SCOPED

    @property
    def key(self) -> ObjectKey:
        """The object's key; only for a target with a name."""
        assert self.name
        return ObjectKey(self.kind.kind, self.namespace or CLUSTER_SCOPED, self.name)


def target_of(request: Request) -> Target:
    """The target of a request; 404 for a kind that is not served there."""
    params = request.path_params
    group, version, plural = params.get("group", ""), params.get("version", "v1"), params["plural"]
    name = params.get("name", "")
    kind = get_resource(group, version, plural)
    namespace = params.get("namespace")
    if kind is None or (kind.namespaced and name and namespace is None):
        raise not_served(request)
    if namespace is not None and not kind.namespaced:
        raise not_served(request)
    return Target(kind, version, None if namespace is None else Namespace(namespace), name)


def not_served(request: Request) -> ApiError:
    return ApiError(404, f"the server could not find the requested resource {request.url.path}")
