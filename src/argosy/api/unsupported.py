"""Kinds that exist in Kubernetes and Istio and that Argosy does not read yet.

They are told apart from misspelled ones: ``(group, kind)``.
"""

_KINDS = {
    "": "ComponentStatus Event LimitRange Node PersistentVolume PersistentVolumeClaim "
    "PodTemplate ReplicationController ResourceQuota",
    "apps": "ControllerRevision DaemonSet ReplicaSet",
    "batch": "CronJob Job",
    "autoscaling": "HorizontalPodAutoscaler",
    "policy": "PodDisruptionBudget",
    "rbac.authorization.k8s.io": "ClusterRole ClusterRoleBinding Role RoleBinding",
    "apiextensions.k8s.io": "CustomResourceDefinition",
    "admissionregistration.k8s.io": "MutatingWebhookConfiguration ValidatingWebhookConfiguration",
    "storage.k8s.io": "StorageClass",
    "extensions.istio.io": "TrafficExtension WasmPlugin",
    "install.istio.io": "IstioOperator",
    "gateway.networking.k8s.io": "BackendTLSPolicy Gateway GatewayClass GRPCRoute HTTPRoute "
    "ListenerSet ReferenceGrant TCPRoute TLSRoute UDPRoute",
    "cert-manager.io": "Certificate ClusterIssuer Issuer",
}

UNSUPPORTED: frozenset[tuple[str, str]] = frozenset(
    (group, kind) for group, kinds in _KINDS.items() for kind in kinds.split()
)
