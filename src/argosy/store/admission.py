"""Defaults and checks that need the other objects, done when an object is stored.

Pure functions of the object, its predecessor and a view of the store: namespaces, cluster IPs,
addresses of ServiceEntries, the label every Namespace has, and a Secret's ``stringData``.
"""

from collections.abc import Callable, Mapping
from hashlib import blake2b
from ipaddress import AddressValueError, IPv4Address, IPv4Network

from msgspec import structs

from argosy.api.certificates import CertificateSigningRequest
from argosy.api.core import Namespace, Secret, Service
from argosy.api.meta import Object
from argosy.api.networking_service_entry import ServiceEntry
from argosy.base.names import ObjectKey
from argosy.base.problems import Problem
from argosy.store import entry_addresses
from argosy.store.store import View
from argosy.store.transaction import Delete, InvalidError

SERVICE_RANGE = IPv4Network("10.96.0.0/16")
"""Kubernetes' default range for cluster IPs."""

HEADLESS = "None"
DEFAULT_NAMESPACE = "default"
NAME_LABEL = "kubernetes.io/metadata.name"

_FIRST, _LAST = 2, SERVICE_RANGE.num_addresses - 2
"""Usable offsets: the network, its first address (kubernetes.default) and broadcast are not."""


class KubernetesAdmission:
    """Admission as Kubernetes does it, for the kinds of ``namespaced`` (kind → has a namespace)."""

    def __init__(self, namespaced: Mapping[str, bool]) -> None:
        self._namespaced = namespaced

    def place(self, value: Object) -> Object:
        """The object in namespace ``default`` when it needs one, in none when it may have none."""
        namespaced = self._namespaced.get(value.kind, True)
        namespace = (value.metadata.namespace or DEFAULT_NAMESPACE) if namespaced else ""
        if namespace == value.metadata.namespace:
            return value
        return structs.replace(value, metadata=structs.replace(value.metadata, namespace=namespace))

    def admit(self, new: Object, old: Object | None, view: View) -> Object:
        match new:
            case Service():
                return service(new, old if isinstance(old, Service) else None, view)
            case Namespace():
                return named(new)
            case ServiceEntry():
                return entry_addresses.with_addresses(new, view)
            case CertificateSigningRequest():
                return unchanged(new, old)
            case Secret():
                return structs.replace(new, data=new.values, string_data={})
        return new

    def claims(self, key: ObjectKey, value: Object) -> tuple[str, ...]:
        if isinstance(value, ServiceEntry):
            return entry_addresses.claims(value)
        if not isinstance(value, Service) or value.spec.cluster_ip in ("", HEADLESS):
            return ()
        return (_claim(value.spec.cluster_ip),)


def service(new: Service, old: Service | None, view: View) -> Service:
    """The Service with its cluster IP: given, kept, or allocated; raises ``InvalidError``.

    https://kubernetes.io/docs/concepts/services-networking/cluster-ip-allocation/
    """
    wanted = _wanted(new)
    if new.spec.type == "ExternalName":
        if wanted:
            raise _refuse(
                new, "Forbidden", "an ExternalName service has no cluster IP", "remove it"
            )
        return _with_cluster_ip(new, "")
    kept = old.spec.cluster_ip if old is not None and old.spec.type != "ExternalName" else ""
    if kept and wanted not in ("", kept):
        raise _refuse(
            new,
            "Immutable",
            f"the cluster IP of a service cannot change (it is {kept})",
            "delete the service first, or leave the field out",
        )
    if kept or wanted == HEADLESS:
        return _with_cluster_ip(new, kept or wanted)
    if wanted:
        _check_free(new, wanted, view)
        return _with_cluster_ip(new, wanted)
    return _with_cluster_ip(new, _allocate(new, view))


