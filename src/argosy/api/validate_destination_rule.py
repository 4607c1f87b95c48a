"""What must hold for one DestinationRule alone.

Rules as in Istio's validation (``pkg/config/validation/validation.go``).
"""

from collections.abc import Iterator

from argosy.api.networking_destination_rule import (
    ClientTLSSettings,
    DestinationRule,
    PortTrafficPolicy,
    RetryBudget,
    Subset,
    TrafficPolicy,
    TunnelSettings,
)
from argosy.api.typed import Mistake, short
from argosy.api.validate_load_balancer import check_load_balancer
from argosy.api.validate_metadata import check_labels, is_dns_label
from argosy.api.validate_traffic import check_connection_pool, check_outlier_detection
from argosy.api.validate_values import (
    check_duration,
    check_export_to,
    check_host,
    check_percent,
    check_port,
    check_selector,
    check_unique,
    is_host,
    is_ip,
    warning,
)


def validate_destination_rule(rule: DestinationRule) -> Iterator[Mistake]:
    spec = rule.spec
    if not spec.host:
        yield Mistake("spec.host", "MissingField", "the rule is for no host", "Write host")
    else:
        yield from check_host(spec.host, "spec.host")
    yield from _traffic_policy(spec.traffic_policy, "spec.trafficPolicy")
    yield from check_unique((s.name for s in spec.subsets), "spec.subsets", "name", "subsets")
    for i, subset in enumerate(spec.subsets):
        yield from _subset(subset, f"spec.subsets[{i}]")
    yield from check_export_to(spec.export_to, rule.metadata.namespace, "spec.exportTo")
    yield from check_selector(spec.workload_selector, "spec.workloadSelector")
    own = {".", rule.metadata.namespace}
    if spec.workload_selector is not None and any(to not in own for to in spec.export_to):
        message = "a rule with a workloadSelector holds in its own namespace only"
        yield Mistake("spec.exportTo", "ConflictingFields", message, "Write . or remove it")


def _subset(subset: Subset, path: str) -> Iterator[Mistake]:
    if not is_dns_label(subset.name):
        message = f"{short(subset.name)} is not a name for a subset"
        hint = "At most 63 lower-case letters, digits and '-'"
        yield Mistake(f"{path}.name", "InvalidName", message, hint)
    yield from check_labels(subset.labels, f"{path}.labels")
    yield from _traffic_policy(subset.traffic_policy, f"{path}.trafficPolicy")


def _traffic_policy(policy: TrafficPolicy | None, path: str) -> Iterator[Mistake]:
    if policy is None:
        return
    if policy == TrafficPolicy():
        yield Mistake(path, "MissingField", "the traffic policy is empty", "Remove it")
    if policy.tunnel is not None and policy.proxy_protocol is not None:
        message = "tunnel and proxyProtocol exclude each other"
        yield Mistake(path, "ConflictingFields", message, "Keep one of them")
    yield from _settings(policy, path)
    seen: dict[int, int] = {}
    for i, settings in enumerate(policy.port_level_settings):
        where = f"{path}.portLevelSettings[{i}]"
        yield from _port_policy(settings, where)
        number = settings.port.number if settings.port is not None else 0
        if number and seen.setdefault(number, i) != i:
            message = f"port {number} has settings twice"
            yield Mistake(f"{where}.port.number", "DuplicateValue", message, "Merge them")
    yield from _tunnel(policy.tunnel, f"{path}.tunnel")
    yield from _retry_budget(policy.retry_budget, f"{path}.retryBudget")


def _port_policy(settings: PortTrafficPolicy, path: str) -> Iterator[Mistake]:
    if settings.port is None:
        yield Mistake(f"{path}.port", "MissingField", "the settings are for no port")
    else:
        yield from check_port(settings.port.number, f"{path}.port.number")
    blocks = (
        settings.load_balancer,
        settings.connection_pool,
        settings.outlier_detection,
        settings.tls,
    )
    if all(block is None for block in blocks):
        message = "there are no settings for the port"
        hint = "Write loadBalancer, connectionPool, outlierDetection or tls"
        yield Mistake(path, "MissingField", message, hint)
    yield from _settings(settings, path)


def _settings(policy: TrafficPolicy | PortTrafficPolicy, path: str) -> Iterator[Mistake]:
    """The blocks that a port's policy has too."""
    yield from check_outlier_detection(policy.outlier_detection, f"{path}.outlierDetection")
    yield from check_connection_pool(policy.connection_pool, f"{path}.connectionPool")
    yield from check_load_balancer(
        policy.load_balancer, policy.outlier_detection, f"{path}.loadBalancer"
    )
    yield from check_client_tls(policy.tls, f"{path}.tls")


def check_client_tls(tls: ClientTLSSettings | None, path: str) -> Iterator[Mistake]:
    """Certificates fit the mode."""
    if tls is None:
        return
    files = {
        "clientCertificate": tls.client_certificate,
        "privateKey": tls.private_key,
        "caCertificates": tls.ca_certificates,
    }
    written = [name for name, value in files.items() if value]
    credential = tls.credential_name
    if tls.mode in ("DISABLE", "ISTIO_MUTUAL"):
        others = {
            "credentialName": credential,
            "subjectAltNames": tls.subject_alt_names if tls.mode == "DISABLE" else (),
            "sni": tls.sni if tls.mode == "DISABLE" else "",
            "caCrl": tls.ca_crl,
        }
        written += [name for name, value in others.items() if value]
        for name in written:
            message = f"mode {tls.mode} does not use {name}"
            # Istio refuses the certificates with ISTIO_MUTUAL and ignores the rest.
            if tls.mode == "ISTIO_MUTUAL" and name in files:
                yield Mistake(f"{path}.{name}", "ConflictingFields", message, "Remove it")
            else:
                yield warning(f"{path}.{name}", "NoEffect", message, "Remove it")
        return
    if credential and written:
        message = f"credentialName and {' and '.join(written)} exclude each other"
        yield Mistake(path, "ConflictingFields", message, "Keep one way to give certificates")
    if credential and tls.ca_crl:
        message = "caCrl and credentialName exclude each other"
        yield Mistake(f"{path}.caCrl", "ConflictingFields", message, "Put ca.crl into the secret")
    if tls.mode == "MUTUAL" and not credential:
        for name in ("clientCertificate", "privateKey"):
            if not files[name]:
                message = f"mode MUTUAL needs {name}, or credentialName"
                yield Mistake(f"{path}.{name}", "MissingField", message)


def _tunnel(tunnel: TunnelSettings | None, path: str) -> Iterator[Mistake]:
    if tunnel is None:
        return
    if tunnel.protocol not in ("", "CONNECT", "POST"):
        message = f"{short(tunnel.protocol)} is not a protocol of tunnels"
        yield Mistake(f"{path}.protocol", "InvalidValue", message, "Use CONNECT or POST")
    if not is_host(tunnel.target_host) and not is_ip(tunnel.target_host):
        message = f"{short(tunnel.target_host)} is neither a host name nor an IP address"
        yield Mistake(f"{path}.targetHost", "InvalidHost", message)
    yield from check_port(tunnel.target_port, f"{path}.targetPort")


def _retry_budget(budget: RetryBudget | None, path: str) -> Iterator[Mistake]:
    if budget is None:
        return
    yield from check_percent(budget.percent, f"{path}.percent")
    yield from check_duration(budget.budget_interval, f"{path}.budgetInterval")
