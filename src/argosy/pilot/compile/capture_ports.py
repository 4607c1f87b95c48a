"""MeshConfig ``proxyListenPort`` and ``proxyInboundListenPort`` → the ports of each pod.

Capture rules are made when a pod is injected, and its proxy must listen where they lead. So a pod
keeps the ports that held when it was made, as in Istio, where injection writes them into it: here
as an annotation, unless they are the usual ones. A change holds for pods that are made afterwards.
"""

from collections.abc import Mapping

from argosy.api import meshconfig as api
from argosy.model.proxy_traffic import USUAL_CAPTURE, CapturePorts
from argosy.pilot.compile.report import Report

ANNOTATION = "argosy.dev/capture-ports"
"""Of a pod: the outbound and the inbound port, such as ``15101,15106``."""

_TAKEN = frozenset({15000, 15008, 15020, 15021, 15053, 15054, 15090})
_FIELDS = (
    ("proxyListenPort", "proxy_listen_port", "outbound"),
    ("proxyInboundListenPort", "proxy_inbound_listen_port", "inbound"),
)


def capture_ports(written: api.MeshConfig, report: Report) -> CapturePorts:
    """For pods that are made now. A port that cannot be used is as if it were not written."""
    found: dict[str, int] = {}
    for field, name, side in _FIELDS:
        number, usual = getattr(written, name), getattr(USUAL_CAPTURE, side)
        message = ""
        if not 0 < number < 65536:
            message = f"{number} is no port number"
        elif number in _TAKEN:
            message = f"the proxy uses port {number} for something else"
        if message:
            report.at(field).error("InvalidPort", f"{message}; {usual} is used", "choose another")
        found[side] = usual if message else number
    if found["outbound"] == found["inbound"]:
        report.at("proxyInboundListenPort").error(
            "InvalidPort",
            f"connections out and in cannot share port {found['inbound']}; the usual ports are used",
            "choose another",
        )
        return USUAL_CAPTURE
    return CapturePorts(**found)


def annotations(ports: CapturePorts) -> dict[str, str]:
    """What a pod that is made with these ports is given."""
    if ports == USUAL_CAPTURE:
        return {}
    return {ANNOTATION: f"{ports.outbound},{ports.inbound}"}


def ports_of(annotations: Mapping[str, str]) -> CapturePorts:
    """The ports of a pod with these annotations."""
    outbound, _, inbound = annotations.get(ANNOTATION, "").partition(",")
    try:
        return CapturePorts(int(outbound), int(inbound))
    except ValueError:
        return USUAL_CAPTURE
