import time

import msgspec
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from argosy.api import registry
from argosy.api.core import Service
from argosy.api.decode import MAX_FILE_BYTES, Decoded, decode_files, decode_json, decode_yaml
from argosy.api.encode import encode
from argosy.api.networking_virtual_service import VirtualService
from argosy.api.validate import validate
from argosy.base.problems import Severity

GOOD = """\
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata:
  name: reviews
  labels: {app: reviews}
spec:
  hosts: [reviews]
  http:
  - match:
    - headers:
        end-user:
          exact: jason
    route:
    - destination: {host: reviews, subset: v2}
      weight: 80
    timeout: 1.5s
    retries:
      attempts: 3
      perTryTimeout: 500ms
"""

HEAD = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n"


def test_a_good_object() -> None:
    decoded = decode_yaml(GOOD, "reviews.yaml")
    assert decoded.problems == ()
    (obj,) = decoded.objects
    assert isinstance(obj, VirtualService)
    assert obj.api_version == "networking.istio.io/v1"
    assert str(obj.key) == "VirtualService default/reviews"
    route = obj.spec.http[0]
    assert route.timeout == 1500
    assert route.retries is not None
    assert route.retries.per_try_timeout == 500
    assert route.match[0].headers["end-user"].exact == "jason"
    assert obj.origin is not None
    assert (obj.origin.file, obj.origin.line) == ("reviews.yaml", 1)
    assert obj.origin.fields["spec.http[0].route[0].weight"] == 15


def test_the_namespace_is_that_of_the_caller_unless_written() -> None:
    text = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a}\n---\n" + (
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a, namespace: b}\n---\n"
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: c}\n"
    )
    decoded = decode_yaml(text, "f", namespace="bar")
    assert decoded.problems == ()
    assert [obj.metadata.namespace for obj in decoded.objects] == ["bar", "b", ""]


