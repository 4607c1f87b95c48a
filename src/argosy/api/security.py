"""PeerAuthentication of ``security.istio.io``.

Fields as in https://istio.io/latest/docs/reference/config/security/peer_authentication/
"""

from collections.abc import Mapping
from typing import Literal

from argosy.api.meta import IstioStatus, Object, Part, UInt32, WorkloadSelector

MutualTLSMode = Literal["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]


class MutualTLS(Part, frozen=True, kw_only=True):
    """UNSET inherits from the policy above, and at the top means PERMISSIVE."""

    mode: MutualTLSMode = "UNSET"


class PeerAuthenticationSpec(Part, frozen=True, kw_only=True):
    """``port_level_mtls`` is keyed by the workload's port, not the service's."""

    selector: WorkloadSelector | None = None
    mtls: MutualTLS | None = None
    port_level_mtls: Mapping[UInt32, MutualTLS] = {}


class PeerAuthentication(Object, frozen=True, kw_only=True):
    api_version: str = "security.istio.io/v1"
    kind: str = "PeerAuthentication"
    spec: PeerAuthenticationSpec = PeerAuthenticationSpec()
    status: IstioStatus | None = None
