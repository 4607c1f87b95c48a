"""Random objects that the API admits, made from the types of the API itself.

Every field of every kind is written now and then, so a field that is new is tried without anybody
thinking of it. Values that mean something (hosts, ports, labels ...) come from ``WORDS`` by the
field's name, so that rules meet the services of the mesh and one another. What the API refuses
is taken out, until it refuses nothing.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec.inspect as inspecting
from hypothesis import strategies as st

from argosy.api import registry
from argosy.api.decode import decode_yaml
from argosy.api.meta import Object
from argosy.api.validate import validate
from argosy.base.problems import Severity
from argosy.testing.tokens import Issuer

HOSTS = ("reviews", "legacy.default.svc.cluster.local", "mysql.data.svc.cluster.local", "greeter")
FOREIGN = ("www.example.com", "api.example.com")
NAMESPACES = ("default", "data", "istio-system")
ISSUER = Issuer("https://issuer.example.com")
FILES = {
    "serverCertificate": "./certs/client.pem",
    "clientCertificate": "./certs/client.pem",
    "privateKey": "./certs/client.key",
    "caCertificates": "./certs/ca.pem",
    "caCrl": "./certs/ca.crl",
}
"""Files that whoever asks Envoy must put there."""

WORDS: Mapping[str, tuple[str, ...]] = {
    "host": (*HOSTS, *FOREIGN),
    "hosts": (
        *HOSTS,
        *FOREIGN,
        "*.example.com",
        "*",
        "./*",
        "data/*",
        "*/legacy.default.svc.cluster.local",
    ),
    "sniHosts": (*FOREIGN, "*.example.com"),
    "gateways": ("mesh", "edge", "default/edge"),
    "gateway": ("edge", "default/edge"),
    "subset": ("v1", "v2"),
    "exportTo": ("*", ".", "data"),
    "sourceNamespace": NAMESPACES,
    "protocol": ("HTTP", "HTTPS", "HTTP2", "GRPC", "TCP", "TLS", "MONGO", "GRPC-WEB", "HTTP_PROXY"),
    "addresses": ("10.77.0.1", "10.78.0.0/16"),
    "destinationSubnets": ("10.79.0.0/16", "10.80.0.1"),
    "sourceSubnet": ("10.81.0.0/16",),
    "address": ("10.82.0.1", "backend.example.com", "unix:///run/backend.sock"),
    "bind": ("", "127.0.0.1", "10.83.0.1"),
    "defaultEndpoint": ("127.0.0.1:8080", "0.0.0.0:9000", "unix:///run/app.sock"),
    "principals": ("*", "cluster.local/ns/data/sa/default", "*/sa/default", "cluster.local/ns/*"),
    "serviceAccounts": ("default", "data/default"),
    "trustDomains": ("cluster.local", "*"),
    "ipBlocks": ("10.84.0.0/16", "::1"),
    "paths": ("/a", "/a*", "*a", "/a/{*}/{**}", "*"),
    "methods": ("GET", "P*"),
    "locality": ("eu/eu-1/a", "us/us-2"),
    "from": ("eu/*", "eu/eu-1/*", "eu"),
    "to": ("us/*", "us"),
    "failoverPriority": ("topology.kubernetes.io/region", "version=v1"),
    "uri": ("/a", "/a/b"),
    "prefixRewrite": ("/c", "/"),
    "regex": ("/[a-c]+", "x|y"),
    "match": ("/[a-c]+", "(a)(b)"),
    "rewrite": ("/d", "/\\1"),
    "exact": ("/a", "jason"),
    "prefix": ("/", "/a"),
    "scheme": ("http", "https"),
    "retryOn": ("5xx,reset", "503", "gateway-error,connect-failure"),
    "allowMethods": ("GET", "PUT"),
    "bytes": ("aGVsbG8=",),
    "cipherSuites": ("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256"),
    "subjectAltNames": ("spiffe://cluster.local/ns/default/sa/default", "www.example.com"),
    "mode": ("DISABLE",),
    "namespace": NAMESPACES,
    "issuer": ("https://issuer.example.com", "testing@secure.istio.io"),
    "jwks": (ISSUER.key_set(), ""),
    "jwksUri": ("https://keys.example.com/a", ""),
    "jwks_uri": ("https://keys.example.com/b", ""),
    **{name: (file,) for name, file in FILES.items()},
    "": ("a", "b", "some-name"),
}
LABELS = (("app", "reviews"), ("version", "v1"), ("version", "v2"), ("app", "curl"))
NUMBERS: Mapping[str, tuple[int, ...]] = {
    "number": (80, 443, 8080, 9080, 7000, 3306),
    "port": (80, 443, 8080, 9080, 7000, 3306),
    "targetPort": (80, 443, 8080),
    "httpStatus": (418, 503),
    "status": (200, 503),
    "redirectCode": (302, 308),
    "minimumRingSize": (16, 1024),
    "tableSize": (101, 65537),
    "percent": (0, 20, 100),
    "": (1, 2, 10, 100),
}
DURATIONS = ("1s", "2.5s", "1m")
NEEDED = {"host", "hosts", "servers", "http", "route", "destination", "number", "name"}
"""Fields without which the API refuses most of what holds them."""

OWN_TESTS = ("EnvoyFilter",)
"""Kinds whose values the types do not tell: they have random tests of their own."""

KINDS = tuple(
    entry
    for entry in registry.KINDS
    if entry.group in (registry.NETWORKING, registry.SECURITY) and entry.kind not in OWN_TESTS
)
_STEP = re.compile(r'\.?([^.\[\]"]+)|\[(\d+)\]|\["([^"]*)"\]')


@st.composite
def objects(draw: st.DrawFn, most: int = 5) -> tuple[Object, ...]:
    """Objects of any of ``KINDS``, none of which has an error."""
    count = draw(st.integers(1, most))
    found = [draw(one(draw(st.sampled_from(KINDS)), f"random-{i}")) for i in range(count)]
    return tuple(one for one in found if one is not None)


@st.composite
def one(draw: st.DrawFn, entry: registry.Registered, name: str) -> Object | None:
    struct = inspecting.type_info(entry.struct)
    assert isinstance(struct, inspecting.StructType)
    spec_type = next(f.type for f in struct.fields if f.name == "spec")
    spec = draw(_value(spec_type, "spec", 0))
    namespace = draw(st.sampled_from(NAMESPACES))
    data = {
        "apiVersion": entry.api_version,
        "kind": entry.kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }
    return _repaired(data)


def _repaired(data: dict[str, Any]) -> Object | None:
    """``data`` without what the API refuses; None when nothing would be left."""
    for _ in range(60):
        decoded = decode_yaml(json.dumps(data), "random.yaml")
        paths = [p.field for p in decoded.errors]
        if not paths and decoded.objects:
            (found,) = decoded.objects
            paths = [p.field for p in validate(found) if _is_error(p.severity)]
            if not paths:
                return found
        if not paths or not all(_remove(data, path) for path in paths[:1]):
            break
    return None


def _is_error(severity: Severity) -> bool:
    return severity is Severity.ERROR


def _remove(data: Any, path: str) -> bool:
    """Take out what is at ``path``, or what holds it when there is nothing; False at the top."""
    steps: list[str | int] = [
        int(index) if index else key or quoted for key, index, quoted in _STEP.findall(path)
    ]
    while len(steps) > 1:
        holder = data
        try:
            for step in steps[:-1]:
                holder = holder[step]
            del holder[steps[-1]]
        except (LookupError, TypeError):
            steps.pop()
        else:
            return True
    return False


@st.composite
def _value(draw: st.DrawFn, kind: inspecting.Type, name: str, depth: int) -> Any:
    match kind:
        case inspecting.UnionType(types=types):
            return draw(
                _value(draw(st.sampled_from([t for t in types if _is_some(t)])), name, depth)
            )
        case inspecting.StructType(fields=fields):
            return draw(_struct(fields, depth))
        case inspecting.VarTupleType(item_type=item) | inspecting.ListType(item_type=item):
            most = 2 if depth < 6 else 1
            return [draw(_value(item, name, depth)) for _ in range(draw(st.integers(1, most)))]
        case inspecting.DictType(value_type=inspecting.StrType()):
            return dict([draw(st.sampled_from(LABELS))])
        case inspecting.DictType(value_type=value):
            return {draw(st.sampled_from(("eu/*", "x-kind"))): draw(_value(value, name, depth))}
        case inspecting.LiteralType(values=values):
            return draw(st.sampled_from(values))
        case inspecting.BoolType():
            return draw(st.booleans())
        case inspecting.IntType():
            return draw(st.sampled_from(NUMBERS.get(name, NUMBERS[""])))
        case inspecting.FloatType():
            return draw(st.sampled_from((0.0, 50.0, 100.0)))
        case inspecting.StrType():
            return draw(st.sampled_from(WORDS.get(name, WORDS[""])))
        case inspecting.CustomType():
            return draw(st.sampled_from(DURATIONS))
    return "any"


@st.composite
def _struct(draw: st.DrawFn, fields: tuple[inspecting.Field, ...], depth: int) -> dict[str, Any]:
    """Required fields always, of the others fewer the deeper they are."""
    chance = 2 if depth < 3 else 3
    return {
        field.encode_name: draw(_value(field.type, field.encode_name, depth + 1))
        for field in fields
        if field.required or field.encode_name in NEEDED or draw(st.integers(1, chance)) == 1
    }


def _is_some(kind: inspecting.Type) -> bool:
    return not isinstance(kind, inspecting.NoneType)
