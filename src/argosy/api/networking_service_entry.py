"""ServiceEntry of ``networking.istio.io``.

Fields as in https://istio.io/latest/docs/reference/config/networking/service-entry/
"""

from collections.abc import Mapping
from typing import Literal

from argosy.api.meta import IstioCondition, KubernetesPart, Object, Opaque, Part, UInt32
from argosy.api.networking_workload_entry import WorkloadEntrySpec

Location = Literal["MESH_EXTERNAL", "MESH_INTERNAL"]
Resolution = Literal["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"]


class ServicePort(Part, frozen=True, kw_only=True):
    """``target_port`` 0: the same as ``number``."""

    number: UInt32
    name: str = ""
    protocol: str = ""
    target_port: UInt32 = 0


class EntrySelector(Part, frozen=True, kw_only=True):
    """Istio's ``networking.v1alpha3.WorkloadSelector``: all labels must be equal."""

    labels: Mapping[str, str] = {}


class ServiceEntryAddress(KubernetesPart, frozen=True, kw_only=True):
    value: str = ""
    host: str = ""


class ServiceEntryStatus(KubernetesPart, frozen=True, kw_only=True):
    """``addresses`` are allocated when the entry is stored; they are kept as long as it lives."""

    conditions: tuple[IstioCondition, ...] = ()
    validation_messages: Opaque = None
    observed_generation: Opaque = None
    addresses: tuple[ServiceEntryAddress, ...] = ()


class ServiceEntrySpec(Part, frozen=True, kw_only=True):
    hosts: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    ports: tuple[ServicePort, ...] = ()
    location: Location = "MESH_EXTERNAL"
    resolution: Resolution = "NONE"
    endpoints: tuple[WorkloadEntrySpec, ...] = ()
    workload_selector: EntrySelector | None = None
    export_to: tuple[str, ...] = ()
    subject_alt_names: tuple[str, ...] = ()


class ServiceEntry(Object, frozen=True, kw_only=True):
    api_version: str = "networking.istio.io/v1"
    kind: str = "ServiceEntry"
    spec: ServiceEntrySpec = ServiceEntrySpec()
    status: ServiceEntryStatus | None = None
