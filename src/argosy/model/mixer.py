"""Mixer as the rest of the mesh knows it: the process beside the control plane that takes telemetry
and answers questions of policy. Proxies reach it by a static cluster, with mutual TLS."""

MIXER_CLUSTER = "mixer"
"""The cluster in the bootstrap of every proxy that has a Mixer."""

MIXER_NAME = "mixer.istio-system.svc"
"""The DNS name in its certificate; clients check it."""

MIXER_NAMESPACE = "istio-system"
MIXER_ACCOUNT = "mixer"
"""Its service account: the certificate names ``spiffe://DOMAIN/ns/istio-system/sa/mixer``."""
