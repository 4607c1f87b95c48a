"""Whose spans they are: the sender's identity is proven by its certificate, what spans say is not.

A span's service is a name that its sender chose. One that is not the sender's own is not refused,
for an application may call itself what it likes, but marked, and shown with who sent it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from argosy.mixer.traces.span import Span


@dataclass(frozen=True, slots=True)
class Reporter:
    """``names`` are what its workload is called: the workload, its app, its canonical service.

    Empty: the certificate does not tell, and its namespace alone is judged.
    """

    namespace: str
    service_account: str
    names: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.namespace}/{self.service_account}"

    def may_be(self, service: str) -> bool:
        name, _, namespace = service.partition(".")
        if namespace and namespace != self.namespace:
            return False
        return not self.names or name in self.names


CONTROL_PLANE = "control plane"
"""Who sent what came on Mixer's own socket. No workload is called so: theirs have a slash."""


def of_control_plane(spans: Iterable[Span]) -> list[Span]:
    return [msgspec.structs.replace(span, reporter=CONTROL_PLANE) for span in spans]


def reported(spans: Iterable[Span], reporter: Reporter) -> list[Span]:
    """With who sent them."""
    who = str(reporter)
    return [
        msgspec.structs.replace(span, reporter=who, claimed=not reporter.may_be(span.service))
        for span in spans
    ]
