"""Every mistake in an EnvoyFilter, with the line of the value that it is in."""

import textwrap

import pytest

from argosy.api.decode import decode_yaml
from argosy.api.located import LocatedProblem, locate
from argosy.api.validate import validate
from argosy.base.problems import Severity

HEAD = """apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: test, namespace: default}
spec:
  configPatches:
"""
LUA = '{name: lua, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua}}'


def problems(patch: str, head: str = HEAD) -> list[LocatedProblem]:
    text = head + textwrap.indent(textwrap.dedent(patch).strip(), "  ")
    decoded = decode_yaml(text, "f.yaml")
    found = list(decoded.problems)
    for one in decoded.objects:
        found += [locate(problem, one) for problem in validate(one)]
    return found


def told(patch: str) -> list[tuple[int | None, str, Severity]]:
    return [(p.line, p.code, p.severity) for p in problems(patch)]


ERROR, WARNING = Severity.ERROR, Severity.WARNING


def value_of_lua(lines: str) -> str:
    return """
- applyTo: HTTP_FILTER
  match: {context: SIDECAR_INBOUND}
  patch:
    operation: INSERT_FIRST
    value:
      name: lua
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
""" + textwrap.indent(textwrap.dedent(lines).strip(), "        ")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("default_source_code: {inline_string: hello}", []),
        ("defaultSourceCode: {inlineString: hello}", []),
        ("default_sourcecode: {inline_string: hello}", [(14, "UnknownField", ERROR)]),
        ("default_source_code:\n  inline_string: 7", [(15, "WrongType", ERROR)]),
        ("default_source_code: hello", [(14, "WrongType", ERROR)]),
        (
            "default_source_code:\n  inline_string: a\n  filename: b",
            [(16, "ConflictingFields", ERROR)],
        ),
        ("clear_route_cache: 'true'", [(14, "WrongType", ERROR)]),
        (
            "default_source_code:\n  filename: 1\nwrong: 2\nclear_route_cache: 3",
            [(15, "WrongType", ERROR), (16, "UnknownField", ERROR), (17, "WrongType", ERROR)],
        ),
    ],
)
def test_each_mistake_in_a_value_has_its_line(
    lines: str, expected: list[tuple[int, str, Severity]]
) -> None:
    assert told(value_of_lua(lines)) == expected


def http_filter(value: str) -> str:
    return f"""
    - applyTo: HTTP_FILTER
      patch:
        operation: INSERT_FIRST
        value: {value}
    """


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("{name: lua, typed_config: {}}", [(9, "MissingTypeUrl", ERROR)]),
        ("{name: lua}", [(9, "MissingTypedConfig", ERROR)]),
        (LUA.replace("name: lua, ", ""), [(9, "MissingField", ERROR)]),
        (LUA.replace("lua.v3.Lua", "luna.v3.Luna"), [(9, "UnknownType", ERROR)]),
        # An extension that Envoy's API describes and that this build does not have.
        (
            '{name: x, typed_config: {"@type": type.googleapis.com/'
            "envoy.extensions.filters.http.sxg.v3alpha.SXG}}",
            [(9, "UnknownType", ERROR)],
        ),
        # https://istio.io/latest/docs/reference/config/networking/envoy-filter/ and Istio's tests
        # have these; they are compiled into Istio's own Envoy.
        (
            '{name: istio.stats, typed_config: {"@type": type.googleapis.com/stats.PluginConfig}}',
            [(9, "IstioOnlyFilter", WARNING)],
        ),
        (
            '{name: x, typed_config: {"@type": type.googleapis.com/udpa.type.v1.TypedStruct, '
            "type_url: type.googleapis.com/io.istio.http.peer_metadata.Config, value: {}}}",
            [(9, "IstioOnlyFilter", WARNING)],
        ),
        # The rules in Envoy's own API: a token bucket must have tokens.
        (
            '{name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.'
            "local_ratelimit.v3.LocalRateLimit, stat_prefix: x, token_bucket: {max_tokens: 0, "
            "fill_interval: 1s}}}",
            [(9, "InvalidValue", ERROR)],
        ),
    ],
)
def test_types_of_filters(value: str, expected: list[tuple[int, str, Severity]]) -> None:
    assert told(http_filter(value)) == expected


