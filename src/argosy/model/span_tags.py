"""What spans tell besides what every span tells, and what a proxy's own configuration says of them."""

from dataclasses import dataclass

DEFAULT_SAMPLING = 1.0
"""Per cent of requests, where nobody says another: Istio's.

https://istio.io/latest/docs/tasks/observability/distributed-tracing/sampling/
"""

RESOURCE_ENVIRONMENT = "OTEL_RESOURCE_ATTRIBUTES"
"""OpenTelemetry's variable for what all spans of a process have in common.

https://opentelemetry.io/docs/specs/otel/resource/sdk/#specifying-resource-information-via-an-environment-variable
"""

ABOUT = "argosy.about"
"""The tag of the control plane's spans that says what they are about; their names are for all alike."""


# Tags that are added to spans.


@dataclass(frozen=True, slots=True)
class LiteralTag:
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class EnvironmentTag:
    """The value of a variable of the proxy's environment."""

    name: str
    variable: str
    default: str = ""


@dataclass(frozen=True, slots=True)
class HeaderTag:
    """The value of a request header."""

    name: str
    header: str
    default: str = ""


@dataclass(frozen=True, slots=True)
class FormatterTag:
    """``format`` is text with Envoy's command operators."""

    name: str
    format: str


CustomTag = LiteralTag | EnvironmentTag | HeaderTag | FormatterTag


ISTIO_TAGS = (
    EnvironmentTag("istio.canonical_revision", "ARGOSY_CANONICAL_REVISION", "latest"),
    EnvironmentTag("istio.canonical_service", "ARGOSY_CANONICAL_SERVICE", "unknown"),
    EnvironmentTag("istio.cluster_id", "ARGOSY_CLUSTER_ID", "unknown"),
    EnvironmentTag("istio.mesh_id", "ARGOSY_MESH_ID", "unknown"),
    EnvironmentTag("istio.namespace", "ARGOSY_NAMESPACE", "default"),
)
"""What Istio's spans tell of their proxy. It stands in each proxy's environment, for listeners are
shared. https://istio.io/latest/docs/reference/config/telemetry/#Tracing (``enableIstioTags``)
"""


# What one proxy says.


@dataclass(frozen=True, slots=True)
class ProxyTracing:
    """What a proxy's own configuration says, where no Telemetry does; None and 0: as usual."""

    sampling: float | None = None
    custom_tags: tuple[CustomTag, ...] = ()
    max_path_tag_length: int = 0


NO_PROXY_TRACING = ProxyTracing()
