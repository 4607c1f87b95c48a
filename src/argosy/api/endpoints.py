"""Endpoints of ``v1`` and EndpointSlice of ``discovery.k8s.io/v1``: where a Service leads that
selects no pods.

Fields as in https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoints-v1/
and https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/
"""

from typing import Literal

from argosy.api.meta import Int32, KubernetesPart, Object, Opaque

SERVICE_NAME = "kubernetes.io/service-name"
"""The label by which an EndpointSlice names its Service."""


class EndpointPort(KubernetesPart, frozen=True, kw_only=True):
    """``name`` is the name of the Service's port."""

    name: str = ""
    port: Int32 = 0
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    app_protocol: str = ""


class EndpointAddress(KubernetesPart, frozen=True, kw_only=True):
    ip: str
    hostname: str = ""
    node_name: str = ""
    target_ref: Opaque = None


class EndpointSubset(KubernetesPart, frozen=True, kw_only=True):
    addresses: tuple[EndpointAddress, ...] = ()
    not_ready_addresses: tuple[EndpointAddress, ...] = ()
    ports: tuple[EndpointPort, ...] = ()


class Endpoints(Object, frozen=True, kw_only=True):
    api_version: str = "v1"
    kind: str = "Endpoints"
    subsets: tuple[EndpointSubset, ...] = ()


class EndpointConditions(KubernetesPart, frozen=True, kw_only=True):
    """``ready`` None counts as ready."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class SliceEndpoint(KubernetesPart, frozen=True, kw_only=True):
    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = EndpointConditions()
    hostname: str = ""
    node_name: str = ""
    zone: str = ""
    target_ref: Opaque = None
    deprecated_topology: Opaque = None
    hints: Opaque = None


class EndpointSlice(Object, frozen=True, kw_only=True):
    api_version: str = "discovery.k8s.io/v1"
    kind: str = "EndpointSlice"
    address_type: Literal["IPv4", "IPv6", "FQDN"] = "IPv4"
    endpoints: tuple[SliceEndpoint, ...] = ()
    ports: tuple[EndpointPort, ...] = ()
