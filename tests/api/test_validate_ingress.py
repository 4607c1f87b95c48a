"""What one Ingress alone shows to be wrong."""

import pytest

from argosy.api.decode import decode_yaml
from argosy.api.validate import validate

GOOD = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop}
spec:
  rules:
  - host: "*.example.com"
    http:
      paths: [{path: /shop, pathType: Prefix, backend: {service: {name: shop, port: {number: 80}}}}]
"""


def codes(text: str) -> list[tuple[str, str]]:
    decoded = decode_yaml(text, "test.yaml")
    (found,) = decoded.objects
    return [(problem.field, problem.code) for problem in validate(found)]


def test_a_good_one_has_no_mistakes() -> None:
    assert codes(GOOD) == []


@pytest.mark.parametrize(
    ("written", "instead", "field", "code"),
    [
        ("/shop", "shop", "spec.rules[0].http.paths[0].path", "InvalidValue"),
        ("/shop", "/a//b", "spec.rules[0].http.paths[0].path", "InvalidValue"),
        ('"*.example.com"', "10.0.0.1", "spec.rules[0].host", "InvalidHost"),
        ('"*.example.com"', "a.*.com", "spec.rules[0].host", "InvalidHost"),
        ("name: shop, port", "name: Shop_1, port", "service.name", "InvalidName"),
        ("{number: 80}", "{}", "service.port", "MissingField"),
        ("{number: 80}", "{number: 80, name: http}", "service.port", "MissingField"),
        ("{number: 80}", "{number: 70000}", "service.port.number", "InvalidPort"),
        ("service: {name: shop, port: {number: 80}}", "", "backend", "MissingField"),
    ],
)
def test_mistakes(written: str, instead: str, field: str, code: str) -> None:
    ((where, found),) = codes(GOOD.replace(written, instead))
    assert where.endswith(field)
    assert found == code


def test_nothing_to_route() -> None:
    empty = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: x}\nspec: {}"
    assert codes(empty) == [("spec", "MissingField")]


def test_a_class_has_a_controller() -> None:
    text = "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: x}\nspec: {}"
    assert codes(text) == [("spec.controller", "MissingField")]


@pytest.mark.parametrize(
    ("controller", "expected"),
    [
        ("istio.io/ingress-controller", [("spec.parameters", "NoEffect")]),
        ("example.com/other", []),
    ],
)
def test_parameters_are_for_other_controllers(
    controller: str, expected: list[tuple[str, str]]
) -> None:
    text = (
        "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: x}\n"
        f"spec: {{controller: {controller}, parameters: {{kind: ConfigMap, name: own}}}}"
    )
    assert codes(text) == expected
