"""Who is calling, and what they may do.

Every endpoint asks for a bearer token, except the two health probes and the certificates endpoint,
which is for workloads and authenticates by the workload's own token.

The rules of the roles are those of Kubernetes' `view`, `edit` and `admin`
(https://kubernetes.io/docs/reference/access-authn-authz/rbac/#user-facing-roles), but that whoever
makes a process of this machine do what he likes could read the mesh's keys: that needs admin.
"""

from collections.abc import Collection

from starlette.requests import HTTPConnection

from argosy.base.names import CLUSTER_SCOPED, Namespace, ObjectKey
from argosy.server.http.errors import ApiError
from argosy.server.http.services import Actor, Authenticator, Role

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/livez"})
CERTIFICATES_PATH = "/istio.v1.auth/certificates"

NODE_WRITES = frozenset({"Pod"})
"""Kinds that a node may create, change and delete."""

NODE_STATUS_WRITES = frozenset({"Pod", "Deployment", "StatefulSet", "ReplicaSet"})
"""Kinds whose status a node may write."""

CONTROLS_PROCESSES = frozenset(
    {
        "DaemonSet",
        "Deployment",
        "EnvoyFilter",
        "Pod",
        "ReplicaSet",
        "StatefulSet",
        "WasmPlugin",
    }
)
"""Kinds by which a process of the mesh's owner runs any program or reads any file."""

MESH_NAMESPACE = Namespace("istio-system")
"""What is here holds for the whole mesh: its configuration, its gateways and their Secrets."""

MESH_CONFIG = ObjectKey("ConfigMap", MESH_NAMESPACE, "istio")
_SECRET = "Secret"


def bearer_token(connection: HTTPConnection) -> str:
    """The token of the Authorization header, or nothing."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def authenticate(connection: HTTPConnection, authenticator: Authenticator) -> Actor:
    """The caller; 401 for nobody."""
    token = bearer_token(connection)
    actor = authenticator.authenticate(token) if token else None
    if actor is None:
        words = (
            "the bearer token is not valid: it is unknown, expired or revoked"
            if token
            else "a bearer token is required"
        )
        raise ApiError(
            401, f"{words}. Use the token of this mesh (admin.token), or ask for one of your own"
        )
    return actor


def require_admin(actor: Actor, what: str) -> None:
    """403 for everybody but an admin of the whole mesh."""
    if Role.ADMIN not in actor.roles or actor.namespace:
        raise _refused(actor, what, "it needs the role admin for the whole mesh")


def require_edit(actor: Actor, what: str) -> None:
    """403 for who may write nothing that users write."""
    if not actor.roles & {Role.EDIT, Role.ADMIN}:
        raise _refused(actor, what, "it needs the role edit or admin")


def require_look(actor: Actor) -> None:
    """403 for an actor without any role. For facts of the mesh that are nobody's secret."""
    if not actor.roles:
        raise ApiError(403, f"{actor.name} may not read: it has no role")


def require_read(actor: Actor, kinds: Collection[str], namespace: str | None) -> None:
    """403 unless the actor may read these kinds there. ``namespace`` None: in all; "": in none."""
    require_look(actor)
    if actor.namespace and namespace != actor.namespace:
        where = f"namespace {namespace}" if namespace else "the whole mesh"
        raise _refused(actor, f"read {_plural(kinds)} of {where}", "ask for its own namespace")
    if _SECRET in kinds and actor.roles <= {Role.VIEW, Role.MIXER}:
        raise _refused(actor, "read Secrets", "it needs the role edit or admin")


def require_write(actor: Actor, key: ObjectKey, subresource: str = "") -> None:
    """403 unless the actor may write this object, or this subresource of it.

    A key without a name means every object of its kind in its namespace.
    """
    what = f"write {key.kind}/{subresource}" if subresource else f"write {key.kind}"
    if key.namespace != CLUSTER_SCOPED:
        what += f" in namespace {key.namespace}"
    if Role.NODE in actor.roles:
        allowed = NODE_STATUS_WRITES if subresource == "status" else NODE_WRITES
        if key.kind in allowed:
            return
    if not actor.roles & {Role.EDIT, Role.ADMIN}:
        raise _refused(actor, what, "it needs the role edit or admin")
    if actor.namespace and key.namespace != actor.namespace:
        raise _refused(actor, what, f"its role holds in namespace {actor.namespace} alone")
    if _is_mesh_config(key) and (Role.ADMIN not in actor.roles or actor.namespace):
        raise _refused(actor, f"{what}: it is the mesh's configuration", "it needs admin")
    if Role.ADMIN in actor.roles:
        return
    if key.kind in CONTROLS_PROCESSES:
        raise _refused(actor, f"{what}: it controls processes of this machine", "it needs admin")
    if key.namespace == CLUSTER_SCOPED or (not actor.namespace and key.namespace == MESH_NAMESPACE):
        raise _refused(actor, f"{what}: it holds for the whole mesh", "it needs admin")


def require_node(actor: Actor, what: str) -> None:
    """403 for everybody but a node and an admin of the whole mesh."""
    if Role.NODE in actor.roles or (Role.ADMIN in actor.roles and not actor.namespace):
        return
    raise _refused(actor, what, "it needs the role admin for the whole mesh")


def require_mixer(actor: Actor, what: str) -> None:
    """403 for everybody but Mixer."""
    if Role.MIXER not in actor.roles:
        raise _refused(actor, what, "only Mixer may")


def _is_mesh_config(key: ObjectKey) -> bool:
    same = (key.kind, key.namespace) == (MESH_CONFIG.kind, MESH_CONFIG.namespace)
    return same and key.name in ("", MESH_CONFIG.name)


def _plural(kinds: Collection[str]) -> str:
    return ", ".join(f"{kind}s" for kind in sorted(kinds)) or "objects"


def _refused(actor: Actor, what: str, why: str) -> ApiError:
    return ApiError(403, f"{actor} may not {what}: {why}")
