"""What agents say of their workloads' certificates: the control plane's proof, and its table."""

from collections.abc import Iterable

import msgspec

from argosy.citadel.rotation import Evidence


class CertificateReport(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """One workload, as its agent sees it. Times are RFC 3339, empty where there is none.

    ``bundle``, ``serial`` and ``issuer`` are what the proxy itself says that it uses; the
    ``agent...`` are what the agent has for it. ``signer`` is who signed, where it is not the mesh.
    """

    namespace: str
    pod: str
    running: bool
    identity: str = ""
    bundle: str = ""
    serial: str = ""
    issuer: str = ""
    agent_bundle: str = ""
    agent_issuer: str = ""
    not_before: str = ""
    not_after: str = ""
    renew_at: str = ""
    failures: int = 0
    last_failure: str = ""
    signer: str = ""

    @property
    def client(self) -> str:
        """As the discovery service calls it."""
        return f"{self.pod}.{self.namespace}"

    @property
    def evidence(self) -> Evidence:
        return Evidence(
            self.running,
            self.bundle,
            self.issuer,
            self.serial,
            self.agent_bundle,
            self.agent_issuer,
            self.signer,
        )


class Reports:
    """The last report of each workload."""

    def __init__(self) -> None:
        self._reports: dict[str, CertificateReport] = {}

    def take(self, reports: Iterable[CertificateReport]) -> None:
        self._reports.update((report.client, report) for report in reports)

    def of(self, client: str) -> CertificateReport | None:
        return self._reports.get(client)

    def keep_only(self, clients: Iterable[str]) -> None:
        """Forget workloads that are gone."""
        kept = frozenset(clients)
        for client in [each for each in self._reports if each not in kept]:
            del self._reports[client]
