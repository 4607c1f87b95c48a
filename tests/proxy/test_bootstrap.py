"""Envoy's bootstrap as a value."""

from dataclasses import replace
from typing import Any

from argosy.model.mixer import MIXER_CLUSTER
from argosy.model.proxy import ProxyType
from argosy.proxy.bootstrap import ProxyFacts, bootstrap

FACTS = ProxyFacts(
    type=ProxyType.SIDECAR,
    name="web-1",
    namespace="shop",
    address="10.244.0.7",
    service_account="web",
    labels=(("app", "web"),),
    workload="web",
    mesh="default",
    ads=("10.244.0.1", 15012),
)


def clusters(facts: ProxyFacts) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in bootstrap(facts)["static_resources"]["clusters"]}


def test_mixer_is_reached_by_mutual_tls_under_its_own_name() -> None:
    assert MIXER_CLUSTER not in clusters(FACTS)
    found = clusters(replace(FACTS, mixer=("10.244.0.1", 15004)))
    mixer, control_plane = found[MIXER_CLUSTER], found["xds-grpc"]
    (endpoint,) = mixer["load_assignment"]["endpoints"][0]["lb_endpoints"]
    address = endpoint["endpoint"]["address"]["socket_address"]
    assert (address["address"], address["port_value"]) == ("10.244.0.1", 15004)
    tls = mixer["transport_socket"]["typed_config"]
    assert tls["sni"] == "mixer.istio-system.svc"
    validation = tls["common_tls_context"]["combined_validation_context"]
    assert validation["default_validation_context"]["match_typed_subject_alt_names"] == [
        {"san_type": "DNS", "matcher": {"exact": "mixer.istio-system.svc"}}
    ]
    other = control_plane["transport_socket"]["typed_config"]["common_tls_context"]
    mine = tls["common_tls_context"]["tls_certificate_sds_secret_configs"]
    assert mine == other["tls_certificate_sds_secret_configs"]


def test_the_control_plane_has_a_layer_of_runtime_where_there_is_a_mixer() -> None:
    def layers(facts: ProxyFacts) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = bootstrap(facts)["layered_runtime"]["layers"]
        return found

    assert [layer["name"] for layer in layers(FACTS)] == ["static", "admin"]
    static, own, admin = layers(replace(FACTS, mixer=("10.244.0.1", 15004)))
    assert (static["name"], own["name"], admin["name"]) == ("static", "argosy", "admin")
    assert own["rtds_layer"]["name"] == "argosy"
    # It may not keep a proxy from its start for long.
    assert own["rtds_layer"]["rtds_config"]["initial_fetch_timeout"] == "5s"
