"""DestinationRules that originate TLS without saying whom to trust."""

from collections.abc import Iterator

from argosy.api.networking_destination_rule import ClientTLSSettings, DestinationRule
from argosy.base.names import ObjectKey
from argosy.base.problems import Problem, Severity
from argosy.derive import Reader, formula
from argosy.pilot.graph.world import read


@formula
def server_verification(get: Reader, key: ObjectKey) -> tuple[Problem, ...]:
    rule = read(get, key, DestinationRule)
    if rule is None:
        return ()
    policies = [("spec.trafficPolicy", rule.spec.traffic_policy)]
    policies += [
        (f"spec.subsets[{index}].trafficPolicy", subset.traffic_policy)
        for index, subset in enumerate(rule.spec.subsets)
    ]
    found: list[Problem] = []
    for path, policy in policies:
        if policy is None:
            continue
        found += _check(rule, policy.tls, f"{path}.tls", "")
        for index, each in enumerate(policy.port_level_settings):
            port = each.port.number if each.port else 0
            where = f"{path}.portLevelSettings[{index}].tls"
            found += _check(rule, each.tls, where, f" at port {port}")
    return tuple(found)


def _check(
    rule: DestinationRule, tls: ClientTLSSettings | None, field: str, port: str
) -> Iterator[Problem]:
    """A credential brings its own certificate authority."""
    if tls is None or tls.mode not in ("SIMPLE", "MUTUAL"):
        return
    if tls.ca_certificates or tls.credential_name:
        return
    level = "Port" if port else "Destination"
    consequence = (
        "the server's certificate is not verified"
        if tls.insecure_skip_verify
        else "every certificate authority that the system trusts may vouch for the server"
    )
    yield Problem(
        rule.key,
        field,
        f"NoServerCertificateVerification{level}Level",
        f"TLS mode {tls.mode} without caCertificates for {rule.spec.host}{port}: {consequence}",
        "set caCertificates, and subjectAltNames",
        Severity.WARNING,
    )
