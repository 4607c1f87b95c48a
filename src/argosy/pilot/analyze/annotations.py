"""Istio's annotations: do they exist, do they stand where they mean something, can they be read?

https://istio.io/latest/docs/reference/config/annotations/
"""

from collections.abc import Iterator, Mapping

from argosy.api.located import child
from argosy.base.names import ObjectKey
from argosy.base.problems import Problem, Severity
from argosy.derive import Reader, formula
from argosy.pilot.analyze.annotation_table import ANNOTATIONS, ANYWHERE, Annotation
from argosy.pilot.analyze.workloads import metadata_of, object_of, template_of

KINDS = frozenset({"Namespace", "Service", "Pod", "Deployment", "StatefulSet"})
_INSTEAD = {
    "sidecar.istio.io/inject": "use the label sidecar.istio.io/inject",
    "sidecar.istio.io/statsInclusionPrefixes": "use proxyStatsMatcher in proxy.istio.io/config",
    "sidecar.istio.io/statsInclusionSuffixes": "use proxyStatsMatcher in proxy.istio.io/config",
    "sidecar.istio.io/statsInclusionRegexps": "use proxyStatsMatcher in proxy.istio.io/config",
    "sidecar.istio.io/discoveryAddress": "use discoveryAddress in proxy.istio.io/config",
}


@formula
def annotation_problems(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    """Those of the object, and those of the pods that it is a template of."""
    metadata = metadata_of(get, key)
    if metadata is None or metadata.owner_references:
        return ()  # What a Deployment has given to its pods is told at the Deployment.
    place = _Place(key, key.kind, "metadata.annotations", metadata.labels)
    found = [*_check(metadata.annotations, place)]
    template = template_of(get(object_of, key))
    if template is not None and template.path:
        where = template.at("metadata.annotations")
        place = _Place(key, "Pod", where, template.metadata.labels)
        found += _check(template.metadata.annotations, place)
    return tuple(found)


@formula
def alpha_annotations(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    """Annotations of features that may change. Nearly all are, so this is told on demand only."""
    metadata = metadata_of(get, key)
    if metadata is None:
        return ()
    return tuple(
        Problem(
            key,
            child("metadata.annotations", name),
            "AlphaAnnotation",
            f"{name} belongs to an alpha feature, which may change",
            severity=Severity.INFO,
        )
        for name in metadata.annotations
        if name in ANNOTATIONS and ANNOTATIONS[name].alpha and name != "sidecar.istio.io/status"
    )


class _Place:
    """Where annotations stand: at an object, for things of a ``kind``."""

    def __init__(self, key: ObjectKey, kind: str, path: str, labels: Mapping[str, str]) -> None:
        self.key, self.kind, self.path, self.labels = key, kind, path, labels

    def problem(
        self, name: str, code: str, message: str, hint: str, severity: Severity = Severity.WARNING
    ) -> Problem:
        return Problem(self.key, child(self.path, name), code, message, hint, severity)


def _check(annotations: Mapping[str, str], place: _Place) -> Iterator[Problem]:
    for name, value in annotations.items():
        if not is_istio(name):
            continue
        known = ANNOTATIONS.get(name)
        if known is None:
            message = f"there is no annotation {name}"
            yield place.problem(name, "UnknownAnnotation", message, "check the spelling")
            continue
        if known.deprecated and not (name == "sidecar.istio.io/inject" and name in place.labels):
            hint = _INSTEAD.get(name, "remove it")
            message = f"{name} is deprecated"
            yield place.problem(name, "DeprecatedAnnotation", message, hint, Severity.INFO)
        if place.kind not in known.kinds and ANYWHERE not in known.kinds:
            yield _misplaced(name, known, place)
            continue
        wrong = known.wrong(value)
        if wrong:
            message = f"{name} {wrong}, and is {value!r}"
            yield place.problem(name, "InvalidAnnotation", message, "correct the value")


def _misplaced(name: str, known: Annotation, place: _Place) -> Problem:
    kinds = " or a ".join(known.kinds)
    hint = f"write it at a {kinds}"
    if "Pod" in known.kinds and place.kind in ("Deployment", "StatefulSet"):
        hint = "write it at spec.template.metadata.annotations"
    message = f"{name} means nothing at a {place.kind}: it is for a {kinds}"
    return place.problem(name, "MisplacedAnnotation", message, hint)


def is_istio(name: str) -> bool:
    """Whether it is in one of Istio's name spaces."""
    return name == "kubernetes.io/ingress.class" or name.partition("/")[0].endswith("istio.io")
