"""The families of the control plane's parts. Plain numbers in, families out.

Names that begin with ``pilot_``, ``citadel_`` or ``istio`` are Istio's, with its labels:
https://istio.io/latest/docs/reference/commands/pilot-discovery/#metrics
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from cryptography import x509
from prometheus_client.metrics_core import Metric

from argosy import xds
from argosy.citadel.expiry import ExpiryWarning, Level
from argosy.citadel.reports import CertificateReport
from argosy.citadel.statistics import Statistics as CitadelStatistics
from argosy.server.metrics.conflicts import Conflicts
from argosy.server.metrics.exposition import counter, gauge, histogram, single
from argosy.server.metrics.objects import REGISTRY_KINDS, ObjectCounts
from argosy.xds import type_urls
from argosy.xds.statistics import Histogram

_REJECTED_TYPES = ("cds", "eds", "lds", "rds")


def of_process(component: str, version: str, uptime: float) -> Iterator[Metric]:
    labels = ("component", "tag")
    yield gauge("istio_build", "Istio component build info", {(component, version): 1}, labels)
    yield gauge("pilot_info", "Pilot version and build information", {(version,): 1}, ("version",))
    yield gauge("istiod_uptime_seconds", "Current istiod server uptime in seconds", single(uptime))


def of_xds(counted: xds.Statistics, clients: Iterable[xds.ClientStatus]) -> Iterator[Metric]:
    """``clients`` are those that are connected, with what they refuse now."""
    versions: Counter[tuple[str, ...]] = Counter()
    refusing = dict.fromkeys(_REJECTED_TYPES, 0)
    for client in clients:
        versions[(dict(client.labels).get("version", ""),)] += 1
        for one in client.types:
            kind = _kind(one.type_url)
            if one.rejections and kind in refusing:
                refusing[kind] += 1
    yield gauge(
        "pilot_xds", "Number of endpoints connected to this pilot using XDS", versions, ("version",)
    )
    yield counter(
        "pilot_xds_pushes",
        "Responses sent to proxies, by type",
        _by_type(counted.pushes),
        ("type",),
    )
    yield counter(
        "pilot_total_xds_rejects",
        "Total number of XDS responses from pilot rejected by proxy",
        _by_type(counted.rejected),
        ("type",),
    )
    for kind, number in refusing.items():
        yield gauge(
            f"pilot_xds_{kind}_reject",
            f"Proxies that refuse {kind.upper()} resources they were sent, now",
            single(number),
        )
    yield counter(
        "pilot_xds_write_timeout", "Pilot XDS response write timeouts", single(counted.slow_writes)
    )
    for name, help_text, found in (
        (
            "pilot_proxy_convergence_time",
            "Seconds from a change of the configuration until a proxy has taken all of it",
            counted.client_convergence,
        ),
        (
            "pilot_proxy_queue_time",
            "Seconds that a proxy waits in the push queue",
            counted.queue,
        ),
        ("pilot_xds_send_time", "Seconds that it takes to send one response", counted.write),
        (
            "argosy_xds_convergence_seconds",
            "Seconds from a change of the configuration until all proxies concerned have it",
            counted.convergence,
        ),
        (
            "argosy_xds_acknowledgement_seconds",
            "Seconds from a response until the proxy's answer",
            counted.acknowledgement,
        ),
    ):
        yield histogram(name, help_text, {(): _numbers(found)})
    yield histogram(
        "pilot_xds_config_size_bytes",
        "Sizes of the responses, by type",
        {(_kind(url),): _numbers(found) for url, found in sorted(counted.sizes.items())},
        ("type",),
    )
    yield histogram(
        "pilot_xds_push_time",
        "Seconds from turning to a proxy until a response is written, by type",
        {(_kind(url),): _numbers(found) for url, found in sorted(counted.push_times.items())},
        ("type",),
    )
    yield counter(
        "argosy_xds_sent_bytes_total", "Bytes of all responses", single(counted.pushed_bytes)
    )
    yield counter(
        "argosy_xds_streams_total", "Streams that proxies have opened", single(counted.streams)
    )
    yield counter(
        "argosy_xds_refused_streams_total",
        "Streams that were refused: no identity, another's configuration, too many",
        single(counted.refused),
    )


def of_citadel(counted: CitadelStatistics) -> Iterator[Metric]:
    for name, help_text, value in (
        ("csr_count", "The number of CSRs received by Citadel server", counted.requests),
        (
            "success_cert_issuance_count",
            "The number of certificates issuances that have succeeded",
            counted.issued,
        ),
        (
            "authentication_failure_count",
            "The number of authentication failures",
            counted.unauthenticated,
        ),
        (
            "csr_parsing_err_count",
            "The number of errors occurred when parsing the CSR",
            counted.unreadable,
        ),
        (
            "csr_sign_err_count",
            "The number of errors occurred when signing the CSR",
            counted.unsigned,
        ),
    ):
        yield counter(f"citadel_server_{name}", help_text, single(value))
    yield counter(
        "argosy_citadel_refused_total",
        "Requests of callers who proved an identity, that were refused",
        {("forbidden",): counted.forbidden, ("limited",): counted.limited},
        ("reason",),
    )


def of_authorities(
    roots: Iterable[x509.Certificate], chain: Iterable[x509.Certificate], now: datetime
) -> Iterator[Metric]:
    """``chain`` is what signs workloads now, with what stands above it."""
    for name, what, certificates in (
        ("root_cert", "root", roots),
        ("cert_chain", "generated cert chain", chain),
    ):
        ends = min(one.not_valid_after_utc for one in certificates)
        yield gauge(
            f"citadel_server_{name}_expiry_timestamp",
            f"The unix timestamp, in seconds, when Citadel {what} will expire",
            single(ends.timestamp()),
        )
        yield gauge(
            f"citadel_server_{name}_expiry_seconds",
            f"The time remaining, in seconds, before Citadel {what} will expire",
            single((ends - now).total_seconds()),
        )


def of_workload_certificates(
    reports: Iterable[CertificateReport], warnings: Iterable[ExpiryWarning]
) -> Iterator[Metric]:
    """One sample for each workload, and how many certificates people must hear of."""
    labels = ("namespace", "pod", "identity")
    ends: dict[tuple[str, ...], float] = {}
    failures: dict[tuple[str, ...], float] = {}
    for report in reports:
        key = (report.namespace, report.pod, report.identity)
        failures[key] = report.failures
        if report.not_after:
            ends[key] = datetime.fromisoformat(report.not_after).timestamp()
    yield gauge(
        "argosy_workload_certificate_expiry_timestamp_seconds",
        "When the certificate that a workload uses ends",
        ends,
        labels,
    )
    yield gauge(
        "argosy_workload_certificate_failed_renewals",
        "How often in a row a workload's certificate could not be renewed",
        failures,
        labels,
    )
    levels = Counter(warning.level for warning in warnings)
    yield gauge(
        "argosy_certificate_warnings",
        "Certificates near their end: workloads past half of their life, authorities weeks before",
        {(level.value,): levels[level] for level in Level},
        ("level",),
    )


def of_objects(counted: ObjectCounts, revision: int) -> Iterator[Metric]:
    yield gauge("pilot_services", "Total services known to pilot", single(counted.services))
    yield gauge(
        "pilot_virt_services",
        "Total virtual services known to pilot",
        single(counted.objects["VirtualService"]),
    )
    config: dict[tuple[str, ...], float] = {}
    registry: dict[tuple[str, ...], float] = {}
    for (kind, event), number in sorted(counted.events.items()):
        if kind in REGISTRY_KINDS:
            registry[REGISTRY_KINDS[kind], event] = number
        else:
            config[kind, event] = number
    labels = ("type", "event")
    yield counter("pilot_k8s_cfg_events", "Events of configuration objects", config, labels)
    yield counter("pilot_k8s_reg_events", "Events of services and endpoints", registry, labels)
    yield counter(
        "pilot_inbound_updates",
        "Total number of updates received by pilot",
        {(kind,): number for kind, number in sorted(counted.updates.items())},
        ("type",),
    )
    yield gauge(
        "argosy_objects",
        "Objects in the store",
        {(kind,): number for kind, number in sorted(counted.objects.items())},
        ("kind",),
    )
    yield gauge("argosy_revision", "The store's revision", single(revision))


def of_pushes(triggers: Mapping[str, int], failed: int, lost_hosts: int) -> Iterator[Metric]:
    """``failed`` counts mistakes of our own; ``lost_hosts`` those that a rule loses to another."""
    yield counter(
        "pilot_push_triggers",
        "Total number of times a push was triggered, labeled by reason for the push",
        {(why,): number for why, number in sorted(triggers.items())},
        ("type",),
    )
    yield counter(
        "pilot_total_xds_internal_errors",
        "Total number of internal XDS errors in pilot",
        single(failed),
    )
    yield gauge(
        "pilot_vservice_dup_domain", "Virtual services with dup domains", single(lost_hosts)
    )


def of_conflicts(found: Conflicts) -> Iterator[Metric]:
    yield gauge(
        "pilot_conflict_outbound_listener_tcp_over_current_tcp",
        "Number of conflicting tcp listeners with current tcp listener",
        single(found.outbound),
    )
    yield gauge(
        "pilot_conflict_inbound_listener",
        "Number of conflicting inbound listeners",
        single(found.inbound),
    )
    yield gauge(
        "pilot_no_ip",
        "Connected sidecars that no service selects: of clients alone this is as it should be",
        single(found.unselected),
    )


def of_keys(fetched: int, failed: int) -> Iterator[Metric]:
    name = "pilot_jwks_resolver_network_fetch"
    what = "Total number of network fetches by pilot jwks resolver that"
    yield counter(f"{name}_success_total", f"{what} succeeded", single(fetched))
    yield counter(f"{name}_fail_total", f"{what} failed", single(failed))


def _kind(type_url: str) -> str:
    return type_urls.short_name(type_url).lower()


def _by_type(counted: Mapping[str, int]) -> dict[tuple[str, ...], float]:
    return {(_kind(url),): number for url, number in sorted(counted.items())}


def _numbers(found: Histogram) -> tuple[tuple[float, ...], list[int], float]:
    return found.bounds, found.counts, found.total
