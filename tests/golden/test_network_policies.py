"""NetworkPolicies, pods and namespaces in; the rules of some pods out, as ``nft`` reads them.

A case is ``network_policies/<name>.yaml``. Its first document says of which pods the rules are
shown, as ``pods: [namespace/name]``; the others are the objects. ``<name>.rules.nft`` is what must
come out.
"""

from pathlib import Path

import pytest
import yaml

from argosy.api.core_pod import Pod
from argosy.api.decode import decode_yaml
from argosy.proxy import capture
from argosy.proxy.node_cluster import Cluster
from argosy.testing.golden import Golden

FOLDER = Path(__file__).parent / "network_policies"
CASES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, golden: Golden) -> None:
    header, _, rest = (FOLDER / f"{name}.yaml").read_text().partition("\n---\n")
    decoded = decode_yaml(rest, f"{name}.yaml")
    assert not decoded.problems, decoded.problems
    cluster = Cluster()
    for value in decoded.objects:
        cluster.put(value)
    parts = []
    for shown in yaml.safe_load(header)["pods"]:
        pod = cluster.get(Pod, *shown.split("/"))
        assert pod is not None, shown
        parts.append(f"# {shown}\n{capture.text(cluster.policy(pod))}")
    golden.check(FOLDER / f"{name}.rules.nft", "\n".join(parts))