def unchanged(new: CertificateSigningRequest, old: Object | None) -> CertificateSigningRequest:
    """What is asked for does not change, since it may have been approved; nobody brings an approval."""
    if not isinstance(old, CertificateSigningRequest):
        return structs.replace(new, status=None)
    if old.spec != new.spec:
        problem = Problem(
            new.key, "spec", "Immutable", "a request cannot change", "delete it, and make another"
        )
        raise InvalidError(new.key, (problem,))
    return structs.replace(new, status=old.status)


def named(namespace: Namespace) -> Namespace:
    """The Namespace with the label that Kubernetes gives it."""
    labels = {**namespace.metadata.labels, NAME_LABEL: namespace.metadata.name}
    return structs.replace(namespace, metadata=structs.replace(namespace.metadata, labels=labels))


def deletions(
    key: ObjectKey, kinds: Mapping[str, bool], list_kind: Callable[[str, str], tuple[Object, ...]]
) -> tuple[Delete, ...]:
    """What goes with ``key``: a Namespace takes everything in it along. ``key`` comes last.

    ``kinds`` says of each kind whether it has a namespace; ``list_kind`` lists one in a namespace.
    """
    inside: list[Delete] = []
    if key.kind == "Namespace":
        for kind, namespaced in kinds.items():
            if namespaced:
                inside += [Delete(value.key) for value in list_kind(kind, key.name)]
    return (*inside, Delete(key))


def explicit_first(value: Object) -> bool:
    """Sort key: services that ask for an address go before those that take any."""
    return not (isinstance(value, Service) and _wanted(value) not in ("", HEADLESS))


def _wanted(value: Service) -> str:
    """What the user asks for, in either of the two fields."""
    spec = value.spec
    if spec.cluster_ip and spec.cluster_ips and spec.cluster_ip != spec.cluster_ips[0]:
        raise _refuse(value, "Invalid", "clusterIP and the first of clusterIPs must be equal", "")
    if len(spec.cluster_ips) > 1:
        raise _refuse(
            value, "Invalid", "only one cluster IP (IPv4) is supported", "remove the rest"
        )
    return spec.cluster_ip or (spec.cluster_ips[0] if spec.cluster_ips else "")


def _check_free(value: Service, wanted: str, view: View) -> None:
    try:
        address = IPv4Address(wanted)
    except AddressValueError:
        raise _refuse(value, "Invalid", f"{wanted!r} is not an IPv4 address", _LEAVE_OUT) from None
    offset = int(address) - int(SERVICE_RANGE.network_address)
    if not _FIRST <= offset <= _LAST:
        message = f"{wanted} is not a usable address of the service range {SERVICE_RANGE}"
        raise _refuse(value, "OutOfRange", message, _LEAVE_OUT)
    holder = view.holder(_claim(str(address)))
    if holder is not None and holder != value.key:
        message = f"the cluster IP {wanted} is already allocated to {holder}"
        raise _refuse(value, "AlreadyAllocated", message, _LEAVE_OUT)


def _allocate(value: Service, view: View) -> str:
    """The address at the hash of the name, or the next free one."""
    name = f"{value.metadata.namespace}/{value.metadata.name}".encode()
    size = _LAST - _FIRST + 1
    start = int.from_bytes(blake2b(name, digest_size=8).digest()) % size
    for step in range(size):
        offset = _FIRST + (start + step) % size
        address = str(SERVICE_RANGE[offset])
        if view.holder(_claim(address)) is None:
            return address
    raise _refuse(value, "RangeFull", f"the service range {SERVICE_RANGE} is full", "")


def _with_cluster_ip(value: Service, address: str) -> Service:
    addresses = (address,) if address else ()
    spec = structs.replace(value.spec, cluster_ip=address, cluster_ips=addresses)
    return structs.replace(value, spec=spec)


def _claim(address: str) -> str:
    return f"clusterIP/{address}"


_LEAVE_OUT = "leave clusterIP out to have one allocated"


def _refuse(value: Service, code: str, message: str, hint: str) -> InvalidError:
    problem = Problem(value.key, "spec.clusterIP", code, message, hint)
    return InvalidError(value.key, (problem,))
