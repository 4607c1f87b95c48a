"""Argosy's own mesh-wide settings: what MeshConfig has no field for.

They are the text of key ``argosy`` in the ConfigMap that holds MeshConfig (``meshconfig``).
"""

from typing import Literal

from argosy.api.meta import KubernetesPart

ARGOSY_CONFIG_KEY = "argosy"

HostOwnership = Literal["ENFORCED", "ISTIO"]
CompliancePolicy = Literal["NONE", "PQC"]


class ArgosyConfig(KubernetesPart, frozen=True, kw_only=True):
    """``host_ownership``: whether rules for another namespace's hosts hold for their own namespace's
    clients only (ENFORCED), or for everybody, as in Istio (ISTIO). ``compliance_policy`` PQC: proxies
    agree on keys by X25519MLKEM768 only, as with istiod's ``COMPLIANCE_POLICY=pqc``."""

    host_ownership: HostOwnership = "ENFORCED"
    compliance_policy: CompliancePolicy = "NONE"
