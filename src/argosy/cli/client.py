"""A client of a running mesh's API, on its UNIX socket or elsewhere, and the words for what goes
wrong."""

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import httpx

from argosy.cli.access import OWNER, Access, chosen
from argosy.cli.output import err
from argosy.platforms.local.state import MeshDirectory, MeshNameError, mesh_names

Json = dict[str, Any]

PATIENCE_SECONDS = 10.0
"""How long a control plane may be away, for it is started again when it ends."""

_POLL_SECONDS = 0.1
_SILENT_SECONDS = 2.0
_AWAY = (httpx.ConnectError, httpx.ConnectTimeout)
_BROKEN = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)
_TRACEPARENT = re.compile("[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_WORKLOADS = ("Deployment", "StatefulSet")


class CliError(Exception):
    """What a person is told, and the exit code. ``hint`` says what to do."""

    def __init__(self, message: str, hint: str = "", *, code: int = 1) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code


class NotFoundError(CliError):
    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint, code=3)


class ForbiddenError(CliError):
    """The role does not allow it."""


class UnreachableError(CliError):
    """The mesh runs, and its control plane does not answer."""


def directory_of(mesh: str) -> MeshDirectory:
    """Raises CliError for what cannot name a mesh."""
    try:
        return MeshDirectory.of(mesh)
    except MeshNameError as error:
        raise CliError(str(error), code=2) from error


