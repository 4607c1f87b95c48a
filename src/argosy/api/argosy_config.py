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
    agree on keys by X25519MLKEM768 only, as with istiod's ``COMPLIANCE_POLICY=pqc``.
    ``rate_limit_counters``: where shared rate limits are counted: empty is Mixer itself,
    ``redis://HOST:PORT/NUMBER`` a Redis, whose host is an address or ``<service>.<namespace>``, and
    ``unix:///PATH`` a Redis at a socket."""

    host_ownership: HostOwnership = "ENFORCED"
    compliance_policy: CompliancePolicy = "NONE"
    rate_limit_counters: str = ""
