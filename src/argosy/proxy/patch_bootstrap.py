"""``python -m argosy.proxy.patch_bootstrap``: patches on a bootstrap, JSON in, JSON out.

Run in the directory of an Envoy. Each patch is tried with that Envoy; one that it refuses is left
out, alone.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from argosy.api.envoy_value import envoy_value
from argosy.base.envoy_rules import violations
from argosy.base.problems import Severity
from argosy.pilot.translate.proto_merge import merge
from argosy.proxy.envoy import envoy_path

Json = dict[str, Any]
_TRIAL = Path("envoy.trial.json")
_SECONDS = 30


def patch(bootstrap: Json, patches: list[Json]) -> tuple[Json, list[str]]:
    """The patched bootstrap, and why which patches were left out."""
    base = envoy_value("BOOTSTRAP", bootstrap, "bootstrap").message
    assert base is not None, "the bootstrap is our own"
    refused = []
    for one in patches:
        path = f"{one['object']} spec.configPatches[{one['index']}].patch.value"
        value = envoy_value("BOOTSTRAP", one["value"], "", merged=True)
        if value.message is None:
            wrong = [m.message for m in value.mistakes if m.severity is Severity.ERROR]
            refused.append(f"{path}: {'; '.join(wrong) or 'only for Istio'}")
            continue
        trial = type(base)()
        trial.CopyFrom(base)
        merge(trial, value.message, replace_lists=one["operation"] == "MERGE_AND_REPLACE_LIST")
        why = "; ".join(f"{where}: {reason}" for where, reason in violations(trial))
        why = why or _envoy_refuses(trial)
        if why:
            refused.append(f"{path}: {why}")
        else:
            base = trial
    return _plain(base), refused


def _plain(message: Message) -> Json:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def _envoy_refuses(bootstrap: Message) -> str:
    _TRIAL.write_text(json.dumps(_plain(bootstrap)))
    try:
        done = subprocess.run(
            [str(envoy_path()), "--mode", "validate", "-c", str(_TRIAL), "--log-level", "error"],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "Envoy did not come to an end with it"
    finally:
        _TRIAL.unlink()
    return (done.stderr or done.stdout).strip()[-500:] if done.returncode else ""


def main() -> None:
    asked = json.load(sys.stdin)
    bootstrap, refused = patch(asked["bootstrap"], asked["patches"])
    json.dump({"bootstrap": bootstrap, "refused": refused}, sys.stdout)


if __name__ == "__main__":
    main()
