"""A client of a running mesh's API on its UNIX socket, and the words for what goes wrong."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx

from argosy.platforms.local.state import MeshDirectory, mesh_names

Json = dict[str, Any]


class CliError(Exception):
    """What a person is told, and the exit code. ``hint`` says what to do."""

    def __init__(self, message: str, hint: str = "", *, code: int = 1) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code


class NotFoundError(CliError):
    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint, code=3)


class ApiClient:
    """Calls one mesh. Raises CliError with Kubernetes' message when the API refuses."""

    def __init__(self, mesh: str) -> None:
        self.directory = MeshDirectory.of(mesh)
        self.mesh = mesh
        try:
            self.token = self.directory.admin_token.read_text().strip()
        except FileNotFoundError as error:
            raise self._not_running() from error
        except PermissionError as error:
            raise CliError(
                f"mesh {mesh!r} belongs to another user ({self.directory.path})",
                "Run the command as the user who ran `argosy up`.",
            ) from error
        headers = {"Authorization": f"Bearer {self.token}"}
        self._api = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(self.directory.api_socket)),
            base_url="http://argosy",
            headers=headers,
            timeout=httpx.Timeout(60.0, connect=5.0),
        )
        self._node = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(self.directory.node_socket)),
            base_url="http://argosy-node",
            headers=headers,
            timeout=httpx.Timeout(30.0, connect=5.0),
        )

    def get(self, path: str, **params: str) -> Json:
        return self.call("GET", path, params=params)

    def call(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        body: Any = None,
        seconds: float = 60.0,
    ) -> Json:
        with self._reaching():
            response = self._api.request(
                method, path, params=params, json=body, timeout=httpx.Timeout(seconds, connect=5.0)
            )
        if response.is_success:
            answer: Json = response.json() if response.content else {}
            return answer
        try:
            message = response.json().get("message", response.text)
        except ValueError:
            message = response.text or response.reason_phrase
        if response.status_code == 404:
            raise NotFoundError(message)
        raise CliError(message)

    def envoy(self, namespace: str, pod: str, path: str) -> httpx.Response:
        """What the pod's Envoy answers on its admin interface."""
        with self._reaching():
            response = self._node.get(f"/v1/pods/{namespace}/{pod}/envoy{path}")
        if response.status_code == 404:
            raise NotFoundError(f"pod {namespace}/{pod} has no running proxy")
        if not response.is_success:
            raise CliError(f"the proxy of {namespace}/{pod} did not answer: {response.text}")
        return response

    def close(self) -> None:
        self._api.close()
        self._node.close()

    def __enter__(self) -> "ApiClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError) as error:
            raise self._not_running() from error
        except httpx.TimeoutException as error:
            raise CliError(
                f"mesh {self.mesh!r} did not answer in time",
                f"Look at {self.directory.path}/control-plane.log",
                code=4,
            ) from error

    def _not_running(self) -> CliError:
        running = [
            name
            for name in mesh_names()
            if name != self.mesh and MeshDirectory.of(name).is_running()
        ]
        hint = "Start one: argosy up -f FILE"
        if running:
            hint = f"Running meshes: {', '.join(running)} (choose one with --mesh)"
        return CliError(f"mesh {self.mesh!r} is not running", hint)


def name_of(item: Json) -> str:
    name: str = item["metadata"]["name"]
    return name


def namespace_of(item: Json) -> str:
    namespace: str = item["metadata"].get("namespace", "")
    return namespace


def is_ready(pod: Json) -> bool:
    conditions: Sequence[Json] = pod.get("status", {}).get("conditions", ())
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def find_pod(client: ApiClient, target: str, namespace: str) -> Json:
    """The pod that ``target`` names: ``NAME``, ``NAME.NAMESPACE``, ``pod/NAME`` or ``deploy/NAME``.

    Of a deployment's pods a ready one is taken, the first by name.
    """
    kind, _, name = target.rpartition("/")
    if "." in name:
        name, _, namespace = name.partition(".")
    pods = client.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
    if kind in ("", "po", "pod", "pods"):
        found = [pod for pod in pods if name_of(pod) == name]
        if not found and not kind:
            found = _of_deployment(pods, name)
    elif kind in ("deploy", "deployment", "deployments", "deployment.apps"):
        found = _of_deployment(pods, name)
    else:
        raise CliError(f"{target!r} is neither a pod nor a deployment", code=2)
    if not found:
        hint = "Pods here: " + (", ".join(sorted(map(name_of, pods))) or "none")
        raise NotFoundError(f"no pod for {target!r} in namespace {namespace!r}", hint)
    return min(found, key=lambda pod: (not is_ready(pod), name_of(pod)))


def _of_deployment(pods: Sequence[Json], name: str) -> list[Json]:
    return [
        pod
        for pod in pods
        if any(
            owner.get("kind") == "Deployment" and owner.get("name") == name
            for owner in pod["metadata"].get("ownerReferences", ())
        )
    ]
