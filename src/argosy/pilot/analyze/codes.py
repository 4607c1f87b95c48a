"""What findings are called, how bad they are, and what they mean: the table behind the documentation.

Codes and levels are those of https://istio.io/latest/docs/reference/config/analysis/. A problem that
Istio has no code for goes by its own name. The level is Istio's; a problem's severity, in contrast,
says whether the object is in force.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from argosy.base.problems import Severity

ISTIO_PAGES = "https://istio.io/latest/docs/reference/config/analysis"
_ONE_MATCH = re.compile(r"\.match\[\d+\]\Z")
_SELECTING = frozenset({"Gateway", "Sidecar", "Telemetry"})
"""Kinds of which Istio says that the selector, and not a workload, is not there."""


@dataclass(frozen=True, slots=True)
class Code:
    """``id`` is ``IST0101``. ``problems`` are the names of the problems that it stands for."""

    id: str
    name: str
    level: Severity
    kinds: tuple[str, ...]
    meaning: str
    remedy: str
    problems: tuple[str, ...] = ()

    @property
    def page(self) -> str:
        return f"{ISTIO_PAGES}/{self.id.lower()}/"


def _code(
    code: str, name: str, level: Severity, kinds: str, meaning: str, remedy: str, problems: str = ""
) -> Code:
    return Code(code, name, level, tuple(kinds.split()), meaning, remedy, tuple(problems.split()))


_E, _W, _I = Severity.ERROR, Severity.WARNING, Severity.INFO

CODES: tuple[Code, ...] = (
    _code(
        "IST0002",
        "Deprecated",
        _W,
        "any",
        "A field is used that a newer one has replaced.",
        "Use the field that the message names.",
    ),
    _code(
        "IST0101",
        "ReferencedResourceNotFound",
        _E,
        "VirtualService Gateway Sidecar DestinationRule AuthorizationPolicy Telemetry",
        "Something is named that is not there: a host, a subset, a Gateway, a workload's labels or a "
        "credential.",
        "Correct the name, or create what it names. A host with a dot must be complete.",
        "HostNotFound SubsetNotFound GatewayNotFound CredentialNotFound ProviderNotFound "
        "NamespaceNotFound",
    ),
    _code(
        "IST0102",
        "NamespaceNotInjected",
        _I,
        "Namespace",
        "Injection is switched off in a namespace that has rules for its sidecars. (Without a label "
        "a namespace is injected here.)",
        "Remove the label istio-injection=disabled, or the rules.",
    ),
    _code(
        "IST0103",
        "PodMissingProxy",
        _W,
        "Pod",
        "A pod runs without a proxy in a namespace that is injected: it was started before.",
        "Restart it.",
    ),
    _code(
        "IST0106",
        "SchemaValidationError",
        _E,
        "any",
        "The object is not right by itself: a field is unknown, missing, of the wrong type or out of "
        "range. It is refused, and its last good version stays in force.",
        "Do what the message says.",
    ),
    _code(
        "IST0107",
        "MisplacedAnnotation",
        _W,
        "Namespace Service Pod Deployment StatefulSet",
        "An annotation of Istio's stands at an object where it means nothing.",
        "Move it. What is for pods belongs into the template of a Deployment.",
    ),
    _code(
        "IST0108",
        "UnknownAnnotation",
        _W,
        "Namespace Service Pod Deployment StatefulSet",
        "There is no such annotation of Istio's.",
        "Check the spelling.",
    ),
    _code(
        "IST0109",
        "ConflictingMeshGatewayVirtualServiceHosts",
        _E,
        "VirtualService",
        "Two VirtualServices rule the same host for sidecars. Only the older one counts.",
        "Put all rules of a host into one VirtualService, or let one delegate to the other.",
        "HostConflict",
    ),
    _code(
        "IST0110",
        "ConflictingSidecarWorkloadSelectors",
        _E,
        "Sidecar",
        "Two Sidecars of a namespace select the same workload. Only one of them counts.",
        "Make the selectors distinct, or merge the Sidecars.",
    ),
    _code(
        "IST0111",
        "MultipleSidecarsWithoutWorkloadSelectors",
        _E,
        "Sidecar",
        "Two Sidecars of a namespace select all of its workloads. Only the oldest counts.",
        "Keep one of them.",
    ),
    _code(
        "IST0112",
        "VirtualServiceDestinationPortSelectorRequired",
        _E,
        "VirtualService",
        "A rule sends to a service with several ports and does not say to which.",
        "Set destination.port.number.",
        "AmbiguousPort",
    ),
    _code(
        "IST0116",
        "DeploymentAssociatedToMultipleServices",
        _W,
        "Deployment StatefulSet",
        "Services of one workload have the same port with different protocols.",
        "Give the services different ports, or the same protocol.",
    ),
    _code(
        "IST0118",
        "PortNameIsNotUnderNamingConvention",
        _I,
        "Service",
        "Neither the port's name nor appProtocol tells a protocol, so it is detected.",
        "Name the port <protocol>[-<suffix>], or set appProtocol.",
    ),
    _code(
        "IST0122",
        "InvalidRegexp",
        _W,
        "VirtualService",
        "A regular expression is not one of RE2's. The object is refused.",
        "Correct it. RE2 has neither look-around nor references back.",
        "InvalidRegex",
    ),
    _code(
        "IST0123",
        "NamespaceMultipleInjectionLabels",
        _W,
        "Namespace",
        "A namespace has both istio-injection and istio.io/rev.",
        "Keep one of the labels.",
    ),
    _code(
        "IST0125",
        "InvalidAnnotation",
        _W,
        "Namespace Service Pod Deployment StatefulSet",
        "The value of an annotation of Istio's cannot be read.",
        "Correct the value.",
    ),
    _code(
        "IST0127",
        "NoMatchingWorkloadsFound",
        _W,
        "EnvoyFilter PeerAuthentication ProxyConfig DestinationRule AuthorizationPolicy "
        "RequestAuthentication RateLimit",
        "No workload has the labels that the object selects.",
        "Correct the labels, or deploy the workload.",
        "NoMatchingWorkloads SelectsNothing",
    ),
    _code(
        "IST0128",
        "NoServerCertificateVerificationDestinationLevel",
        _W,
        "DestinationRule",
        "TLS is originated without caCertificates: any server whose certificate comes from an "
        "authority that the system trusts is taken for the right one.",
        "Set caCertificates, and subjectAltNames.",
    ),
    _code(
        "IST0129",
        "NoServerCertificateVerificationPortLevel",
        _W,
        "DestinationRule",
        "The same as IST0128, for one port.",
        "Set caCertificates, and subjectAltNames.",
    ),
    _code(
        "IST0130",
        "VirtualServiceUnreachableRule",
        _W,
        "VirtualService",
        "A rule is never used, because rules before it take all of its requests.",
        "Put the more specific rule first, or remove it.",
        "UnreachableRule",
    ),
    _code(
        "IST0131",
        "VirtualServiceIneffectiveMatch",
        _I,
        "VirtualService",
        "A match is never used, because a rule before takes all of its requests; others of the same "
        "rule are.",
        "Remove it.",
        "IneffectiveMatch",
    ),
    _code(
        "IST0132",
        "VirtualServiceHostNotFoundInGateway",
        _W,
        "VirtualService",
        "No server of the Gateway offers one of the VirtualService's hosts to its namespace.",
        "Add the host to the Gateway's server, or correct it.",
    ),
    _code(
        "IST0133",
        "SchemaWarning",
        _W,
        "any",
        "The object is accepted, and something in it has no effect or is hardly as meant.",
        "Do what the message says.",
    ),
    _code(
        "IST0134",
        "ServiceEntryAddressesRequired",
        _W,
        "ServiceEntry",
        "A TCP port of a ServiceEntry without addresses: its connections can be told from those to "
        "other hosts by the port only.",
        "Set addresses, or protocol TLS. (Hosts that Argosy allocates an address for need none.)",
        "TakesAll",
    ),
    _code(
        "IST0135",
        "DeprecatedAnnotation",
        _I,
        "Namespace Service Pod Deployment StatefulSet",
        "Istio may stop to read the annotation.",
        "Use what the message names.",
    ),
    _code(
        "IST0136",
        "AlphaAnnotation",
        _I,
        "Namespace Service Pod Deployment StatefulSet",
        "The annotation belongs to a feature that may change. Told with --alpha only, for most are.",
        "Look at it again when you upgrade.",
    ),
    _code(
        "IST0137",
        "DeploymentConflictingPorts",
        _W,
        "Deployment StatefulSet",
        "Services of one workload lead to the same target port from different ports.",
        "Use the same port number in all of them.",
    ),
    _code(
        "IST0138",
        "GatewayDuplicateCertificate",
        _W,
        "Gateway",
        "Two Gateways show the same certificate. A browser may use one connection for the hosts of "
        "both, and then gets 404 for one of them.",
        "Put the servers into one Gateway, or give each its own certificate.",
    ),
    _code(
        "IST0144",
        "InvalidApplicationUID",
        _W,
        "Pod Deployment StatefulSet",
        "A container runs as user 1337, whose traffic Istio takes for the proxy's.",
        "Use another user.",
    ),
    _code(
        "IST0145",
        "ConflictingGateways",
        _E,
        "Gateway",
        "Two Gateways open the same port of the same workloads for the same host.",
        "Put the servers into one Gateway, or give them distinct hosts or ports.",
        "PortConflict",
    ),
    _code(
        "IST0146",
        "ImageAutoWithoutInjectionWarning",
        _W,
        "Deployment StatefulSet",
        "A container has the image auto, which injection replaces, and the pods are not injected.",
        "Switch injection on, or name the image.",
    ),
    _code(
        "IST0147",
        "ImageAutoWithoutInjectionError",
        _E,
        "Pod",
        "The same as IST0146, of a pod.",
        "Switch injection on, or name the image.",
    ),
    _code(
        "IST0150",
        "ExternalNameServiceTypeInvalidPortName",
        _W,
        "Service",
        "A port of an ExternalName service is named tcp, or for no protocol: every connection to this "
        "port, wherever it goes, may be taken for one to this service.",
        "Name the port tls, http or https, by what the external host speaks.",
    ),
    _code(
        "IST0151",
        "EnvoyFilterUsesRelativeOperation",
        _W,
        "EnvoyFilter",
        "A patch is relative to what other patches may have made, and the EnvoyFilter has no "
        "priority.",
        "Set priority, or use INSERT_FIRST or ADD.",
    ),
    _code(
        "IST0152",
        "EnvoyFilterUsesReplaceOperationIncorrectly",
        _E,
        "EnvoyFilter",
        "REPLACE is for filters only. (Argosy takes it for virtual hosts too, as newer versions of "
        "Istio do.) The object is refused.",
        "Use MERGE, or REMOVE and ADD.",
        "InvalidReplace",
    ),
    _code(
        "IST0153",
        "EnvoyFilterUsesAddOperationIncorrectly",
        _E,
        "EnvoyFilter",
        "ADD cannot be done to a ROUTE_CONFIGURATION: those of the proxies are there already. "
        "(Argosy adds routes, as newer versions of Istio do.) The object is refused.",
        "Use MERGE.",
        "InvalidAdd",
    ),
    _code(
        "IST0154",
        "EnvoyFilterUsesRemoveOperationIncorrectly",
        _E,
        "EnvoyFilter",
        "REMOVE cannot be done to a ROUTE_CONFIGURATION, which listeners name. (Argosy removes "
        "routes, as newer versions of Istio do.) The object is refused.",
        "Change the VirtualService instead.",
        "InvalidRemove",
    ),
    _code(
        "IST0155",
        "EnvoyFilterUsesRelativeOperationWithProxyVersion",
        _W,
        "EnvoyFilter",
        "As IST0151, and other EnvoyFilters for the same filter hold for some proxy versions only, so "
        "an upgrade may change what the patch meets.",
        "Set priority, or use INSERT_FIRST or ADD.",
        "RelativeOperation",
    ),
    _code(
        "IST0157",
        "InvalidTelemetryProvider",
        _W,
        "Telemetry",
        "No provider is named, and MeshConfig names none for this in defaultProviders.",
        "Name a provider.",
    ),
    _code(
        "IST0159",
        "ConflictingTelemetryWorkloadSelectors",
        _E,
        "Telemetry",
        "Several Telemetries of a namespace select the same workload. What the youngest says counts.",
        "Make the selectors distinct, or merge the Telemetries.",
    ),
    _code(
        "IST0160",
        "MultipleTelemetriesWithoutWorkloadSelectors",
        _E,
        "Telemetry",
        "Several Telemetries of a namespace select all of its workloads. Only the oldest counts.",
        "Keep one of them.",
    ),
    _code(
        "IST0161",
        "InvalidGatewayCredential",
        _E,
        "Gateway Secret DestinationRule",
        "The Secret of a credentialName holds no certificate and key that belong together.",
        "Make the Secret anew with tls.crt and tls.key.",
        "InvalidCredential CredentialMismatch",
    ),
    _code(
        "IST0162",
        "GatewayPortNotDefinedOnService",
        _W,
        "Gateway",
        "The Service of the gateway's pods has no such port, so nobody gets there through it.",
        "Add the port to the Service, or use one that it has.",
        "GatewayPortNotOnService",
    ),
    _code(
        "IST0171",
        "NegativeConditionStatus",
        _W,
        "Service ServiceEntry",
        "A condition in the object's status is False.",
        "The message says what its author has found.",
    ),
    _code(
        "IST0173",
        "DestinationRuleSubsetNotSelectPods",
        _E,
        "DestinationRule",
        "No workload of the host has the labels of a subset. Requests sent there get a 503.",
        "Correct the labels, or deploy the version.",
        "SubsetSelectsNothing",
    ),
    _code(
        "IST0174",
        "UnknownDestinationRuleHost",
        _W,
        "DestinationRule",
        "There is no service of this name, so the rule has no effect.",
        "Correct the host, or create the service.",
    ),
    _code(
        "IST0177",
        "ConflictingServiceEntryProtocol",
        _W,
        "ServiceEntry",
        "Several ServiceEntries have the same host and port with different protocols.",
        "Use one protocol, or one ServiceEntry.",
    ),
)

BY_ID: Mapping[str, Code] = {code.id: code for code in CODES}
_BY_PROBLEM: Mapping[str, Code] = {
    name: code for code in CODES for name in (code.name, *code.problems)
}


def find(kind: str, field: str, problem: str) -> Code | None:
    """Istio's code for a problem of this name, at a field of an object of a kind."""
    if problem == "NoMatchingWorkloads" and kind in _SELECTING:
        return BY_ID["IST0101"]
    if problem == "HostConflict" and kind != "VirtualService":
        return None
    if problem == "HostConflict" and field == "spec.http":  # at a gateway, which merges the rules
        return BY_ID["IST0130"]
    if problem == "UnreachableRule" and _ONE_MATCH.search(field):
        return BY_ID["IST0131"]
    return _BY_PROBLEM.get(problem)


def schema(severity: Severity) -> Code:
    """The code of what is wrong with an object by itself."""
    return BY_ID["IST0106" if severity is Severity.ERROR else "IST0133"]


def is_known(text: str) -> bool:
    """Whether it is a code, or the name of one."""
    return text in BY_ID or text in _BY_PROBLEM
