"""Peer authentication: what a workload demands of its callers' connections."""

from enum import Enum


class MtlsMode(Enum):
    """What a port accepts; inheritance (Istio's UNSET) is already resolved.

    https://istio.io/latest/docs/reference/config/security/peer_authentication/
    """

    DISABLE = "DISABLE"
    """Plaintext only: no mesh TLS is terminated."""

    PERMISSIVE = "PERMISSIVE"
    """Plaintext and mesh mTLS; the default."""

    STRICT = "STRICT"
    """Mesh mTLS only."""