@pytest.mark.parametrize(
    ("text", "line", "field", "code", "hint"),
    [
        # Headers
        ("kind: Service\nmetadata: {name: a}\n", 1, "apiVersion", "MissingField", "apiVersion"),
        ("apiVersion: v1\nmetadata: {name: a}\n", 1, "kind", "MissingField", "kind"),
        ("apiVersion: v1\nKind: Service\n", 1, "kind", "MissingField", 'Rename "Kind"'),
        ("apiVersion: 1\nkind: Service\n", 1, "apiVersion", "WrongType", ""),
        ("\n\napiVersion: v1\nkind: Servce\nmetadata: {name: a}\n", 4, "kind", "UnknownKind", "Service"),
        ("apiVersion: v1\nkind: Frobnicator\n", 2, "kind", "UnsupportedKind", "Supported kinds"),
        ("apiVersion: batch/v1\nkind: Job\n", 2, "kind", "UnsupportedKind", ""),
        ("apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\n", 2, "kind", "UnsupportedKind", ""),
        ("apiVersion: apps/v1beta1\nkind: Deployment\n", 1, "apiVersion", "UnknownVersion", "apps/v1"),
        ("apiVersion: v1\nkind: Deployment\n", 1, "apiVersion", "UnknownVersion", "apps/v1"),
        ("- 3\n", 1, "", "NotAnObject", ""),
        ("just text\n", 1, "", "NotAnObject", ""),
        # Metadata
        ("apiVersion: v1\nkind: Service\n", 1, "metadata.name", "MissingName", ""),
        ("apiVersion: v1\nkind: Service\nmetadata:\n  generateName: a-\n", 3, "metadata.name", "MissingName", "write a name"),
        ("apiVersion: v1\nkind: Service\nmetadata:\n  name: My_Service\n", 4, "metadata.name", "InvalidName", "63"),
        ("apiVersion: v1\nkind: Service\nmetadata:\n  name: a.b\n", 4, "metadata.name", "InvalidName", "63"),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: B}\n", 3, "metadata.namespace", "InvalidName", ""),
        ("apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n  labels:\n    app: -x\n", 6, "metadata.labels.app", "InvalidLabel", ""),
        ("apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n  labels:\n    -x/y: z\n", 6, "metadata.labels.-x/y", "InvalidLabel", ""),
        ("apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n  labels:\n    v: 1\n", 6, "metadata.labels.v", "WrongType", '"1"'),
        ("apiVersion: v1\nkind: Service\nmetadata: []\n", 3, "metadata", "WrongType", ""),
        # Types
        (HEAD + "  hsots: [a]\n", 5, "spec.hsots", "UnknownField", '"hosts"'),
        (HEAD + "  hosts: [a]\n  http:\n  - route:\n    - destination:\n        host: a\n        subst: b\n", 10, "spec.http[0].route[0].destination.subst", "UnknownField", '"subset"'),
        (HEAD + "  http:\n  - retries:\n      per_try_timeout: 2s\n", 7, "spec.http[0].retries.per_try_timeout", "UnknownField", "perTryTimeout"),
        (HEAD + "  hosts: a\n", 5, "spec.hosts", "WrongType", '"- "'),
        (HEAD + "  - hosts: [a]\n", 4, "spec", "WrongType", ""),
        (HEAD + "  http:\n  - timeout: 10\n", 6, "spec.http[0].timeout", "WrongType", "10s"),
        (HEAD + "  http:\n  - timeout: 10 s\n", 6, "spec.http[0].timeout", "InvalidDuration", "10s"),
        (HEAD + "  http:\n  - route:\n    - weight: '80'\n      destination: {host: a}\n", 7, "spec.http[0].route[0].weight", "WrongType", "without quotes"),
        (HEAD + "  http:\n  - route:\n    - destination: {}\n", 7, "spec.http[0].route[0].destination.host", "MissingField", ""),
        (HEAD + "  http:\n  - corsPolicy: {unmatchedPreflights: ignore}\n", 6, "spec.http[0].corsPolicy.unmatchedPreflights", "InvalidValue", "IGNORE"),
        (HEAD + "  http:\n  - match:\n    - port: -1\n", 7, "spec.http[0].match[0].port", "OutOfRange", ""),
        (HEAD + "  http:\n  - match:\n    - uri: {exact: yes}\n", 7, "spec.http[0].match[0].uri.exact", "WrongType", "quotes"),
        (HEAD + "  http:\n  - directResponse: {status: 200, body: {bytes: '@'}}\n", 6, "spec.http[0].directResponse.body.bytes", "InvalidBase64", "base64"),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  type: LoadBalncer\n", 5, "spec.type", "InvalidValue", "LoadBalancer"),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nsepc: {}\n", 4, "sepc", "UnknownField", "spec"),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: a}\norigin: {file: /etc/passwd, line: 3}\n", 4, "origin", "UnknownField", ""),
        ("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata:\n  key: not base64\n", 5, "data.key", "InvalidBase64", "stringData"),
        ("apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a}\nspec:\n  portLevelMtls:\n    http: {mode: STRICT}\n", 6, "spec.portLevelMtls.http", "WrongType", ""),
        # YAML
        (HEAD + "  hosts: [a]\n  hosts: [b]\n", 6, "spec.hosts", "DuplicateKey", ""),
        (HEAD + "\thosts: [a]\n", 5, "", "InvalidYaml", "spaces"),
    ],
)  # fmt: skip
def test_bad_input(text: str, line: int, field: str, code: str, hint: str) -> None:
    decoded = decode_yaml(text, "bad.yaml")
    assert decoded.objects == ()
    found = [(p.file, p.line, p.field, p.code) for p in decoded.problems]
    assert found == [("bad.yaml", line, field, code)]
    (problem,) = decoded.problems
    assert problem.severity is Severity.ERROR
    assert problem.message
    assert hint in problem.hint


def test_every_mistake_of_every_document_is_told_and_good_ones_are_kept() -> None:
    text = "---\n".join(
        [
            HEAD + "  hsots: [a]\n  http:\n  - timeout: soon\n    route:\n    - weight: x\n",
            "a: [\n",
            GOOD,
            "apiVersion: v1\nkind: Servce\nmetadata: {name: A}\n",
        ]
    )
    decoded = decode_yaml(text, "f.yaml")
    assert [obj.metadata.name for obj in decoded.objects] == ["reviews"]
    assert [(p.line, p.field, p.code) for p in decoded.problems] == [
        (5, "spec.hsots", "UnknownField"),
        (7, "spec.http[0].timeout", "InvalidDuration"),
        (9, "spec.http[0].route[0].weight", "WrongType"),
        (9, "spec.http[0].route[0].destination", "MissingField"),
        (12, "", "InvalidYaml"),
        (34, "kind", "UnknownKind"),
    ]
    assert str(decoded.problems[0]).startswith("f.yaml:5: VirtualService default/a: spec.hsots: ")


def test_unknown_fields_of_kubernetes_kinds_are_warnings() -> None:
    text = (
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n"
        "spec:\n  prots: []\n  ports: [{port: 80}]\n"
    )
    decoded = decode_yaml(text, "f")
    (problem,) = decoded.problems
    assert (problem.severity, problem.line, problem.code) == (Severity.WARNING, 5, "UnknownField")
    assert '"ports"' in problem.hint
    assert decoded.errors == ()
    (service,) = decoded.objects
    assert isinstance(service, Service)
    assert service.spec.ports[0].port == 80
    assert service.origin is not None


