"""Istio's annotations: for which kinds, how stable, and what their values may be.

Names and places as in https://istio.io/latest/docs/reference/config/annotations/.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_network

ANYWHERE = "Any"

Check = Callable[[str], str]
"""What is wrong with a value, as the end of a sentence; empty when nothing is."""


def _anything(_value: str) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Annotation:
    kinds: tuple[str, ...]
    wrong: Check = _anything
    alpha: bool = True
    deprecated: bool = False


def _boolean(value: str) -> str:
    known = ("1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False")
    return "" if value in known else "is true or false"


def _number(value: str) -> str:
    return "" if value.isascii() and value.isdigit() else "is a whole number, not negative"


def _port(value: str) -> str:
    if value.isascii() and value.isdigit() and int(value) <= 65535:
        return ""
    return "is a port number"


def _ports(value: str) -> str:
    wrong = [part for part in _items(value) if _port(part)]
    return "is a list of port numbers, split by commas" if wrong else ""


def _ports_or_all(value: str) -> str:
    return "" if value.strip() == "*" else _ports(value) and "is * or a list of port numbers"


def _networks(value: str) -> str:
    for part in _items(value):
        try:
            ip_network(part, strict=False)
        except ValueError:
            return "is a list of networks such as 10.0.0.0/8, split by commas"
    return ""


def _networks_or_all(value: str) -> str:
    return "" if value.strip() == "*" else _networks(value) and "is * or a list of networks"


def _interception(value: str) -> str:
    return "" if value in ("REDIRECT", "TPROXY", "NONE") else "is REDIRECT, TPROXY or NONE"


def _items(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def _pod(wrong: Check = _anything, *, alpha: bool = True, deprecated: bool = False) -> Annotation:
    return Annotation(("Pod",), wrong, alpha, deprecated)


_SIDECAR = {
    "agentLogLevel": _pod(),
    "bootstrapOverride": _pod(),
    "componentLogLevel": _pod(),
    "controlPlaneAuthPolicy": _pod(deprecated=True),
    "discoveryAddress": _pod(deprecated=True),
    "enableCoreDump": _pod(_boolean, deprecated=True),
    "extraStatTags": _pod(),
    "inject": _pod(alpha=False, deprecated=True),
    "interceptionMode": _pod(_interception),
    "logLevel": _pod(),
    "nativeSidecar": _pod(_boolean),
    "proxyCPU": _pod(),
    "proxyCPULimit": _pod(),
    "proxyImage": _pod(),
    "proxyImageType": _pod(),
    "proxyMemory": _pod(),
    "proxyMemoryLimit": _pod(),
    "rewriteAppHTTPProbers": _pod(_boolean),
    "statsCompression": _pod(),
    "statsEvictionInterval": _pod(),
    "statsFlushInterval": _pod(),
    "statsHistogramBins": _pod(),
    "statsHistogramBuckets": _pod(),
    "statsInclusionPrefixes": _pod(deprecated=True),
    "statsInclusionRegexps": _pod(deprecated=True),
    "statsInclusionSuffixes": _pod(deprecated=True),
    "status": _pod(),
    "userVolume": _pod(),
    "userVolumeMount": _pod(),
}

_TRAFFIC = {
    "excludeInboundPorts": _pod(_ports),
    "excludeInterfaces": _pod(),
    "excludeOutboundIPRanges": _pod(_networks),
    "excludeOutboundPorts": _pod(_ports),
    "includeInboundPorts": _pod(_ports_or_all),
    "includeOutboundIPRanges": _pod(_networks_or_all),
    "includeOutboundPorts": _pod(_ports),
    "kubevirtInterfaces": _pod(deprecated=True),
}

ANNOTATIONS: Mapping[str, Annotation] = {
    **{f"sidecar.istio.io/{name}": known for name, known in _SIDECAR.items()},
    **{f"traffic.sidecar.istio.io/{name}": known for name, known in _TRAFFIC.items()},
    "alpha.istio.io/canonical-serviceaccounts": Annotation(("Service",), deprecated=True),
    "alpha.istio.io/identity": _pod(deprecated=True),
    "alpha.istio.io/kubernetes-serviceaccounts": Annotation(("Service",), deprecated=True),
    "ambient.istio.io/bypass-inbound-capture": _pod(_boolean),
    "ambient.istio.io/dns-capture": _pod(_boolean),
    "ambient.istio.io/redirection": _pod(),
    "ambient.istio.io/waypoint-inbound-binding": Annotation(("GatewayClass",)),
    "galley.istio.io/analyze-suppress": Annotation((ANYWHERE,)),
    "gateway.istio.io/controller-version": Annotation(("Gateway",)),
    "gateway.istio.io/name-override": Annotation(("Gateway",)),
    "gateway.istio.io/service-account": Annotation(("Gateway",)),
    "inject.istio.io/templates": _pod(),
    "install.operator.istio.io/chart-owner": Annotation((ANYWHERE,)),
    "install.operator.istio.io/owner-generation": Annotation((ANYWHERE,)),
    "install.operator.istio.io/version": Annotation((ANYWHERE,)),
    "istio.io/autoRegistrationGroup": Annotation(("WorkloadEntry",)),
    "istio.io/connectedAt": Annotation(("WorkloadEntry",)),
    "istio.io/disconnectedAt": Annotation(("WorkloadEntry",)),
    "istio.io/dry-run": Annotation(("AuthorizationPolicy",), _boolean),
    "istio.io/rev": _pod(),
    "istio.io/reroute-virtual-interfaces": _pod(),
    "istio.io/use-waypoint-canary-weight": Annotation(("Service", "Namespace", "ServiceEntry")),
    "istio.io/workloadController": Annotation(("WorkloadEntry",)),
    "kubernetes.io/ingress.class": Annotation(("Ingress",), alpha=False),
    "networking.istio.io/address-type": Annotation(("Gateway",)),
    "networking.istio.io/exportTo": Annotation(("Service",)),
    "networking.istio.io/service-type": Annotation(("Gateway",)),
    "networking.istio.io/traffic-distribution": Annotation(
        ("Service", "Namespace", "ServiceEntry")
    ),
    "prometheus.istio.io/merge-metrics": _pod(_boolean),
    "proxy.istio.io/config": _pod(alpha=False),
    "proxy.istio.io/overrides": _pod(),
    "readiness.status.sidecar.istio.io/applicationPorts": _pod(_ports),
    "readiness.status.sidecar.istio.io/failureThreshold": _pod(_number),
    "readiness.status.sidecar.istio.io/initialDelaySeconds": _pod(_number),
    "readiness.status.sidecar.istio.io/periodSeconds": _pod(_number),
    "status.sidecar.istio.io/port": _pod(_port),
    "topology.istio.io/controlPlaneClusters": Annotation(("Namespace",)),
    "traffic.istio.io/nodeSelector": Annotation(("Service",)),
}
