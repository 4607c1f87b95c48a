"""A record: what one proxy saw of one request, or of one connection of opaque bytes. Pure.

It has no body, no query and no header but those of a short list, so that it holds no secrets.
"""

import msgspec

from argosy.model.records import Direction

TCP = "TCP"
"""The protocol of a connection of opaque bytes."""

ACCESS_DENIED = "rbac_access_denied"
"""How the details begin of what an AuthorizationPolicy has refused."""


class Reporter(msgspec.Struct, frozen=True, rename="camel"):
    """The proxy that made the record, as ``entries.reporter_of`` has it from its certificate."""

    namespace: str
    service_account: str
    workload: str = ""
    pod: str = ""
    labels: dict[str, str] = {}


class Record(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Times are seconds since the epoch, durations milliseconds, addresses ``ip:port``.

    ``source_principal`` is of the client's certificate, ``destination_principal`` of the server's.
    ``host``, ``port``, ``subset`` are what the proxy meant to reach. ``flags`` are Envoy's short
    response flags, ``details`` its response code details. ``virtual_service`` and
    ``destination_rule`` are ``namespace/name`` of the rules that were followed. ``path`` is without
    its query. ``status`` 0: there was no answer.
    """

    time: float
    duration: float
    direction: Direction
    protocol: str
    reporter: Reporter
    source_address: str = ""
    source_principal: str = ""
    server_address: str = ""
    upstream_address: str = ""
    upstream_local_address: str = ""
    destination_principal: str = ""
    destination_workload: str = ""
    cluster: str = ""
    host: str = ""
    port: int = 0
    subset: str = ""
    request_id: str = ""
    method: str = ""
    authority: str = ""
    path: str = ""
    status: int = 0
    grpc_status: int | None = None
    flags: tuple[str, ...] = ()
    details: str = ""
    transport_failure: str = ""
    tls_failure: str = ""
    termination: str = ""
    route: str = ""
    virtual_service: str = ""
    destination_rule: str = ""
    attempts: int = 0
    received: int = 0
    sent: int = 0
    server_name: str = ""
    headers: dict[str, str] = {}

    @property
    def is_http(self) -> bool:
        return self.protocol != TCP

    @property
    def is_failure(self) -> bool:
        """An error's status, no answer at all, or anything that Envoy has a flag for."""
        if self.flags or self.status >= 400 or self.grpc_status not in (None, 0):
            return True
        return self.is_http and self.status == 0

    @property
    def is_denied(self) -> bool:
        """Refused by an AuthorizationPolicy."""
        return ACCESS_DENIED in self.details or ACCESS_DENIED in self.termination