class ApiClient:
    """Calls one mesh. Raises CliError with Kubernetes' message when the API refuses.

    A control plane that is being started again is waited for, ``patience`` seconds at the most;
    what it did not answer is then asked again when that does no harm.
    """

    def __init__(self, mesh: str, *, patience: float = PATIENCE_SECONDS) -> None:
        self.directory = directory_of(mesh)
        self.mesh = mesh
        self._access = chosen()
        # Of a mesh elsewhere nobody knows whether it runs at all.
        self._patience = min(patience, _SILENT_SECONDS) if self._access.server else patience
        if self._access.wrong:
            raise CliError(self._access.wrong, code=2)
        self.token = self._access.token or self._read_token()
        self._api = self._client(self.directory.api_socket, self._access)
        self._node = self._client(self.directory.node_socket, OWNER)

    @property
    def is_elsewhere(self) -> bool:
        """Whether it was told a server: then nothing of this machine is about that mesh."""
        return bool(self._access.server)

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
        repeatable: bool = False,
    ) -> Json:
        """``repeatable``: to do it twice is as good as once, as it is with every GET."""

        def ask() -> httpx.Response:
            timeout = httpx.Timeout(seconds, connect=5.0)
            return self._api.request(method, path, params=params, json=body, timeout=timeout)

        response = self._answer(ask, repeatable=repeatable or method == "GET")
        answer: Json = response.json() if response.content else {}
        return answer

    @contextmanager
    def stream(
        self,
        path: str,
        *,
        params: dict[str, str] | None = None,
        method: str = "GET",
        body: Any = None,
    ) -> Iterator[Iterator[str]]:
        """The lines of an answer as they come, for as long as it takes. The block ends it."""
        timeout = httpx.Timeout(None, connect=5.0)
        with self._reaching("control plane"):
            asked = self._api.stream(method, path, params=params, json=body, timeout=timeout)
            with asked as response:
                if not response.is_success:
                    response.read()
                    self._refuse(response)
                yield response.iter_lines()

    def content(self, path: str) -> bytes:
        """An answer as it is."""
        return self._answer(lambda: self._api.get(path, timeout=120.0), repeatable=True).content

    def _answer(self, ask: Callable[[], httpx.Response], *, repeatable: bool) -> httpx.Response:
        with self._reaching("control plane"):
            response = self._patiently(ask, repeatable=repeatable)
        if not response.is_success:
            self._refuse(response)
        return response

    def _refuse(self, response: httpx.Response) -> NoReturn:
        """Say why the API refuses."""
        message = _message(response)
        if response.status_code == 404:
            raise NotFoundError(message)
        if response.status_code == 401 and self._access.token:
            raise CliError(
                f"the control plane does not accept the token that was given: {message}",
                "It is of --token or ARGOSY_TOKEN. New ones: argosy token create NAME --role ROLE",
            )
        if response.status_code == 401:
            raise CliError(
                f"the control plane does not accept {self.directory.admin_token}: {message}",
                "The mesh was started anew meanwhile? Try again.",
            )
        if response.status_code == 403:
            raise ForbiddenError(message, "Ask an admin of the mesh for a token with that role.")
        raise CliError(message)

    def items(self, path: str, selector: str = "") -> list[Json]:
        """The objects of a list."""
        params = {"labelSelector": selector} if selector else {}
        found: list[Json] = self.get(path, **params)["items"]
        return found

    def envoy(self, namespace: str, pod: str, path: str) -> httpx.Response:
        """What the pod's Envoy answers on its admin interface."""
        response = self.node(f"/v1/pods/{namespace}/{pod}/envoy{path}")
        if response.status_code == 404 and "/envoy" in str(response.url):
            raise NotFoundError(f"pod {namespace}/{pod} has no running proxy")
        if not response.is_success:
            raise CliError(f"the proxy of {namespace}/{pod} did not answer: {_message(response)}")
        return response

    def node(self, path: str) -> httpx.Response:
        """What the node answers, whether or not the control plane is there."""
        if self._access.server:
            raise CliError(
                "proxies, logs and programs are reached on the mesh's machine only, not by --server"
            )
        with self._reaching("node"):
            return self._patiently(lambda: self._node.get(path), repeatable=True)

    def close(self) -> None:
        self._api.close()
        self._node.close()

    def __enter__(self) -> "ApiClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _client(self, socket: Path, access: Access) -> httpx.Client:
        return httpx.Client(
            transport=access.transport(socket),
            base_url=access.server or "http://argosy",
            headers={"Authorization": f"Bearer {self.token}", **_trace_context()},
            timeout=httpx.Timeout(30.0, connect=5.0),
        )

    def _read_token(self) -> str:
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return self.directory.admin_token.read_text().strip()
            except FileNotFoundError as error:
                if not self.directory.is_running() or time.monotonic() >= deadline:
                    raise self._not_running() from error
            except PermissionError as error:
                raise CliError(
                    f"mesh {self.mesh!r} belongs to another user ({self.directory.path})",
                    "Run the command as the user who ran `argosy up`.",
                ) from error
            time.sleep(_POLL_SECONDS)

    def _patiently(self, ask: Callable[[], httpx.Response], *, repeatable: bool) -> httpx.Response:
        began = time.monotonic()
        told = False
        while True:
            try:
                return ask()
            except (*_AWAY, *_BROKEN) as error:
                waited = time.monotonic() - began
                again = repeatable or isinstance(error, _AWAY)
                if not again or waited >= self._patience or not self._is_running():
                    raise
                if waited >= _SILENT_SECONDS and not told:
                    told = True
                    err.print("The mesh does not answer; it may just be starting. Waiting ...")
            time.sleep(_POLL_SECONDS)

    @contextmanager
    def _reaching(self, who: str) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException as error:
            log = self._log(who)
            raise UnreachableError(
                f"the {who} of mesh {self.mesh!r} did not answer in time", f"Look at {log}", code=4
            ) from error
        except httpx.TransportError as error:
            if self._access.server and who == "control plane":
                raise UnreachableError(
                    f"the mesh at {self._access.server} does not answer ({error})",
                    "Was it started with --api-port? Is --server-ca its root certificate?",
                ) from error
            if not self.directory.is_running():
                raise self._not_running() from error
            raise UnreachableError(
                f"the {who} of mesh {self.mesh!r} does not answer ({error})",
                "The workloads and their proxies go on with what they have. "
                f"Look at {self._log(who)}",
            ) from error

    def _is_running(self) -> bool:
        return self.is_elsewhere or self.directory.is_running()

    def _log(self, who: str) -> str:
        log = self.directory.node_log if who == "node" else self.directory.control_plane_log
        return str(log)

    def _not_running(self) -> CliError:
        if self.directory.is_running():
            return UnreachableError(
                f"mesh {self.mesh!r} is still starting", f"Look at {self.directory.path}"
            )
        running = [
            name
            for name in mesh_names()
            if name != self.mesh and MeshDirectory.of(name).is_running()
        ]
        hint = "Start one: argosy up -f FILE"
        if running:
            hint = f"Running meshes: {', '.join(running)} (choose one with --mesh)"
        return CliError(f"mesh {self.mesh!r} is not running", hint)


