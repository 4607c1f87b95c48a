"""Round trips of objects made at random from the structs' own types."""

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import inspect

from argosy.api import registry
from argosy.api.core import Secret
from argosy.api.decode import decode_json, decode_yaml
from argosy.api.encode import encode
from argosy.api.meta import Duration, Object
from argosy.api.networking_virtual_service import VirtualService
from argosy.api.typed import checked
from argosy.api.yaml_output import as_yaml

NAMES = st.from_regex(r"[a-z]([a-z0-9]{0,8}[a-z0-9])?", fullmatch=True)
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=8)


def values(info: inspect.Type) -> st.SearchStrategy[object]:
    """Wire data of a type."""
    match info:
        case inspect.StructType():
            fields = {field.encode_name: field for field in info.fields if field.name != "origin"}
            return st.fixed_dictionaries(
                {name: values(field.type) for name, field in fields.items() if field.required},
                optional={
                    n: values(field.type) for n, field in fields.items() if not field.required
                },
            )
        case inspect.VarTupleType():
            return st.lists(values(info.item_type), max_size=2)
        case inspect.DictType():
            return st.dictionaries(
                st.integers(0, 65535).map(str)
                if isinstance(info.key_type, inspect.IntType)
                else NAMES,
                values(info.value_type),
                max_size=2,
            )
        case inspect.UnionType():
            options = [option for option in info.types if not isinstance(option, inspect.NoneType)]
            return st.one_of([values(option) for option in options])
        case inspect.LiteralType():
            return st.sampled_from(info.values)
        case inspect.IntType():
            low = info.ge if info.ge is not None else -(2**31)
            return st.integers(int(low), int(info.le if info.le is not None else 2**31))
        case inspect.FloatType():
            return st.floats(allow_nan=False, allow_infinity=False, width=32)
        case inspect.BoolType():
            return st.booleans()
        case inspect.BytesType():
            return st.sampled_from(["", "YQ==", "AAEC"])
        case inspect.StrType():
            return TEXT
        case inspect.CustomType():
            return st.sampled_from(["0s", "1ms", "1.5s", "10s", "2h"])
        case inspect.AnyType():
            return st.none() | st.booleans() | NAMES | st.lists(NAMES, max_size=2)
    raise AssertionError(info)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, object]:
    entry = draw(st.sampled_from(registry.KINDS))
    data = draw(values(inspect.type_info(entry.struct)))
    assert isinstance(data, dict)
    metadata = {
        "name": draw(NAMES),
        "namespace": draw(NAMES),
        "labels": draw(st.dictionaries(NAMES, NAMES)),
    }
    return {**data, "apiVersion": entry.api_version, "kind": entry.kind, "metadata": metadata}


@given(documents())
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_all_that_the_types_allow_comes_back_equal(data: dict[str, object]) -> None:
    decoded = decode_json(data)
    assert decoded.problems == ()
    (obj,) = decoded.objects
    wire = encode(obj)
    assert decode_json(wire).objects == (obj,)
    assert checked(data, type(obj))[1] == []  # The slow twin agrees with msgspec.
    (again,) = decode_yaml(as_yaml(wire), "f").objects
    assert msgspec.structs.replace(again, origin=None) == obj
    assert encode(again) == wire


@pytest.mark.parametrize(
    "text",
    ["0E0", "1e5", "-1E-3", "0644", "089", "0o17", "0x1F", "0b1", "1_000", "5.", ".5", "+1", "yes",
     "y", "N", "off", "~", "", "null", "2026-01-01", "22:22", "=", "<<", ".inf", "a: b", "- a",
     "9" * 50, "1e999", "two\nlines", "\u2028", "\x85", " ", "#", "!a", "&a", "*a"],
)  # fmt: skip
def test_text_that_looks_like_something_else_stays_text(text: str) -> None:
    data = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a", "namespace": "default", "annotations": {"a": text}},
        "data": {"k": text},
    }
    (again,) = decode_yaml(as_yaml(data), "f").objects
    assert encode(again) == data


def test_the_wire_form_is_what_users_write() -> None:
    written = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "a", "namespace": "default"},
        "spec": {
            "hosts": ["a"],
            "http": [
                {
                    "route": [{"destination": {"host": "b", "port": {"number": 80}}, "weight": 1}],
                    "timeout": "1500ms",
                    "directResponse": {"status": 200, "body": {"bytes": "YQ=="}},
                    "corsPolicy": {"allowCredentials": False, "maxAge": "24h"},
                }
            ],
        },
    }
    (obj,) = decode_json(written).objects
    assert isinstance(obj, VirtualService)
    assert isinstance(obj.spec.http[0].timeout, Duration)
    wire = encode(obj)
    assert wire == written
    assert list(wire) == ["apiVersion", "kind", "metadata", "spec"]
    assert isinstance(wire["spec"]["hosts"], list)


def test_keys_that_are_numbers_and_secrets_survive() -> None:
    text = (
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a}\n"
        "spec: {portLevelMtls: {8080: {mode: STRICT}}}\n---\n"
        "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {k: AAEC}\n"
    )
    policy, secret = decode_yaml(text, "f").objects
    assert encode(policy)["spec"] == {"portLevelMtls": {"8080": {"mode": "STRICT"}}}
    assert isinstance(secret, Secret)
    assert secret.data == {"k": b"\x00\x01\x02"}
    assert encode(secret)["data"] == {"k": "AAEC"}


def test_the_key_is_that_of_the_object() -> None:
    (obj,) = decode_json(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}
    ).objects
    assert isinstance(obj, Object)
    assert str(obj.key) == "Namespace a"
