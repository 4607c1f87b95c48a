from argosy.model.proxy import ProxyType
from argosy.proxy.connection_limit import usual_limit


def test_a_gateway_keeps_descriptors_for_its_own_connections() -> None:
    assert usual_limit(ProxyType.ROUTER, 20_000) == 10_000
    assert usual_limit(ProxyType.ROUTER, 1_000_000) == 50_000
    assert usual_limit(ProxyType.ROUTER, -1) == 50_000, "no limit"


def test_a_sidecar_has_no_limit() -> None:
    assert usual_limit(ProxyType.SIDECAR, 20_000) is None
