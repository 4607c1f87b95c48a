"""YAML of the small workloads that tests need, and of their rules."""

import json
import sys
from pathlib import Path

SERVERS = Path(__file__).with_name("servers.py")
_STATS = "sidecar.istio.io/statsInclusionRegexps"


def server(kind: str, ports: int | str) -> tuple[str, ...]:
    """The command of a server of ``servers.py``."""
    return (sys.executable, str(SERVERS), kind, str(ports))


def deployment(
    name: str,
    *argv: str,
    port: int = 0,
    image: str = "any",
    namespace: str = "default",
    replicas: int = 1,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    account: str = "default",
) -> str:
    """Runs ``argv``, or what the image map says; ready when ``port`` answers, if there is one.

    The sidecar keeps all its statistics.
    """
    all_labels = {"app": name, **(labels or {})}
    container: dict[str, object] = {"name": name, "image": image}
    if argv:
        container["command"] = argv
    if port:
        container["readinessProbe"] = {"tcpSocket": {"port": port}, "periodSeconds": 1}
    template = {
        "metadata": {"labels": all_labels, "annotations": {_STATS: ".*", **(annotations or {})}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "serviceAccountName": account,
            "containers": [container],
        },
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": all_labels}, "template": template}
    return _document("apps/v1", "Deployment", name, namespace, spec)


def service(
    name: str,
    app: str,
    *ports: dict[str, object],
    namespace: str = "default",
    headless: bool = False,
) -> str:
    """``ports`` as Kubernetes has them."""
    spec: dict[str, object] = {"selector": {"app": app}, "ports": ports}
    if headless:
        spec["clusterIP"] = "None"
    return _document("v1", "Service", name, namespace, spec)


def namespace(name: str, labels: dict[str, str] | None = None) -> str:
    return _document("v1", "Namespace", name, "", None, labels)


def account(name: str, namespace: str = "default") -> str:
    return _document("v1", "ServiceAccount", name, namespace, None)


def virtual_service(name: str, http: str, hosts: str = "[echo]", **more: str) -> str:
    """``http`` is its list of rules."""
    written = "".join(f"\n  {key}: {value}" for key, value in more.items())
    indented = http.strip("\n").replace("\n", "\n  ")
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: {hosts}{written}
  http:
  {indented}
"""


def mesh_config(text: str) -> str:
    """MeshConfig where Istio keeps it."""
    indented = text.replace("\n", "\n    ")
    return f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data:
  mesh: |-
    {indented}
"""


def _document(
    version: str,
    kind: str,
    name: str,
    namespace: str,
    spec: object,
    labels: dict[str, str] | None = None,
) -> str:
    metadata: dict[str, object] = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    if labels:
        metadata["labels"] = labels
    document: dict[str, object] = {"apiVersion": version, "kind": kind, "metadata": metadata}
    if spec is not None:
        document["spec"] = spec
    return json.dumps(document) + "\n---\n"
