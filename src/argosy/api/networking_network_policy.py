"""NetworkPolicy of ``networking.k8s.io``.

Fields as in https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/network-policy-v1/
"""

from typing import Literal

from msgspec import field

from argosy.api.meta import Int32, KubernetesPart, LabelSelector, Object

PolicyType = Literal["Ingress", "Egress"]


class IPBlock(KubernetesPart, frozen=True, kw_only=True):
    cidr: str
    except_: tuple[str, ...] = field(name="except", default=())


class NetworkPolicyPeer(KubernetesPart, frozen=True, kw_only=True):
    """Both selectors: pods that one selects in namespaces that the other selects."""

    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IPBlock | None = None


class NetworkPolicyPort(KubernetesPart, frozen=True, kw_only=True):
    """``port``: a number, or the name of a container's port; all ports without it."""

    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    port: Int32 | str | None = None
    end_port: Int32 | None = None


class NetworkPolicyIngressRule(KubernetesPart, frozen=True, kw_only=True):
    """Empty means everybody, and empty ports all."""

    from_: tuple[NetworkPolicyPeer, ...] = field(name="from", default=())
    ports: tuple[NetworkPolicyPort, ...] = ()


class NetworkPolicyEgressRule(KubernetesPart, frozen=True, kw_only=True):
    """Empty means everybody, and empty ports all."""

    to: tuple[NetworkPolicyPeer, ...] = ()
    ports: tuple[NetworkPolicyPort, ...] = ()


class NetworkPolicySpec(KubernetesPart, frozen=True, kw_only=True):
    pod_selector: LabelSelector = LabelSelector()
    policy_types: tuple[PolicyType, ...] = ()
    ingress: tuple[NetworkPolicyIngressRule, ...] = ()
    egress: tuple[NetworkPolicyEgressRule, ...] = ()

    @property
    def types(self) -> frozenset[PolicyType]:
        """By default Ingress, and Egress where there are rules of it."""
        if self.policy_types:
            return frozenset(self.policy_types)
        return frozenset({"Ingress", "Egress"} if self.egress else {"Ingress"})


class NetworkPolicy(Object, frozen=True, kw_only=True):
    api_version: str = "networking.k8s.io/v1"
    kind: str = "NetworkPolicy"
    spec: NetworkPolicySpec = NetworkPolicySpec()
