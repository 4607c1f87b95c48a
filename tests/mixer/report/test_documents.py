"""A report for other programs and for browsers."""

import json
from html.parser import HTMLParser

import jsonschema
import pytest

from argosy.mixer.report.documents import as_json, as_sarif
from argosy.mixer.report.facts import Checked, Edge, Facts, GatewayServer, Problem
from argosy.mixer.report.findings import RULES, Place
from argosy.mixer.report.page import page
from argosy.mixer.report.report import Report, report

EVIL = '<script>alert("x")</script>&'
FACTS = Facts(
    mesh=EVIL,
    version="0.1.0",
    moment="2026-11-30T16:00:00Z",
    gateways=(GatewayServer("default", "g", 0, 80, "HTTP", False, Place("a dir/g.yaml", 7)),),
    objects=(
        Checked(
            "Service", "default", "a", (Problem("error", "X", "spec", EVIL, "do it", Place("/abs/s.yaml", 2)),)
        ),
        Checked("Service", "other", "b", (Problem("info", "Y", "", "hm", "well", Place("-", 0)),)),
    ),
    edges=(Edge("default", "a", "default", "b", "b", 9, 1, 10),),
    since=3600,
    unmeasured=(f"who called what: {EVIL}",),
)  # fmt: skip

TEXT = {
    "type": "object",
    "required": ["text"],
    "properties": {"text": {"type": "string", "minLength": 1}},
}
LEVEL = {"enum": ["none", "note", "warning", "error"]}
SARIF = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "required": ["version", "runs"],
    "additionalProperties": False,
    "properties": {
        "$schema": {"type": "string", "format": "uri"},
        "version": {"const": "2.1.0"},
        "runs": {"type": "array", "minItems": 1, "items": {"$ref": "#/definitions/run"}},
    },
    "definitions": {
        "run": {
            "type": "object",
            "required": ["tool"],
            "additionalProperties": False,
            "properties": {
                "tool": {
                    "type": "object",
                    "required": ["driver"],
                    "additionalProperties": False,
                    "properties": {"driver": {"$ref": "#/definitions/driver"}},
                },
                "automationDetails": {"type": "object", "properties": {"id": {"type": "string"}}},
                "invocations": {"type": "array", "items": {"$ref": "#/definitions/invocation"}},
                "results": {"type": "array", "items": {"$ref": "#/definitions/result"}},
                "properties": {"type": "object"},
            },
        },
        "driver": {
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {
                "name": {"type": "string"},
                "semanticVersion": {"type": "string"},
                "rules": {
                    "type": "array",
                    "uniqueItems": True,
                    "items": {
                        "type": "object",
                        "required": ["id"],
                        "additionalProperties": False,
                        "properties": {
                            "id": {"type": "string"},
                            "name": {"type": "string"},
                            "shortDescription": TEXT,
                            "fullDescription": TEXT,
                            "defaultConfiguration": {
                                "type": "object",
                                "additionalProperties": False,
                                "properties": {"level": LEVEL},
                            },
                            "properties": {"type": "object"},
                        },
                    },
                },
            },
        },
        "invocation": {
            "type": "object",
            "required": ["executionSuccessful"],
            "additionalProperties": False,
            "properties": {
                "executionSuccessful": {"type": "boolean"},
                "endTimeUtc": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"},
                "toolExecutionNotifications": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["message"],
                        "properties": {"level": LEVEL, "message": TEXT},
                    },
                },
            },
        },
        "result": {
            "type": "object",
            "required": ["message"],
            "additionalProperties": False,
            "properties": {
                "ruleId": {"type": "string"},
                "ruleIndex": {"type": "integer", "minimum": -1},
                "level": LEVEL,
                "message": TEXT,
                "locations": {"type": "array", "items": {"$ref": "#/definitions/location"}},
                "partialFingerprints": {
                    "type": "object",
                    "additionalProperties": {"type": "string"},
                },
                "properties": {"type": "object"},
            },
        },
        "location": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "physicalLocation": {
                    "type": "object",
                    "required": ["artifactLocation"],
                    "additionalProperties": False,
                    "properties": {
                        "artifactLocation": {
                            "type": "object",
                            "additionalProperties": False,
                            "properties": {"uri": {"type": "string", "pattern": r"^[^ ]+$"}},
                        },
                        "region": {
                            "type": "object",
                            "additionalProperties": False,
                            "properties": {"startLine": {"type": "integer", "minimum": 1}},
                        },
                    },
                },
                "logicalLocations": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {
                            "name": {"type": "string"},
                            "fullyQualifiedName": {"type": "string"},
                            "kind": {"type": "string"},
                        },
                    },
                },
            },
        },
    },
}
"""What of SARIF 2.1.0 a report uses, and nothing that it does not have (OASIS, sections 3.13 to 3.52)."""


@pytest.fixture
def made() -> Report:
    return report(FACTS)


def test_sarif(made: Report) -> None:
    document = json.loads(json.dumps(as_sarif(made)))
    jsonschema.validate(document, SARIF, jsonschema.Draft7Validator)
    (run,) = document["runs"]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == [rule.id for rule in RULES]
    for result in run["results"]:
        assert RULES[result["ruleIndex"]].id == result["ruleId"]
    places = [r["locations"][0].get("physicalLocation") for r in run["results"]]
    uris = {p["artifactLocation"]["uri"]: p.get("region") for p in places if p}
    assert uris == {"a%20dir/g.yaml": {"startLine": 7}, "file:///abs/s.yaml": {"startLine": 2}}
    levels = {r["ruleId"]: r["level"] for r in run["results"]}
    assert levels["gateway-no-tls"] == "error"
    prints = [r["partialFingerprints"]["argosyFinding/v1"] for r in run["results"]]
    assert len(set(prints)) == len(prints)


def test_a_schema_that_finds_mistakes(made: Report) -> None:
    document = as_sarif(made)
    document["runs"][0]["results"][0]["level"] = "high"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, SARIF, jsonschema.Draft7Validator)


def test_json(made: Report) -> None:
    document = as_json(made)
    assert document["score"] == made.score
    assert document["mutualTls"] == {"percent": 90.0, "mutualTls": 9, "total": 10}
    gateway = next(one for one in document["findings"] if one["rule"] == "gateway-no-tls")
    assert gateway["file"] == "a dir/g.yaml"
    assert gateway["line"] == 7
    assert gateway["why"]
    assert [one["namespace"] for one in document["namespaces"]] == ["default", "other"]


class Tags(HTMLParser):
    """Open and closed in order; what is referred to."""

    VOID = frozenset({"meta", "br", "circle"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.texts: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.references += [v or "" for k, v in attrs if k in ("src", "href", "action")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page(made: Report) -> None:
    text = page(made)
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert "script" not in tags.seen, "whatever objects are called"
    assert tags.references == []
    assert "url(" not in text
    assert "@import" not in text
    assert any(EVIL in one for one in tags.texts)
    assert "prefers-color-scheme:dark" in text
    for one in made.findings:
        assert one.object in "".join(tags.texts)


def test_a_page_without_findings() -> None:
    text = page(report(Facts(mesh="m", version="1", moment="now")))
    assert "Nothing was found." in text
    assert "not measured" in text
