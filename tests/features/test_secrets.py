"""Secrets over ADS: who gets which, and what becomes of it when somebody else asks, or it changes."""

from textwrap import indent

from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from tests.features.test_distribution import Plane, node, peer

from argosy.model.proxy import ProxyType, Role
from argosy.testing.certificates import Credential, ScratchAuthority
from argosy.testing.graph import a_pod, a_service
from argosy.testing.graph import gateway as gateway_role
from argosy.testing.xds.clients import DeltaClient
from argosy.testing.xds.connections import Connection, in_memory
from argosy.xds import type_urls

NAME = "kubernetes://site"
AUTHORITY = ScratchAuthority()
OURS, THEIRS = (AUTHORITY.credential("site.example.com") for _ in range(2))


def secret(name: str, namespace: str, own: Credential) -> str:
    return f"""
apiVersion: v1
kind: Secret
metadata: {{name: {name}, namespace: {namespace}}}
type: kubernetes.io/tls
stringData:
  tls.crt: |
{indent(own.certificate, "    ")}
  tls.key: |
{indent(own.key, "    ")}
"""


def gateway_pod(name: str, address: str, namespace: str) -> str:
    plain = a_pod(name, address, namespace, istio="ingressgateway")
    injected = "\n  annotations: {inject.istio.io/templates: gateway}\nspec:"
    return plain.replace("security.istio.io/tlsMode: istio", "app: gateway").replace(
        "\nspec:", injected
    )


def gateway(credential: str = "site") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge, namespace: default}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - port: {{number: 443, name: https, protocol: HTTPS}}
    hosts: [site.example.com]
    tls: {{mode: SIMPLE, credentialName: {credential}}}
"""


WORLD = (
    a_service("reviews", 9080),
    gateway_pod("edge-1", "10.244.0.31", "istio-system"),
    gateway_pod("tenant-1", "10.244.0.32", "tenant"),
    a_pod("neighbour-1", "10.244.0.33", "istio-system", app="neighbour"),
    secret("site", "istio-system", OURS),
    secret("other", "istio-system", OURS),
    gateway(),
)


def router(pod: str, namespace: str) -> DeltaClient:
    return DeltaClient(
        node={"id": f"router~10.244.0.31~{pod}.{namespace}~{namespace}.svc.cluster.local"}
    )


def key_in(client: DeltaClient, name: str = NAME) -> str:
    """The key that a client has been given; empty when none."""
    body = client.have[type_urls.SECRET].get(name)
    if body is None:
        return ""
    found = secret_pb2.Secret.FromString(body)
    return found.tls_certificate.private_key.inline_bytes.decode()


async def asked(stream: Connection, client: DeltaClient, *names: str) -> None:
    """Subscribed, and answered: what is not there is answered with a removal."""
    before = len(client.received)
    await stream.say(client.subscribe(type_urls.SECRET, *names))
    await stream.until(lambda: len(client.received) > before)


async def test_each_namespace_has_its_own_and_others_have_none() -> None:
    edge, tenant = router("edge-1", "istio-system"), router("tenant-1", "tenant")
    neighbour = DeltaClient(node=node("neighbour-1", "istio-system"))
    async with (
        Plane(*WORLD).running() as plane,
        in_memory(plane.server, edge, peer("istio-system")) as at_edge,
        in_memory(plane.server, tenant, peer("tenant")) as at_tenant,
        in_memory(plane.server, neighbour, peer("istio-system")) as at_neighbour,
    ):
        await asked(at_edge, edge, NAME, "kubernetes://other", "kubernetes://istio-system/site")
        assert key_in(edge) == OURS.key
        assert set(edge.have[type_urls.SECRET]) == {NAME}  # no rule names the others
        # The same name has been answered now, to another proxy of the same labels.
        await asked(at_tenant, tenant, NAME)
        await asked(at_tenant, tenant, "kubernetes://istio-system/site")
        assert tenant.have[type_urls.SECRET] == {}
        # Of the right namespace, but no rule is for it.
        await asked(at_neighbour, neighbour, NAME)
        assert neighbour.have[type_urls.SECRET] == {}
        plane.graph.apply(secret("site", "tenant", THEIRS))
        await at_tenant.until(lambda: key_in(tenant) == THEIRS.key)
        assert key_in(edge) == OURS.key
        assert neighbour.have[type_urls.SECRET] == {}


async def test_a_secret_is_replaced_taken_away_and_given_back() -> None:
    edge = router("edge-1", "istio-system")
    async with (
        Plane(*WORLD).running() as plane,
        in_memory(plane.server, edge, peer("istio-system")) as stream,
    ):
        await asked(stream, edge, NAME)
        plane.graph.apply(secret("site", "istio-system", THEIRS))
        await stream.until(lambda: key_in(edge) == THEIRS.key)
        plane.graph.apply(gateway("other"))  # nothing names it any more
        await stream.until(lambda: key_in(edge) == "")
        plane.graph.apply(gateway())
        await stream.until(lambda: key_in(edge) == THEIRS.key)
        plane.graph.delete("Secret", "istio-system", "site")
        await stream.until(lambda: key_in(edge) == "")


def test_keys_do_not_print() -> None:
    plane = Plane(*WORLD)
    role = Role(
        ProxyType.ROUTER,
        gateway_role().namespace,
        (("app", "gateway"), ("istio", "ingressgateway")),
        "default",
    )
    resource = plane.graph.resource(role, type_urls.SECRET, NAME)
    assert resource is not None
    assert OURS.key.encode() in resource.body
    printed = repr((resource, plane.graph.problems("Gateway", "default", "edge")))
    assert "PRIVATE KEY" not in printed
    assert "redacted" not in printed  # nothing was there to hide
