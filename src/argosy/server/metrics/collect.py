"""All metrics of the control plane at one moment; nothing is computed but when somebody asks."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client import ProcessCollector
from prometheus_client.metrics_core import Metric

from argosy import derive, xds
from argosy.base.clock import Clock
from argosy.citadel.statistics import Statistics as CitadelStatistics
from argosy.pilot.graph.rules import claim_conflicts
from argosy.server.certificates import MeshCertificates
from argosy.server.delivery import Delivery, Publisher
from argosy.server.jwks.service import Keys
from argosy.server.metrics import families
from argosy.server.metrics.conflicts import conflicts
from argosy.server.metrics.exposition import exposition
from argosy.server.metrics.objects import ObjectCounts
from argosy.server.trust import TrustKeeper
from argosy.store.store import Store

COMPONENT = "pilot"


@dataclass(frozen=True, slots=True)
class Metrics:
    """``services.MetricsProvider``. ``began`` is monotonic seconds."""

    server: xds.Server
    issuing: CitadelStatistics
    keeper: TrustKeeper
    certificates: MeshCertificates
    engine: derive.Engine
    delivery: Delivery
    publisher: Publisher
    keys: Keys
    store: Store
    objects: ObjectCounts
    clock: Clock
    version: str
    began: float
    _process: ProcessCollector = field(default_factory=lambda: ProcessCollector(registry=None))

    def text(self) -> bytes:
        return exposition(self._families())

    def _families(self) -> Iterator[Metric]:
        trust, now = self.keeper.trust, self.clock.now()
        uptime = self.clock.monotonic() - self.began
        lost = self.engine.value(claim_conflicts)
        lost_hosts = 0 if isinstance(lost, derive.Failed) else len(lost)
        yield from families.of_process(COMPONENT, self.version, uptime)
        clients = self.server.clients()
        yield from families.of_xds(self.server.statistics, clients)
        yield from families.of_conflicts(conflicts(self.engine, clients))
        triggers = self.publisher.triggers
        yield from families.of_pushes(triggers, self.delivery.failed, lost_hosts)
        yield from families.of_objects(self.objects, self.store.revision)
        yield from families.of_citadel(self.issuing)
        yield from families.of_authorities(trust.roots, trust.authority.certificates, now)
        certificates = self.certificates
        yield from families.of_workload_certificates(
            certificates.reports(), certificates.warnings()
        )
        yield from families.of_keys(self.keys.fetched, self.keys.failed)
        yield from self._process.collect()
