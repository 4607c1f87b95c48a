"""Formulas over Ingresses: the Gateways and VirtualServices that they stand for."""

from argosy.api.networking_gateway import Gateway
from argosy.api.networking_ingress import Ingress, IngressClass
from argosy.api.networking_virtual_service import VirtualService
from argosy.base.names import Namespace, ObjectKey
from argosy.derive import Reader, formula
from argosy.model.service import Service
from argosy.pilot.compile import ingresses as compiling
from argosy.pilot.compile.ingresses import Converted
from argosy.pilot.graph.world import keys, mesh_settings, read, service

KIND = "Ingress"
CLASS = "IngressClass"


def key_of(namespace: Namespace, name: str) -> ObjectKey:
    return ObjectKey(KIND, namespace, name)


@formula
def converted(get: Reader, namespace: Namespace, name: str) -> Converted:
    found = read(get, key_of(namespace, name), Ingress)
    if found is None:
        return Converted()
    mesh = get(mesh_settings)
    if not compiling.is_ours(found, _class_of(get, found), mesh.ingress):
        return Converted()

    def service_of(called: str) -> Service | None:
        return get(service, namespace, called)

    return compiling.convert(found, mesh.ingress, mesh.domain, service_of)


def _class_of(get: Reader, ingress: Ingress) -> IngressClass | None:
    named = ingress.spec.ingress_class_name
    if named:
        return read(get, ObjectKey(CLASS, Namespace(""), named), IngressClass)
    for key in keys(get, CLASS):
        found = read(get, key, IngressClass)
        if found is not None and compiling.is_default(found):
            return found
    return None


@formula
def gateway(get: Reader, namespace: Namespace, name: str) -> Gateway | None:
    made = compiling.ingress_of(name)
    if made is None or made[1]:
        return None
    return get(converted, namespace, made[0]).gateway


@formula
def virtual_service(get: Reader, namespace: Namespace, name: str) -> VirtualService | None:
    made = compiling.ingress_of(name)
    if made is None:
        return None
    found = get(converted, namespace, made[0]).virtual_services
    return next((one for one in found if one.metadata.name == name), None)


@formula
def gateway_keys(get: Reader) -> tuple[ObjectKey, ...]:
    found = (get(converted, key.namespace, key.name).gateway for key in keys(get, KIND))
    return tuple(one.key for one in found if one is not None)


@formula
def virtual_service_keys(get: Reader) -> tuple[ObjectKey, ...]:
    return tuple(
        one.key
        for key in keys(get, KIND)
        for one in get(converted, key.namespace, key.name).virtual_services
    )


@formula
def addresses(get: Reader, namespace: Namespace, name: str) -> tuple[str, ...]:
    """Where the gateway that serves an Ingress is reached inside the mesh."""
    if get(converted, namespace, name).gateway is None:
        return ()
    mesh = get(mesh_settings)
    found = get(service, mesh.traffic.root_namespace, mesh.ingress.service)
    return () if found is None else found.addresses
