"""Hand-built responses are what protobuf itself would read; shared ones are never given twice."""

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from hypothesis import given
from hypothesis import strategies as st

from argosy.xds.source import Resource
from argosy.xds.wire import (
    EMPTY,
    Encoder,
    MalformedRequestError,
    Protocol,
    Response,
    decode,
    delta_response,
    sotw_response,
)

URL = "type.googleapis.com/some.Type"
resources = st.lists(
    st.builds(
        Resource,
        st.text(max_size=200),
        st.text(max_size=16),
        st.lists(st.binary(max_size=40_000), max_size=3).map(tuple),
    ),
    max_size=4,
)


@given(resources, st.lists(st.text(max_size=300)), st.integers(1, 10**9).map(str))
def test_delta_responses(several: list[Resource], removed: list[str], nonce: str) -> None:
    raw = delta_response(URL, several, removed, nonce)
    message = discovery_pb2.DeltaDiscoveryResponse.FromString(raw)
    expected = discovery_pb2.DeltaDiscoveryResponse(
        type_url=URL, nonce=nonce, removed_resources=removed
    )
    for one in several:
        added = expected.resources.add(name=one.name, version=one.version)
        added.resource.type_url, added.resource.value = URL, one.body
    assert message == expected


@given(resources, st.text(max_size=200))
def test_sotw_responses(several: list[Resource], version: str) -> None:
    message = discovery_pb2.DiscoveryResponse.FromString(sotw_response(URL, several, version, "7"))
    expected = discovery_pb2.DiscoveryResponse(type_url=URL, nonce="7", version_info=version)
    for one in several:
        expected.resources.add(type_url=URL, value=one.body)
    assert message == expected


def test_requests_are_read_whole() -> None:
    message = discovery_pb2.DeltaDiscoveryRequest(
        type_url=URL,
        resource_names_subscribe=["a"],
        resource_names_unsubscribe=["b"],
        initial_resource_versions={"c": "1"},
        response_nonce="5",
    )
    message.node.id = "me"
    message.error_detail.message = "no"
    request, node = decode(Protocol.DELTA, message.SerializeToString())
    assert (request.type_url, request.nonce, request.error) == (URL, "5", "no")
    assert (request.subscribe, request.unsubscribe) == (("a",), ("b",))
    assert request.initial_versions == {"c": "1"}
    assert node == message.node.SerializeToString()


def test_an_error_without_words_is_an_error_all_the_same() -> None:
    message = discovery_pb2.DiscoveryRequest(type_url=URL)
    message.error_detail.code = 13
    request, node = decode(Protocol.SOTW, message.SerializeToString())
    assert request.error
    assert node == b""


@pytest.mark.parametrize("protocol", list(Protocol))
def test_garbage_is_said_to_be_garbage(protocol: Protocol) -> None:
    with pytest.raises(MalformedRequestError):
        decode(protocol, b"\xff\xff\xff")


def test_a_shared_response_is_newer_than_what_the_stream_had() -> None:
    encoder = Encoder()
    one = (Resource("a", "1", (b"x",)),)
    first = encoder.response(Protocol.DELTA, URL, one, (), None, last_nonce=0)
    assert encoder.response(Protocol.DELTA, URL, one, (), None, last_nonce=0) is first
    again = encoder.response(Protocol.DELTA, URL, one, (), None, last_nonce=int(first.nonce))
    assert again.nonce != first.nonce


def test_only_responses_that_somebody_waits_for_are_kept_beyond_a_bound() -> None:
    encoder = Encoder(capacity=1000)
    sets = [(Resource(str(number), "1", (b"x" * 400,)),) for number in range(50)]

    def response(number: int) -> Response:
        return encoder.response(Protocol.DELTA, URL, sets[number], (), None, last_nonce=0)

    awaited = response(0)
    for number in range(1, 50):
        response(number)
    assert len(encoder._known) == 3, "the awaited one, and two that fit the bound"
    assert response(0) is awaited
    assert encoder.encoded == 50


def test_the_version_of_a_full_set_depends_on_its_content_alone() -> None:
    a, b = Resource("a", "1", (b"x",)), Resource("b", "1", (b"y",))
    together = Encoder().response(Protocol.SOTW, URL, (b, a), (), EMPTY, 0)
    encoder = Encoder()
    first = encoder.response(Protocol.SOTW, URL, (a,), (), EMPTY, 0)
    second = encoder.response(Protocol.SOTW, URL, (b,), (), first.snapshot, 0)

    def version(raw: bytes) -> str:
        return str(discovery_pb2.DiscoveryResponse.FromString(raw).version_info)

    assert version(together.body) == version(second.body) != version(first.body)
