"""Rules for the length of a test, by the mesh's API: many changes at the cost of few processes."""

import json
import time
from types import TracebackType
from typing import Any

from mesh import Json, Mesh, client_of

SETTLE_SECONDS = 0.15
"""Envoy's main thread acknowledges a moment before its workers have what it was sent."""

_PREFIX = "/apis/argosy.dev/v1alpha1"


class Rules:
    """As ``argosy apply --wait`` and ``argosy delete --wait`` do; what is left goes at the end."""

    def __init__(self, mesh: Mesh) -> None:
        self._api = client_of(mesh)
        self._applied: dict[str, str] = {}

    def __enter__(self) -> "Rules":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            for name in tuple(self._applied):
                self.delete(name)
        finally:
            self._api.close()

    def apply(self, name: str, text: str, *, quietly: bool = True) -> list[Json]:
        """Every proxy has it afterwards. ``name`` is for deleting it, or replacing it.

        ``quietly`` False: it has problems, and that is what the test is about. They come back.
        """
        self._applied[name] = text
        return self._send(text, delete=False, quietly=quietly)

    def dry_run(self, text: str) -> list[Json]:
        """The problems that it would have; nothing changes."""
        files = [{"path": "test.yaml", "text": text}]
        body = {"files": files, "dryRun": True, "namespace": "default"}
        return _problems(self._call("POST", f"{_PREFIX}/apply", json=body))

    def text(self, name: str) -> str:
        """What was applied last."""
        return self._applied[name]

    def clear(self) -> None:
        """Delete what is left, the last first."""
        for name in reversed(tuple(self._applied)):
            self.delete(name)

    def delete(self, name: str) -> None:
        self._send(self._applied.pop(name), delete=True)

    def forget(self, name: str) -> None:
        """It was deleted by other means."""
        del self._applied[name]

    def destination(self, host: str, policy: object = None, *subsets: object) -> None:
        """A DestinationRule in the namespace default."""
        spec: dict[str, object] = {"host": host, "subsets": subsets}
        if policy is not None:
            spec["trafficPolicy"] = policy
        self.apply(f"dr-{host}", document("networking.istio.io/v1", "DestinationRule", host, spec))

    def route(self, host: str, **rule: object) -> None:
        """A VirtualService of one rule in the namespace default; to ``host`` unless it says."""
        spec = {"hosts": [host], "http": [{"route": [{"destination": {"host": host}}], **rule}]}
        self.apply(f"vs-{host}", document("networking.istio.io/v1", "VirtualService", host, spec))

    def states(self) -> dict[str, str]:
        """Of what was sent to each proxy, as ``argosy status`` shows it: by proxy and type."""
        return {
            f"{proxy['name']} {kind}": state["state"]
            for proxy in self._call("GET", f"{_PREFIX}/proxies")["items"]
            for kind, state in proxy["types"].items()
            if state["state"] != "NOT SENT"
        }

    def get(self, group: str, plural: str, name: str) -> Json:
        """An object of the namespace default."""
        return self._call("GET", f"/apis/{group}/namespaces/default/{plural}/{name}")

    def _send(self, text: str, *, delete: bool, quietly: bool = True) -> list[Json]:
        files = [{"path": "test.yaml", "text": text}]
        body = {"files": files, "delete": delete, "namespace": "default"}
        answer = self._call("POST", f"{_PREFIX}/apply", json=body)
        problems = _problems(answer)
        assert not quietly or not [p for p in problems if p["severity"] == "Error"], problems
        wanted = {"revision": answer["revision"], "timeoutSeconds": 30}
        spread = self._call("GET", f"{_PREFIX}/distribution", params=wanted)
        assert spread["acknowledged"] == spread["touched"], spread
        time.sleep(SETTLE_SECONDS)
        return problems

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        answer = self._api.request(method, path, **options)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found


def _problems(answer: Json) -> list[Json]:
    return [*answer["problems"], *(p for result in answer["results"] for p in result["problems"])]


def document(version: str, kind: str, name: str, spec: object) -> str:
    """An object of the namespace default as YAML."""
    metadata = {"name": name, "namespace": "default"}
    return json.dumps({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec})
