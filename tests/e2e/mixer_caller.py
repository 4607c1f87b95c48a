"""Run inside a workload: calls Mixer's gRPC server and prints the status that comes back.

Reads one JSON value: {"target", "roots", "certificate"?, "key"?, "method", "body"?}, certificates as
PEM and the body as base64.
"""

import base64
import json
import sys

import grpc

_NAME = "mixer.istio-system.svc"


def main() -> None:
    wanted = json.load(sys.stdin)
    credentials = grpc.ssl_channel_credentials(
        wanted["roots"].encode(),
        wanted["key"].encode() if wanted.get("key") else None,
        wanted["certificate"].encode() if wanted.get("certificate") else None,
    )
    options = (("grpc.ssl_target_name_override", _NAME),)
    with grpc.secure_channel(wanted["target"], credentials, options) as channel:
        try:
            body = base64.b64decode(wanted.get("body", ""))
            channel.unary_unary(wanted["method"])(body, timeout=10)
            code = "OK"
        except grpc.RpcError as error:
            code = error.code().name
    sys.stdout.write(f"{code}\n")


if __name__ == "__main__":
    main()
