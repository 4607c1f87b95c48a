"""Who is calling, and what they may do.

Every endpoint asks for a bearer token, except the two health probes and the certificates endpoint,
which is for workloads and authenticates by the workload's own token.
"""

from starlette.requests import HTTPConnection

from argosy.server.http.errors import ApiError
from argosy.server.http.services import Actor, Authenticator, Role

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/livez"})
CERTIFICATES_PATH = "/istio.v1.auth/certificates"

NODE_WRITES = frozenset({"Pod"})
"""Kinds that a node may create, change and delete."""

NODE_STATUS_WRITES = frozenset({"Pod", "Deployment", "StatefulSet", "ReplicaSet"})
"""Kinds whose status a node may write."""


def bearer_token(connection: HTTPConnection) -> str:
    """The token of the Authorization header, or nothing."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def authenticate(connection: HTTPConnection, authenticator: Authenticator) -> Actor:
    """The caller; 401 for nobody."""
    token = bearer_token(connection)
    actor = authenticator.authenticate(token) if token else None
    if actor is None:
        words = "the bearer token is not valid" if token else "a bearer token is required"
        raise ApiError(401, f"{words}: use the token of this mesh (admin.token)")
    return actor


def require_admin(actor: Actor, what: str) -> None:
    """403 for everybody but an admin."""
    if Role.ADMIN not in actor.roles:
        raise ApiError(403, f"{actor.name} may not {what}: it needs the role admin")


def require_read(actor: Actor) -> None:
    """403 for an actor without any role."""
    if not actor.roles:
        raise ApiError(403, f"{actor.name} may not read: it has no role")


def require_write(actor: Actor, kind: str, subresource: str = "") -> None:
    """403 unless the actor may write this kind (or this subresource of it)."""
    if Role.ADMIN in actor.roles:
        return
    allowed = NODE_STATUS_WRITES if subresource == "status" else NODE_WRITES
    if Role.NODE in actor.roles and kind in allowed:
        return
    what = f"{kind}/{subresource}" if subresource else kind
    raise ApiError(403, f"{actor.name} may not write {what}")


def require_node(actor: Actor, what: str) -> None:
    """403 for everybody but a node and an admin."""
    if not actor.roles & {Role.ADMIN, Role.NODE}:
        raise ApiError(403, f"{actor.name} may not {what}")
