"""What holds for a workload or a service: the control plane's own formulas, asked about one moment.

The objects are read once, and put into an engine of their own: what is shown cannot differ from
what the proxies are told.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import ParamSpec, TypeVar

from argosy import derive
from argosy.api import registry
from argosy.api.decode import decode_json
from argosy.api.meta import Object
from argosy.base.names import Hostname, Namespace, ObjectKey
from argosy.base.problems import Problem
from argosy.cli.client import ApiClient, CliError, ForbiddenError, Json, name_of, namespace_of
from argosy.cli.kinds import kind_named
from argosy.model.authz import Authorization, Policy
from argosy.model.listener import ListenerSettings
from argosy.model.proxy import ProxyType, Role, Scope, Sight
from argosy.model.rate_limit import Limit
from argosy.model.route import Attachment, HttpRule
from argosy.model.service import Service
from argosy.model.telemetry import Mode, Telemetry
from argosy.model.traffic import Destination
from argosy.model.workload import Endpoint, Labels
from argosy.pilot.analyze.findings import Finding, analysis_of_all, findings_of
from argosy.pilot.compile.authn import Demands
from argosy.pilot.compile.proxy_configs import personal
from argosy.pilot.compile.request_authn import RequestPolicy
from argosy.pilot.graph import (
    authorization,
    destinations,
    gateways,
    proxy_configs,
    rate_limits,
    request_authn,
    rules,
    telemetry,
    world,
)
from argosy.platforms.local.state import Published
from argosy.store.cells import CellFeed
from argosy.store.transaction import Event

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Snapshot:
    """``items`` are the objects as the API shows them, ``proxies`` by ``name.namespace``."""

    def __init__(
        self,
        items: Iterable[Json],
        proxies: Iterable[Json] = (),
        published: Iterable[Published] = (),
    ) -> None:
        self._items: dict[ObjectKey, Json] = {}
        for item in items:
            key = ObjectKey(item["kind"], Namespace(namespace_of(item)), name_of(item))
            self._items[key] = item
        self.proxies = {f"{proxy['name']}.{proxy['namespace']}": proxy for proxy in proxies}
        self.published = tuple(published)
        self._engine = derive.Engine()
        feed = CellFeed(derive.ABSENT)
        self._engine.set(feed.cells(_events(self._items.values())))

    @classmethod
    def read(cls, client: ApiClient) -> "Snapshot":
        kinds = (kind_named(entry.kind) for entry in registry.KINDS)
        items = [item for kind in kinds for item in client.items(kind.path(None))]
        proxies = client.get("/apis/argosy.dev/v1alpha1/proxies")["items"]
        record = client.directory.read_record()
        return cls(items, proxies, record.published if record else ())

    @classmethod
    def readable(cls, client: ApiClient, namespace: str) -> "Snapshot":
        """What the caller's role may read, of the mesh or of a namespace; no Secrets."""
        items: list[Json] = []
        for entry in registry.KINDS:
            kind = kind_named(entry.kind)
            if kind.kind == "Secret":
                continue
            try:
                items += client.items(kind.path(None))
            except ForbiddenError:
                with suppress(ForbiddenError):
                    items += client.items(kind.path(namespace))
        return cls(items)

    def all(self, kind: str) -> list[Json]:
        return [item for key, item in sorted(self._items.items()) if key.kind == kind]

    def item(self, kind: str, namespace: str, name: str) -> Json | None:
        return self._items.get(ObjectKey(kind, Namespace(namespace), name))

    def services_of(self, namespace: str, labels: Mapping[str, str]) -> tuple[Service, ...]:
        """The services that select a workload."""
        return self._ask(world.services_of_labels, Namespace(namespace), label_pairs(labels))

    def service(self, namespace: str, name: str) -> Service | None:
        return self._ask(world.service, Namespace(namespace), name)

    def service_of_host(self, host: Hostname) -> Service | None:
        return self._ask(world.service_of_host, host)

    def endpoints(self, service: Service, port: int) -> tuple[Endpoint, ...]:
        return self._ask(world.service_endpoints, service.namespace, service.hostname, port)

    def demands(self, namespace: str, labels: Mapping[str, str]) -> Demands:
        """What a workload accepts from its callers."""
        return self._ask(world.demands, Namespace(namespace), label_pairs(labels))

    def policies(self, role: Role) -> tuple[Policy, ...]:
        """The AuthorizationPolicies that hold for a workload."""
        return self._ask(authorization.policies_of, role)

    def authorization(self, role: Role) -> Authorization:
        return self._ask(authorization.authorization_of, role)

    def token_policies(
        self, namespace: str, labels: Mapping[str, str]
    ) -> tuple[RequestPolicy, ...]:
        """The RequestAuthentications that hold for a workload."""
        return self._ask(request_authn.policies_for, Namespace(namespace), label_pairs(labels))

    def telemetries(self, namespace: str, labels: Mapping[str, str]) -> tuple[ObjectKey, ...]:
        """The Telemetry objects that hold for a workload, the widest first."""
        near, own = self._telemetries(namespace, labels)
        return self._ask(telemetry.holding, near, own)

    def telemetry(self, namespace: str, labels: Mapping[str, str], mode: Mode) -> Telemetry:
        """What a workload's proxy reports of one side, if no Sidecar hides who takes it."""
        near, own = self._telemetries(namespace, labels)
        return self._ask(telemetry.telemetry, Sight(near), own, mode)

    def _telemetries(
        self, namespace: str, labels: Mapping[str, str]
    ) -> tuple[Namespace, tuple[ObjectKey, ...]]:
        near = Namespace(namespace)
        return near, self._ask(telemetry.selecting, near, label_pairs(labels))

    def limits(
        self, kind: ProxyType, namespace: str, labels: Mapping[str, str]
    ) -> tuple[Limit, ...]:
        """The rules of RateLimits that hold for a workload."""
        role = Role(kind, Namespace(namespace), label_pairs(labels), "")
        return self._ask(rate_limits.limits_of, role)

    def settings(self, role: Role) -> ListenerSettings:
        """What holds for the listeners of a proxy, mesh-wide and of its own."""
        return personal(
            self._ask(world.mesh_settings).listeners, self._ask(proxy_configs.traffic_of, role)
        )

    def routing(self, host: Hostname, namespace: str) -> ObjectKey | None:
        """The VirtualService that rules a host for callers in a namespace, HTTP before TCP."""
        sight = Sight(Namespace(namespace))
        http = self._ask(rules.mesh_owner, host, sight, False)
        return http or self._ask(rules.mesh_owner, host, sight, True)

    def policy(self, host: Hostname, namespace: str) -> Destination | None:
        """The DestinationRule in force for a host and callers in a namespace."""
        return self._ask(destinations.chosen, Scope(ProxyType.SIDECAR, Namespace(namespace)), host)

    def rules_of(self, virtual_service: ObjectKey) -> tuple[HttpRule, ...]:
        """Its HTTP rules, in their order, with those that it delegates to others."""
        return self._ask(rules.rules_of, virtual_service)

    def bound_to(self, gateway: str) -> tuple[Attachment, ...]:
        """The VirtualServices of a gateway, ``namespace/name``."""
        return self._ask(gateways.bound_to, gateway)

    def problems(self, kind: str, namespace: str, name: str) -> tuple[Problem, ...]:
        """What the compilers find wrong with an object."""
        return self._ask(findings_of, ObjectKey(kind, Namespace(namespace), name))

    def analysis(self) -> tuple[Finding, ...]:
        """What ``argosy analyze -A`` finds."""
        return self._ask(analysis_of_all, tuple(sorted(self._items)), False)

    @property
    def keys(self) -> tuple[ObjectKey, ...]:
        return tuple(sorted(self._items))

    def with_items(self, items: Iterable[Json]) -> "Snapshot":
        """The mesh that it would be with these objects too."""
        return Snapshot((*self._items.values(), *items), self.proxies.values(), self.published)

    @property
    def root_namespace(self) -> str:
        return self._ask(world.mesh_settings).traffic.root_namespace

    @property
    def trust_domain(self) -> str:
        return self._ask(world.mesh_settings).traffic.trust_domain

    def _ask(self, formula: derive.Formula[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        found = self._engine.value(formula, *args, **kwargs)
        if isinstance(found, derive.Failed):
            raise CliError(
                f"this cannot be computed: {found}", "This is a bug of Argosy: report it."
            )
        return found


def label_pairs(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted(labels.items()))


def _events(items: Iterable[Json]) -> list[Event]:
    found: list[Object] = []
    for item in items:
        # A status holds what the API computed, which its own reader need not understand.
        plain = item if item["kind"] == "Pod" else {k: v for k, v in item.items() if k != "status"}
        found += decode_json(plain, namespace=namespace_of(item)).objects
    return [Event(obj.key, None, obj, 0, obj) for obj in found]
