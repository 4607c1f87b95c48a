"""A Gateway at the ingress gateway and the rules bound to it, as YAML of the namespace default."""

import json


def server(
    name: str, *hosts: str, protocol: str = "HTTPS", **settings: object
) -> dict[str, object]:
    port = {"number": 443, "name": name, "protocol": protocol}
    return {"port": port, "tls": settings, "hosts": hosts}


def gateway(*servers: dict[str, object], name: str = "mygateway") -> str:
    spec = {"selector": {"istio": "ingressgateway"}, "servers": servers}
    return document("Gateway", name, spec)


def route(name: str, host: str, to: str, port: int, bound: str = "mygateway") -> str:
    destination = {"host": to, "port": {"number": port}}
    spec = {
        "hosts": [host],
        "gateways": [bound],
        "http": [{"route": [{"destination": destination}]}],
    }
    return document("VirtualService", name, spec)


def document(kind: str, name: str, spec: object) -> str:
    metadata = {"name": name, "namespace": "default"}
    version = "networking.istio.io/v1"
    return json.dumps({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec})
