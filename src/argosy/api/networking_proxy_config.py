"""ProxyConfig of ``networking.istio.io``.

Fields as in https://istio.io/latest/docs/reference/config/networking/proxy-config/
"""

from collections.abc import Iterator, Mapping
from typing import Literal

from argosy.api.meta import Int32, IstioStatus, Object, Part, WorkloadSelector
from argosy.api.typed import Mistake
from argosy.api.validate_values import check_selector, warning


class ProxyImage(Part, frozen=True, kw_only=True):
    image_type: Literal["", "default", "debug", "distroless"] = ""


class ProxyConfigSpec(Part, frozen=True, kw_only=True):
    """``concurrency`` is the number of Envoy's worker threads; 0 is all cores."""

    selector: WorkloadSelector | None = None
    concurrency: Int32 | None = None
    environment_variables: Mapping[str, str] = {}
    image: ProxyImage | None = None


class ProxyConfig(Object, frozen=True, kw_only=True):
    api_version: str = "networking.istio.io/v1beta1"
    kind: str = "ProxyConfig"
    spec: ProxyConfigSpec = ProxyConfigSpec()
    status: IstioStatus | None = None


def validate_proxy_config(written: ProxyConfig) -> Iterator[Mistake]:
    """What must hold for one ProxyConfig alone."""
    spec = written.spec
    yield from check_selector(spec.selector, "spec.selector")
    if spec.concurrency is not None and spec.concurrency < 0:
        message = f"{spec.concurrency} is negative"
        yield Mistake("spec.concurrency", "OutOfRange", message, "Write 0 for all cores, or more")
    if spec.image is not None:
        message = "proxies run Envoy of the package that is installed, not an image"
        yield warning("spec.image", "NoEffect", message, "Remove it")
