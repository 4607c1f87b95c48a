"""Workloads as reports and suggestions know them."""

from typing import Any

import yaml

from argosy.cli.mesh_facts import workloads_of
from argosy.cli.snapshot import Snapshot

MESH = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  selector: SELECTOR
  template:
    metadata: {labels: {app: web, tier: front}}
    spec: {containers: [{name: web, image: "web:1"}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: web-1-a
  namespace: default
  labels: {app: web, tier: front, pod-template-hash: "1", security.istio.io/tlsMode: istio}
  ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web, uid: "1"}]
spec: {containers: [{name: web, image: "web:1"}]}
"""


def labels(selector: str) -> dict[str, str]:
    items: list[Any] = list(yaml.safe_load_all(MESH.replace("SELECTOR", selector)))
    (found,) = workloads_of(Snapshot(items))
    assert (found.title, found.proxy) == ("Deployment default/web", True)
    return dict(found.labels)


def test_a_workload_is_selected_as_it_selects_its_pods() -> None:
    assert labels("{matchLabels: {app: web}}") == {"app": "web"}


def test_a_workload_without_labels_of_its_selector_has_those_of_its_template() -> None:
    expressions = "{matchExpressions: [{key: app, operator: In, values: [web]}]}"
    assert labels(expressions) == {"app": "web", "tier": "front"}
