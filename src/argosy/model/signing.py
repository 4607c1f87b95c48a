"""Who else signs workloads' certificates than the mesh itself."""

from dataclasses import dataclass
from datetime import timedelta

SIGNING_TIMEOUT = timedelta(seconds=10)
"""https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig-CA (``requestTimeout``)"""


@dataclass(frozen=True, slots=True)
class ServerTrust:
    """How an authority is known, and the mesh to it. Texts are files of the control plane's machine.

    ``roots`` empty: the system's authorities. ``name`` is what the server's certificate must be
    for. ``certificate`` and ``key`` empty: the mesh shows none.
    """

    name: str
    roots: str = ""
    certificate: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class ExternalAuthority:
    """An authority that speaks ``istio.v1.auth.IstioCertificateService`` over TLS."""

    host: str
    port: int
    tls: ServerTrust
    timeout: timedelta = SIGNING_TIMEOUT
