"""What a request costs when policies of more and more rules look at it.

One client, and servers that differ in the number of rules that their AuthorizationPolicy has; the last
rule is the one that allows. Short bursts go round all servers, one without a policy is measured twice, and
ratios are of the same round.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from bench import alternating, machine
from bench.data_plane import NAMESPACE, Load
from bench.running_mesh import Generator, mesh

RULES = (1, 10, 100, 1000)
_NONE, _AGAIN = "none", "none_again"
_SERVERS = (_NONE, *(f"rules-{count}" for count in RULES))

FULL = Load("steady", rate=300, connections=16, seconds=1.5, rounds=15)
QUICK = Load("steady", rate=300, connections=16, seconds=0.5, rounds=3)

Json = dict[str, Any]


def measure(load: Load) -> Json:
    """The server proxy's processor time for a request, and the median latency, as ratios to none."""
    with mesh() as inside, ExitStack() as stack:
        policies = [_policy(f"rules-{count}", count) for count in RULES]
        alternating.start(inside, _SERVERS, more=policies)
        client = stack.enter_context(Generator(inside, NAMESPACE, "deploy/client"))
        paths = {name: alternating.path(inside, client, name) for name in _SERVERS}
        paths[_AGAIN] = paths[_NONE]
        rounds = alternating.rounds_of(paths, load)
    return {
        "machine": machine.facts(),
        "rounds": load.rounds,
        "rate": load.rate,
        "to_none": {
            name: alternating.ratios(rounds, name, _NONE, _server_cpu)
            for name in paths
            if name != _NONE
        },
    }


def _server_cpu(found: Mapping[str, Any]) -> float:
    return float(found["proxy_cpu"]["server"])


def _policy(name: str, count: int) -> Json:
    """Rules of the usual kind, who and what; all but the last are for others."""
    rules = [
        {
            "from": [{"source": {"principals": [f"cluster.local/ns/{NAMESPACE}/sa/{who}"]}}],
            "to": [{"operation": {"methods": ["GET"], "paths": ["/", f"/{who}/*"]}}],
        }
        for who in (*(f"other-{number}" for number in range(count - 1)), "default")
    ]
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"selector": {"matchLabels": {"app": name}}, "rules": rules},
    }
