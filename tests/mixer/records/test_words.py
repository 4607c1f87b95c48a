"""Every flag that Envoy has is said in words; the most telling part of a record is chosen."""

import msgspec
import pytest
from envoy.config.accesslog.v3 import accesslog_pb2 as config
from envoy.data.accesslog.v3 import accesslog_pb2 as data
from validate import validate_pb2

from argosy.mixer.records.entries import FLAG_NAMES
from argosy.mixer.records.record import TCP, Record, Reporter
from argosy.mixer.records.words import (
    _ORDER,
    DETAILS,
    FLAGS,
    TRANSPORT,
    Blame,
    Meaning,
    meaning,
)
from argosy.model.records import Direction

REPORTER = Reporter("default", "web", "web-v1", "web-v1-x")


def a_record(**facts: object) -> Record:
    usual = Record(0.0, 1.0, Direction.OUTBOUND, "HTTP/1.1", REPORTER, status=503)
    return msgspec.structs.replace(usual, **facts)


def flags_of_envoy() -> set[str]:
    """All that its filter of access logs by flags admits."""
    field = config.ResponseFlagFilter.DESCRIPTOR.fields_by_name["flags"]
    rules = field.GetOptions().Extensions[validate_pb2.rules]
    return set(getattr(rules.repeated.items.string, "in"))


def test_every_flag_of_envoy_has_words_and_a_remedy() -> None:
    known = flags_of_envoy()
    assert len(known) >= 30
    assert set(FLAGS) == known
    assert set(_ORDER) == known
    assert len(_ORDER) == len(known)
    for flag, found in FLAGS.items():
        assert meaning(a_record(flags=(flag,), details="")).words == found.words


def test_every_field_of_an_entry_is_a_flag_with_words() -> None:
    fields = {field.name for field in data.ResponseFlags.DESCRIPTOR.fields}
    assert set(FLAG_NAMES) == fields
    assert set(FLAG_NAMES.values()) <= set(FLAGS)


@pytest.mark.parametrize(
    "found", [*FLAGS.values(), *(m for _, m in DETAILS), *(m for _, m in TRANSPORT)]
)
def test_words_are_words(found: Meaning) -> None:
    for text in (found.words, found.todo):
        assert text == text.strip()
        assert text[0].islower()
        assert not text.endswith(".")


@pytest.mark.parametrize(
    ("facts", "words", "blame"),
    [
        (
            {"details": "rbac_access_denied_matched_policy[none]", "status": 403},
            "no ALLOW policy allows it",
            Blame.AUTHORIZATION,
        ),
        (
            {"details": "rbac_access_denied_matched_policy[ns[a]-policy[b]-rule[0]]"},
            "an AuthorizationPolicy denies it",
            Blame.AUTHORIZATION,
        ),
        (
            {"details": "jwt_authn_access_denied{Jwt_is_expired}", "status": 401},
            "the token has expired",
            Blame.TOKENS,
        ),
        (
            {
                "details": "upstream_reset_before_response_started{remote_connection_failure}",
                "flags": ("UF", "URX"),
                "transport_failure": "delayed connect error: Connection refused",
            },
            "nothing listens at the destination's port",
            Blame.DESTINATION,
        ),
        (
            {
                "flags": ("UF",),
                "transport_failure": "TLS_error:|268435581:SSL routines:OPENSSL_internal:"
                "CERTIFICATE_VERIFY_FAILED:verify cert failed: SAN matcher, certificate SANs are "
                "[spiffe://a/ns/b/sa/c]:TLS_error_end",
            },
            "the destination's certificate is for another name",
            Blame.TLS,
        ),
        *(
            (
                {
                    "flags": ("UF", "URX"),
                    "transport_failure": "TLS_error:|268435581:SSL routines:OPENSSL_internal:"
                    "CERTIFICATE_VERIFY_FAILED:verify cert failed: X509_verify_cert: certificate "
                    f"verification error at depth 0: {why}:TLS_error_end",
                },
                words,
                Blame.TLS,
            )
            for why, words in (
                ("certificate has expired", "a certificate has expired"),
                (
                    "unable to get local issuer certificate",
                    "the destination's certificate is of an",
                ),
            )
        ),
        ({"flags": ("DC",), "status": 0}, FLAGS["DC"].words, Blame.CLIENT),
        ({"flags": ("DI", "UT"), "status": 504}, FLAGS["UT"].words, Blame.TIMEOUT),
        ({"flags": ("DI",), "status": 200}, FLAGS["DI"].words, Blame.FAULT),
        ({"details": "http2.remote_reset", "flags": ("DR",)}, FLAGS["DR"].words, Blame.CLIENT),
        ({"route": "block_all", "status": 502}, "the mesh does not know", Blame.UNKNOWN_HOST),
        ({"details": "via_upstream", "status": 500}, "the destination answered", Blame.NOBODY),
        (
            {"details": "via_upstream", "status": 500, "direction": Direction.INBOUND},
            "the application answered",
            Blame.APPLICATION,
        ),
        (
            {"details": "via_upstream", "status": 200, "grpc_status": 14},
            "the destination answered",
            Blame.NOBODY,
        ),
        (
            {
                "protocol": TCP,
                "direction": Direction.INBOUND,
                "status": 0,
                "flags": ("NR",),
                "tls_failure": "TLS_error|error:1000009c:SSL routines:HTTP_REQUEST:TLS_error_end",
            },
            "the client spoke plaintext",
            Blame.PEER,
        ),
        (
            {"protocol": TCP, "direction": Direction.INBOUND, "status": 0, "flags": ("NR",)},
            "the workload takes no such connection",
            Blame.PEER,
        ),
        (
            {"termination": "rbac_access_denied_matched_policy[none]", "protocol": TCP},
            "no ALLOW policy allows it",
            Blame.AUTHORIZATION,
        ),
        ({"status": 0}, "there was no answer", Blame.PROXY),
        ({"status": 200}, "it went well", Blame.NOBODY),
    ],
)
def test_the_most_telling_part_is_said(facts: dict[str, object], words: str, blame: Blame) -> None:
    found = meaning(a_record(**facts))
    assert found.words.startswith(words)
    assert found.blame is blame
