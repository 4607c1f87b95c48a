"""A report for other programs: JSON, and SARIF 2.1.0 for code scanning.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

import hashlib
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from argosy.mixer.report.findings import RULES, Found, Place, Severity
from argosy.mixer.report.measured import Share
from argosy.mixer.report.report import NamespaceScore, Report

Json = dict[str, Any]

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {
    Severity.CRITICAL: "error",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "note",
    Severity.INFO: "note",
}
_SECURITY = {
    Severity.CRITICAL: "9.5",
    Severity.HIGH: "8.0",
    Severity.MEDIUM: "5.0",
    Severity.LOW: "3.0",
    Severity.INFO: "0.0",
}
"""GitHub's ``security-severity``: above 9.0 critical, 7.0 high, 4.0 medium."""


def as_json(report: Report) -> Json:
    return {
        "mesh": report.mesh,
        "version": report.version,
        "time": report.moment,
        "score": report.score,
        "observedSeconds": report.since,
        "mutualTls": _share(report.mutual_tls),
        "namespaces": [_namespace(one) for one in report.namespaces],
        "findings": [_finding(one) for one in report.findings],
        "unmeasured": list(report.unmeasured),
        "checks": report.checked,
    }


def as_sarif(report: Report) -> Json:
    """Findings without a file are about the mesh: their place is its name."""
    rules: list[Json] = [
        {
            "id": rule.id,
            "name": "".join(part.capitalize() for part in rule.id.split("-")),
            "shortDescription": {"text": rule.title},
            "fullDescription": {"text": rule.why},
            "defaultConfiguration": {"level": _LEVELS[rule.severity]},
            "properties": {
                "security-severity": _SECURITY[rule.severity],
                "tags": ["security", "service-mesh"],
            },
        }
        for rule in RULES
    ]
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "Argosy",
                        "semanticVersion": report.version,
                        "rules": rules,
                    }
                },
                "automationDetails": {"id": f"argosy-report/{report.mesh}/"},
                "invocations": [
                    {
                        "executionSuccessful": True,
                        "endTimeUtc": report.moment,
                        "toolExecutionNotifications": [
                            {"level": "note", "message": {"text": f"not measured: {what}"}}
                            for what in report.unmeasured
                        ],
                    }
                ],
                "results": [_result(one) for one in report.findings],
                "properties": {
                    "score": report.score,
                    "scores": {one.namespace or "-": one.score for one in report.namespaces},
                },
            }
        ],
    }


def _result(found: Found) -> Json:
    finding = found.finding
    about = f"{found.object}: {finding.message}"
    location: Json = {
        "logicalLocations": [
            {"fullyQualifiedName": found.object, "kind": "resource", "name": found.object}
        ]
    }
    physical = _physical(finding.place)
    if physical is not None:
        location["physicalLocation"] = physical
    return {
        "ruleId": found.rule.id,
        "ruleIndex": RULES.index(found.rule),
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{about}. {finding.remedy}."},
        "locations": [location],
        "partialFingerprints": {"argosyFinding/v1": _fingerprint(found)},
        "properties": {
            "severity": finding.severity.value,
            "namespace": found.namespace,
            "security-severity": _SECURITY[finding.severity],
        },
    }


def _physical(place: Place) -> Json | None:
    if not place.file or place.file == "-":
        return None
    path = PurePath(place.file)
    uri = path.as_uri() if path.is_absolute() else quote(path.as_posix())
    found: Json = {"artifactLocation": {"uri": uri}}
    if place.line:
        found["region"] = {"startLine": place.line}
    return found


def _fingerprint(found: Found) -> str:
    """The same for the same finding tomorrow, whatever its numbers are then."""
    text = f"{found.rule.id}\0{found.object}\0{found.finding.severity.value}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _finding(found: Found) -> Json:
    finding = found.finding
    return {
        "rule": found.rule.id,
        "severity": finding.severity.value,
        "namespace": found.namespace,
        "object": found.object,
        "message": finding.message,
        "why": found.rule.why,
        "remedy": finding.remedy,
        "file": finding.place.file,
        "line": finding.place.line,
    }


def _namespace(found: NamespaceScore) -> Json:
    return {
        "namespace": found.namespace,
        "score": found.score,
        "findings": {severity.value: number for severity, number in found.counts},
        "mutualTls": _share(found.mutual_tls),
    }


def _share(share: Share | None) -> Json | None:
    if share is None:
        return None
    return {"percent": share.percent, "mutualTls": share.mutual_tls, "total": share.total}


def severities(found: Sequence[Found]) -> dict[Severity, int]:
    """How many of each, the gravest first, those that there are."""
    counts = {one: sum(f.finding.severity is one for f in found) for one in Severity}
    return {severity: number for severity, number in counts.items() if number}
