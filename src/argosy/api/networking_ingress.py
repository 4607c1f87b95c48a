"""Ingress and IngressClass of ``networking.k8s.io``.

Fields as in https://kubernetes.io/docs/reference/kubernetes-api/service-resources/ingress-v1/
"""

from typing import Literal

from argosy.api.meta import KubernetesPart, Object, Opaque, UInt32

PathType = Literal["Exact", "Prefix", "ImplementationSpecific"]


class ServiceBackendPort(KubernetesPart, frozen=True, kw_only=True):
    name: str = ""
    number: UInt32 = 0


class IngressServiceBackend(KubernetesPart, frozen=True, kw_only=True):
    name: str
    port: ServiceBackendPort = ServiceBackendPort()


class IngressBackend(KubernetesPart, frozen=True, kw_only=True):
    service: IngressServiceBackend | None = None
    resource: Opaque = None


class HTTPIngressPath(KubernetesPart, frozen=True, kw_only=True):
    backend: IngressBackend
    path: str = ""
    path_type: PathType


class HTTPIngressRuleValue(KubernetesPart, frozen=True, kw_only=True):
    paths: tuple[HTTPIngressPath, ...] = ()


class IngressRule(KubernetesPart, frozen=True, kw_only=True):
    host: str = ""
    http: HTTPIngressRuleValue | None = None


class IngressTLS(KubernetesPart, frozen=True, kw_only=True):
    hosts: tuple[str, ...] = ()
    secret_name: str = ""


class IngressSpec(KubernetesPart, frozen=True, kw_only=True):
    ingress_class_name: str = ""
    default_backend: IngressBackend | None = None
    rules: tuple[IngressRule, ...] = ()
    tls: tuple[IngressTLS, ...] = ()


class IngressLoadBalancerIngress(KubernetesPart, frozen=True, kw_only=True):
    ip: str = ""
    hostname: str = ""
    ports: Opaque = None


class IngressLoadBalancerStatus(KubernetesPart, frozen=True, kw_only=True):
    ingress: tuple[IngressLoadBalancerIngress, ...] = ()


class IngressStatus(KubernetesPart, frozen=True, kw_only=True):
    load_balancer: IngressLoadBalancerStatus = IngressLoadBalancerStatus()


class Ingress(Object, frozen=True, kw_only=True):
    api_version: str = "networking.k8s.io/v1"
    kind: str = "Ingress"
    spec: IngressSpec = IngressSpec()
    status: IngressStatus | None = None


ISTIO_CONTROLLER = "istio.io/ingress-controller"
"""The controller of classes that this mesh serves."""


class IngressClassSpec(KubernetesPart, frozen=True, kw_only=True):
    controller: str = ""
    parameters: Opaque = None


class IngressClass(Object, frozen=True, kw_only=True):
    api_version: str = "networking.k8s.io/v1"
    kind: str = "IngressClass"
    spec: IngressClassSpec = IngressClassSpec()