@pytest.mark.parametrize("field", ["data", "stringData"])
def test_problems_do_not_show_the_values_of_secrets(field: str) -> None:
    head = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n"
    for value in ("271828", "[271828]", "hunter271828 2"):
        decoded = decode_yaml(f"{head}{field}:\n  pin: {value}\n", "f")
        for problem in decoded.problems:
            assert (problem.line, problem.field) == (5, f"{field}.pin")
            assert "271828" not in str(problem)
        assert bool(decoded.problems) == (value[0] != "h" or field == "data")


def test_null_is_not_written() -> None:
    text = (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a, creationTimestamp: null}\n"
        "spec:\n  selector:\n  template:\n    metadata: {annotations: {x: null}}\n"
    )
    decoded = decode_yaml(text, "f")
    assert decoded.problems == ()
    (obj,) = decoded.objects
    assert encode(obj)["spec"] == {"template": {"metadata": {"annotations": {"x": ""}}}}


def test_duplicates_name_the_first_one_across_files() -> None:
    decoded = decode_files([("one.yaml", GOOD), ("two.yaml", "\n" + GOOD)])
    assert len(decoded.objects) == 1
    (problem,) = decoded.problems
    assert (problem.file, problem.line, problem.code) == ("two.yaml", 5, "DuplicateObject")
    assert "one.yaml:1" in problem.message


def test_objects_of_the_same_name_in_other_namespaces_are_not_duplicates() -> None:
    other = GOOD.replace("  name: reviews\n", "  name: reviews\n  namespace: foo\n")
    assert len(decode_files([("a", GOOD), ("b", other)]).objects) == 2


def test_lists() -> None:
    text = (
        "apiVersion: v1\nkind: List\nitems:\n"
        "- apiVersion: v1\n  kind: ServiceAccount\n  metadata: {name: a}\n"
        "- apiVersion: v1\n  kind: Service\n  metadata:\n    name: b\n  spec: {ports: [{port: x}]}\n"
        "- 3\n"
    )
    decoded = decode_yaml(text, "f")
    (account,) = decoded.objects
    assert account.origin is not None
    assert (account.origin.line, account.origin.fields["metadata"]) == (4, 6)
    assert [(p.line, p.field, p.code) for p in decoded.problems] == [
        (11, "spec.ports[0].port", "WrongType"),
        (12, "", "NotAnObject"),
    ]


@pytest.mark.parametrize(
    ("content", "code", "severity"),
    [
        (b"\x7fELF\x02\x01\x00\x00", "BinaryFile", Severity.ERROR),
        (b"\xff\xfe\xfa", "BinaryFile", Severity.ERROR),
        ("a: \0", "BinaryFile", Severity.ERROR),
        (b"", "EmptyFile", Severity.WARNING),
        (b"# nothing\n---\n# here\n", "EmptyFile", Severity.WARNING),
        (b"#" * (MAX_FILE_BYTES + 1), "FileTooLarge", Severity.ERROR),
    ],
)
def test_files_that_hold_nothing_usable(
    content: bytes | str, code: str, severity: Severity
) -> None:
    decoded = decode_yaml(content, "f")
    assert [(p.file, p.object, p.code, p.severity) for p in decoded.problems] == [
        ("f", None, code, severity)
    ]