def _trace_context() -> dict[str, str]:
    """Of the trace that this command is a part of, as a pipeline may say.

    https://opentelemetry.io/docs/specs/otel/context/env-carriers/
    """
    found = os.environ.get("TRACEPARENT", "")
    return {"traceparent": found} if _TRACEPARENT.fullmatch(found) else {}


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return response.text or response.reason_phrase


def name_of(item: Json) -> str:
    name: str = item["metadata"]["name"]
    return name


def namespace_of(item: Json) -> str:
    namespace: str = item["metadata"].get("namespace", "")
    return namespace


def is_ready(pod: Json) -> bool:
    conditions: Sequence[Json] = pod.get("status", {}).get("conditions", ())
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def why_late(pod: Json) -> tuple[str, str]:
    """Why a pod is not ready: reason and message."""
    status: Json = pod.get("status") or {}
    inside = (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ()))
    for container in inside:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") and waiting["reason"] != "PodInitializing":
            return waiting["reason"], waiting.get("message", "")
    for condition in status.get("conditions", ()):
        if condition.get("type") == "Ready" and condition.get("status") != "True":
            return condition.get("reason", ""), condition.get("message", "")
    return "Pending", status.get("message", "") or "it has not been started"


def find_pod(client: ApiClient, target: str, namespace: str) -> Json:
    """The pod that ``target`` names: ``NAME``, ``NAME.NAMESPACE``, ``pod/NAME``, ``deploy/NAME``,
    ``sts/NAME`` or ``svc/NAME``.

    Names with dots are there too: the whole is looked for first. Of several pods a ready one is
    taken, the first by name.
    """
    kind, _, name = target.rpartition("/")
    found, pods = _pods_of(client, kind, name, namespace, target)
    if not found and "." in name:
        name, _, namespace = name.rpartition(".")
        found, pods = _pods_of(client, kind, name, namespace, target)
    if not found:
        hint = "Pods here: " + (", ".join(sorted(map(name_of, pods))) or "none")
        raise NotFoundError(f"no pod for {target!r} in namespace {namespace!r}", hint)
    return min(found, key=lambda pod: (not is_ready(pod), name_of(pod)))


def _pods_of(
    client: ApiClient, kind: str, name: str, namespace: str, target: str
) -> tuple[list[Json], list[Json]]:
    """The pods that a name means, and all pods of the namespace."""
    pods = client.items(f"/api/v1/namespaces/{namespace}/pods")
    if kind in ("", "po", "pod", "pods"):
        found = [pod for pod in pods if name_of(pod) == name]
        return found or ([] if kind else of_workload(pods, name)), pods
    if kind in ("deploy", "deployment", "deployments", "deployment.apps"):
        return of_workload(pods, name, "Deployment"), pods
    if kind in ("sts", "statefulset", "statefulsets", "statefulset.apps"):
        return of_workload(pods, name, "StatefulSet"), pods
    if kind in ("svc", "service", "services"):
        if "." in name:  # as no service is called
            return [], pods
        service = client.get(f"/api/v1/namespaces/{namespace}/services/{name}")
        return selected(pods, service["spec"].get("selector")), pods
    hint = "Write deploy/NAME, sts/NAME, pod/NAME, svc/NAME, or a pod's name"
    raise CliError(f"{target!r} is neither a pod, a workload nor a service", hint, code=2)


def of_workload(pods: Sequence[Json], name: str, kind: str = "") -> list[Json]:
    """The pods that a workload made, of this kind or of either."""
    kinds = (kind,) if kind else _WORKLOADS
    return [pod for pod in pods if owner_of(pod) in {(one, name) for one in kinds}]


def owner_of(pod: Json) -> tuple[str, str]:
    """The kind and name of the workload that made the pod, or nothing."""
    for owner in pod["metadata"].get("ownerReferences", ()):
        if owner.get("kind") in _WORKLOADS:
            return str(owner["kind"]), str(owner.get("name", ""))
    return "", ""


def selected(items: Sequence[Json], selector: dict[str, str] | None) -> list[Json]:
    """Those that have every label of a selector; an empty one selects nothing."""
    if not selector:
        return []
    return [
        item for item in items if selector.items() <= (item["metadata"].get("labels") or {}).items()
    ]
