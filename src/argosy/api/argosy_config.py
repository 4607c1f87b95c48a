"""Argosy's own mesh-wide settings: what MeshConfig has no field for.

They are the text of key ``argosy`` in the ConfigMap that holds MeshConfig (``meshconfig``).
"""

from typing import Literal

from argosy.api.meta import KubernetesPart

ARGOSY_CONFIG_KEY = "argosy"

HostOwnership = Literal["ENFORCED", "ISTIO"]


class ArgosyConfig(KubernetesPart, frozen=True, kw_only=True):
    """``host_ownership``: whether rules for another namespace's hosts hold for their own namespace's
    clients only (ENFORCED), or for everybody, as in Istio (ISTIO)."""

    host_ownership: HostOwnership = "ENFORCED"