@pytest.mark.parametrize("unit", ["[", "{", "a: b\n", "- a\n", "? a\n", "&a ", "%a\n", "'", "\t", "---\n", "a", "*a\n", "!a "])  # fmt: skip
def test_ten_megabytes_of_anything_are_read_in_bounded_time(unit: str) -> None:
    started = time.process_time()
    decoded = decode_yaml(unit * (10_000_000 // len(unit)), "big")
    assert decoded.objects == ()
    assert decoded.problems
    assert time.process_time() - started < 20


@pytest.mark.parametrize(
    ("head", "unit", "tail"),
    [
        ("a: [", "a,", "]"),
        ("a: [", "[],", "]"),
        ("", "a: b\n", ""),
        ("", "? a\n", ""),
        ("a:\n", " - &a a\n - *a\n", ""),
        ("kind: List\nitems: [", "{a: 1},", "]"),
        ("kind: List\nitems: [", "{kind: List, items: []},", "]"),
        (HEAD + "  http:\n", "  - mtch: 3\n", ""),
        (HEAD + "  hosts:\n", "  - '*.a'\n", ""),
    ],
)
def test_a_document_of_countless_values_is_refused(head: str, unit: str, tail: str) -> None:
    started = time.process_time()
    decoded = decode_yaml(head + unit * (3_000_000 // len(unit)) + tail, "big")
    assert decoded.objects == ()
    assert [p.code for p in decoded.problems] in (["TooManyValues"], ["TooManyAliases"])
    assert time.process_time() - started < 10


def test_many_big_documents_are_refused_together() -> None:
    text = "\n---\n".join(["a: [" + "a," * 90_000 + "]"] * 40)
    started = time.process_time()
    codes = [p.code for p in decode_yaml(text, "big").problems]
    assert time.process_time() - started < 30
    assert codes.count("TooManyValues") == 40 - 11


def test_many_problems_of_a_file_are_cut() -> None:
    decoded = decode_yaml("kind: x\n---\n" * 3000, "f")
    assert len(decoded.problems) == 1001
    assert decoded.problems[-1].code == "MoreProblems"


def test_ten_megabytes_of_good_objects_are_read() -> None:
    document = GOOD + "# " + "x" * 10_000 + "\n"
    text = "---\n".join(document.replace("name: reviews", f"name: r{i}") for i in range(950))
    assert 9_000_000 < len(text) < MAX_FILE_BYTES
    decoded = decode_yaml(text, "big")
    assert (len(decoded.objects), decoded.problems) == (950, ())


def test_many_mistakes_are_counted_not_listed() -> None:
    fields = "".join(f"  field{i}: 1\n" for i in range(20_000))
    started = time.process_time()
    decoded = decode_yaml(HEAD + fields, "f")
    assert time.process_time() - started < 10
    assert len(decoded.problems) == 201
    assert decoded.problems[-1].code == "MoreProblems"


def test_a_thousand_virtual_services_take_less_than_one_and_a_half_milliseconds_each() -> None:
    text = "---\n".join(GOOD.replace("name: reviews", f"name: r{i}") for i in range(1000))
    started = time.process_time()
    decoded = decode_yaml(text, "f")
    assert time.process_time() - started < 1.5
    assert len(decoded.objects) == 1000


def test_json_has_the_same_problems_without_lines() -> None:
    decoded = decode_json(b'{"apiVersion":"v1","kind":"Service","metadata":{"name":"A"}}')
    assert [(p.line, p.field, p.code) for p in decoded.problems] == [
        (None, "metadata.name", "InvalidName")
    ]
    good = decode_json({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}})
    assert good.problems == ()
    assert good.objects[0].origin is None


@pytest.mark.parametrize("text", ["", "{", "nope", '{"a":1}x', "[" * 100_000, b"\xff", "3"])
def test_what_is_no_json_object(text: str | bytes) -> None:
    decoded = decode_json(text)
    assert decoded.objects == ()
    assert [p.code for p in decoded.problems] in (["InvalidJson"], ["NotAnObject"])


def check(decoded: Decoded) -> None:
    for problem in decoded.problems:
        assert problem.code
        assert problem.message
        assert problem.line is None or problem.line >= 1
    for obj in decoded.objects:
        validate(obj)
        again = decode_json(encode(obj))
        assert again.errors == ()
        assert again.objects == (msgspec.structs.replace(obj, origin=None),)


@given(st.text() | st.binary())
@settings(max_examples=300, deadline=None)
@example("\u2028a: b")
@example("a: \ud800")
@example("? \n: \n? ")
@example("--- !!set {a, b}")
@example("%TAG ! tag:x,2000:\n---\na: !b c")
def test_decoding_random_files_never_crashes(content: str | bytes) -> None:
    check(decode_yaml(content, "f"))
    check(decode_json(content))


WORDS = st.sampled_from(
    [
        "apiVersion",
        "kind",
        "metadata",
        "name",
        "namespace",
        "labels",
        "spec",
        "hosts",
        "http",
        "route",
        "destination",
        "host",
        "subset",
        "weight",
        "match",
        "uri",
        "exact",
        "prefix",
        "headers",
        "timeout",
        "retries",
        "attempts",
        "ports",
        "port",
        "items",
        "data",
        "origin",
        "selector",
        "template",
        "containers",
        "tls",
        "mode",
        "servers",
        "trafficPolicy",
        "loadBalancer",
    ]
)
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | WORDS
    | st.sampled_from(["v1", "10s", "STRICT", "80", "*"])
)  # fmt: skip
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=4), inner, max_size=6),
    max_leaves=30,
)  # fmt: skip


@given(st.sampled_from(registry.KINDS), TREES, TREES)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_decoding_random_objects_never_crashes(
    entry: registry.Registered, metadata: object, spec: object
) -> None:
    data = {
        "apiVersion": entry.api_version,
        "kind": entry.kind,
        "metadata": metadata,
        "spec": spec,
        "data": spec,
        "status": metadata,
    }
    check(decode_json(data))
    check(decode_yaml(yaml.safe_dump(data, allow_unicode=True), "f"))


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 12), st.text(max_size=6))
@settings(max_examples=300, deadline=None)
def test_a_file_with_a_typing_error_never_crashes(start: int, length: int, typed: str) -> None:
    check(decode_yaml(GOOD[:start] + typed + GOOD[start + length :], "f"))