def test_a_field_of_a_newer_envoy_can_be_given_as_typed_struct() -> None:
    value = (
        '{name: x, typed_config: {"@type": type.googleapis.com/xds.type.v3.TypedStruct, '
        "type_url: type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua, "
        "value: {of_tomorrow: 1}}}"
    )
    assert told(http_filter(value)) == [(9, "UnknownField", WARNING)]


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        # https://istio.io/latest/docs/reference/config/analysis/ist0152 to ist0154
        ("applyTo: CLUSTER\npatch: {operation: REPLACE, value: {name: x}}", "InvalidReplace"),
        ("applyTo: ROUTE_CONFIGURATION\npatch: {operation: ADD, value: {}}", "InvalidAdd"),
        ("applyTo: ROUTE_CONFIGURATION\npatch: {operation: REMOVE}", "InvalidRemove"),
        ("applyTo: EXTENSION_CONFIG\npatch: {operation: MERGE, value: {}}", "InvalidOperation"),
        (
            "applyTo: CLUSTER\npatch: {operation: INSERT_BEFORE, value: {name: x}}",
            "OperationAsAdd",
        ),
        ("applyTo: CLUSTER\npatch: {operation: MERGE}", "MissingField"),
        ("applyTo: CLUSTER\npatch: {operation: REMOVE, value: {name: x}}", "NoEffect"),
        (
            "applyTo: CLUSTER\nmatch: {listener: {}}\npatch: {operation: REMOVE}",
            "ConflictingFields",
        ),
        (
            "applyTo: CLUSTER\nmatch: {cluster: {}, listener: {}}\npatch: {operation: REMOVE}",
            "ConflictingFields",
        ),
        (
            "applyTo: CLUSTER\nmatch: {proxy: {proxyVersion: '('}}\npatch: {operation: REMOVE}",
            "InvalidRegex",
        ),
        (
            f"applyTo: CLUSTER\nmatch: {{proxy: {{proxyVersion: {'a' * 1025}}}}}\n"
            "patch: {operation: REMOVE}",
            "InvalidRegex",
        ),
        (
            "applyTo: LISTENER\nmatch: {listener: {filterChain: {name: a}}}\n"
            "patch: {operation: REMOVE}",
            "NoEffect",
        ),
        (
            "applyTo: NETWORK_FILTER\nmatch: {listener: {filterChain: {filter: {name: a, "
            "subFilter: {name: b}}}}}\npatch: {operation: REMOVE}",
            "ConflictingFields",
        ),
        (
            "applyTo: HTTP_FILTER\nmatch: {listener: {filterChain: {filter: {name: a, "
            "subFilter: {name: b}}}}}\npatch: {operation: REMOVE}",
            "ConflictingFields",
        ),
        (
            "applyTo: NETWORK_FILTER\nmatch: {listener: {filterChain: {filter: {name: "
            "envoy.tcp_proxy}}}}\npatch: {operation: REMOVE}",
            "Deprecated",
        ),
        (
            "applyTo: NETWORK_FILTER\nmatch: {listener: {filterChain: {filter: {}}}}\n"
            "patch: {operation: REMOVE}",
            "MissingField",
        ),
        (
            "applyTo: CLUSTER\nmatch: {cluster: {name: a, service: b}}\npatch: {operation: REMOVE}",
            "NoEffect",
        ),
        (
            "applyTo: CLUSTER\npatch: {operation: MERGE, value: "
            "{circuit_breakers: {thresholds: [{max_retries: 1}]}}}",
            "ListAppended",
        ),
        ("applyTo: CLUSTER\npatch: {operation: MERGE, value: {name: ''}}", "DefaultNotMerged"),
        ("applyTo: CLUSTERS\npatch: {operation: MERGE, value: {}}", "InvalidValue"),
        ("applyTo: CLUSTER\npatches: {operation: REMOVE}", "UnknownField"),
        (
            "applyTo: CLUSTER\npatch: {operation: ADD, filterClass: AUTHN, value: "
            "{name: a, connect_timeout: 1s}}",
            "NoEffect",
        ),
    ],
)
def test_combinations_that_make_no_sense(patch: str, expected: str) -> None:
    lines = textwrap.indent(patch, "  ")
    found = problems("-" + lines[1:])
    assert expected in [problem.code for problem in found], found


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("{workloadSelector: {labels: {}}}", "EmptySelector"),
        ("{targetRefs: [{kind: Service, name: a}]}", "NoEffect"),
        ("{targetRefs: [{group: apps, kind: Deployment, name: a}]}", "InvalidValue"),
        (
            "{targetRefs: [{kind: Service, name: a}], workloadSelector: {labels: {a: b}}}",
            "ConflictingFields",
        ),
        ("{}", "NoEffect"),
        ("{priority: 3000000000}", "OutOfRange"),
    ],
)
def test_selection(spec: str, expected: str) -> None:
    head = HEAD.replace("spec:\n  configPatches:\n", f"spec: {spec}\n")
    assert expected in [problem.code for problem in problems("", head)]
