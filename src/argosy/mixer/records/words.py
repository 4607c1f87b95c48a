"""What Envoy's response flags and details mean, in words. Pure data, and the choice among it.

Flags: https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage
Details: https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/response_code_details
"""

from dataclasses import dataclass
from enum import Enum

from argosy.mixer.records.record import Record
from argosy.model.records import Direction


class Blame(Enum):
    """Where to look for what is responsible."""

    NOBODY = "nobody"
    APPLICATION = "application"
    CLIENT = "client"
    PROXY = "proxy"
    ROUTES = "routes"
    DESTINATION = "destination"
    SUBSET = "subset"
    TIMEOUT = "timeout"
    RETRIES = "retries"
    FAULT = "fault"
    LIMITS = "limits"
    CONNECTION = "connection"
    TLS = "tls"
    PEER = "peer"
    AUTHORIZATION = "authorization"
    EXTERNAL_AUTHORIZATION = "external authorization"
    TOKENS = "tokens"
    RATE_LIMIT = "rate limit"
    UNKNOWN_HOST = "unknown host"


@dataclass(frozen=True, slots=True)
class Meaning:
    """``words`` say what happened, ``todo`` what to do about it."""

    words: str
    todo: str
    blame: Blame


FLAGS: dict[str, Meaning] = {
    "NR": Meaning(
        "no route matches the request, or no filter chain the connection",
        "add a rule that matches it to the VirtualService of the host, or call a host that exists",
        Blame.ROUTES,
    ),
    "NC": Meaning(
        "the route leads to a host or subset that the proxy does not know",
        "define the subset in a DestinationRule, or name a host that exists and is exported to the caller",
        Blame.SUBSET,
    ),
    "UH": Meaning(
        "no healthy endpoint of the destination is left",
        "make a workload behind it ready, or correct the labels that select its workloads",
        Blame.DESTINATION,
    ),
    "UF": Meaning(
        "the connection to the destination could not be made",
        "see whether its program listens on the port that the Service names as targetPort",
        Blame.CONNECTION,
    ),
    "UO": Meaning(
        "a circuit breaker is open: the destination has as many connections or requests as allowed",
        "raise the limits of the connection pool, add replicas, or call less",
        Blame.LIMITS,
    ),
    "UT": Meaning(
        "the destination did not answer within the timeout",
        "find out why it is slow, or give the route a longer timeout",
        Blame.TIMEOUT,
    ),
    "URX": Meaning(
        "every attempt failed, and no more retries are allowed",
        "look at the destination's own failures; more attempts hide them at most",
        Blame.RETRIES,
    ),
    "UC": Meaning(
        "the destination closed the connection before its answer was complete",
        "see whether its program ended or closes idle connections early, or refuses the proxy's TLS",
        Blame.CONNECTION,
    ),
    "UR": Meaning(
        "the destination reset the request",
        "look at the log of the destination: its program or its proxy gave up the stream",
        Blame.CONNECTION,
    ),
    "LR": Meaning(
        "the proxy reset the request itself",
        "look at the log of this proxy: argosy logs WORKLOAD -c istio-proxy",
        Blame.PROXY,
    ),
    "LH": Meaning(
        "the workload fails its own health check",
        "look at the workload: its proxy was told that it is not healthy",
        Blame.APPLICATION,
    ),
    "DC": Meaning(
        "the client went away before the answer was complete",
        "look at the client: it gave up waiting, was cancelled or ended",
        Blame.CLIENT,
    ),
    "DR": Meaning(
        "the client reset the request",
        "look at the client: it gave up waiting or was cancelled",
        Blame.CLIENT,
    ),
    "DPE": Meaning(
        "the client does not speak HTTP as it should",
        "look at what the client sends: is it HTTP at all, and the protocol that the port declares?",
        Blame.CLIENT,
    ),
    "IH": Meaning(
        "the client sent an x-envoy- header with a value that is not allowed",
        "correct or remove that header in the client",
        Blame.CLIENT,
    ),
    "FI": Meaning(
        "the answer was injected: a fault that somebody asked for",
        "remove `fault.abort` from the rule if the test is over",
        Blame.FAULT,
    ),
    "DI": Meaning(
        "the request was held back: a delay that somebody asked for",
        "remove `fault.delay` from the rule if the test is over",
        Blame.FAULT,
    ),
    "RL": Meaning(
        "a rate limit was reached",
        "wait as long as the answer's headers say, or raise the limit",
        Blame.RATE_LIMIT,
    ),
    "RLSE": Meaning(
        "the rate limit service could not be asked, and the limit fails closed",
        "see whether the rate limit service runs, or let the limit fail open",
        Blame.RATE_LIMIT,
    ),
    "UAEX": Meaning(
        "the external authorizer refused the request, or could not be asked",
        "look at the authorizer's log, and whether it runs",
        Blame.EXTERNAL_AUTHORIZATION,
    ),
    "SI": Meaning(
        "nothing was sent on the stream for the idle timeout",
        "send something now and then, or set a longer idle timeout",
        Blame.TIMEOUT,
    ),
    "DT": Meaning(
        "the connection or stream reached the longest duration that is allowed",
        "set a longer duration, or let the client connect again",
        Blame.LIMITS,
    ),
    "UMSDR": Meaning(
        "the request took as long as a stream may last at the most",
        "set a longer timeout or stream duration, or make the destination answer faster",
        Blame.TIMEOUT,
    ),
    "UPE": Meaning(
        "the destination does not answer in HTTP as it should",
        "see whether the port's declared protocol is what the program speaks (HTTP/1.1, HTTP/2, gRPC)",
        Blame.DESTINATION,
    ),
    "DF": Meaning(
        "the destination's name could not be resolved",
        "correct the host, or see whether the DNS server answers",
        Blame.DESTINATION,
    ),
    "OM": Meaning(
        "the proxy is overloaded and refuses what it cannot hold",
        "give the proxy more memory or a higher connection limit, or add replicas",
        Blame.PROXY,
    ),
    "DO": Meaning(
        "the request was dropped: the endpoints are told to take a part of the load only",
        "look at the drop policy of the destination's endpoints",
        Blame.DESTINATION,
    ),
    "UDO": Meaning(
        "the request was dropped: the endpoints are told to take nothing at all",
        "look at the drop policy of the destination's endpoints",
        Blame.DESTINATION,
    ),
    "RFCF": Meaning(
        "the answer came from a cache filter",
        "nothing: it is no failure",
        Blame.NOBODY,
    ),
    "NFCF": Meaning(
        "the configuration of a filter has not arrived, and the filter is needed",
        "look at `argosy proxy-config` and `argosy status`: was an extension refused or is it late?",
        Blame.PROXY,
    ),
}

_ORDER = (
    "FI", "UAEX", "RLSE", "RL", "NC", "NR", "DF", "NFCF", "OM", "IH", "DPE", "UO", "UDO", "DO", "UH",
    "URX", "UF", "UPE", "UT", "UMSDR", "SI", "DT", "UC", "UR", "LH", "LR", "DR", "DC", "DI", "RFCF",
)  # fmt: skip
"""Of several flags, the first says most."""

DETAILS: tuple[tuple[str, Meaning], ...] = (
    (
        "rbac_access_denied_matched_policy[none]",
        Meaning(
            "no ALLOW policy allows it",
            "allow the caller in an AuthorizationPolicy, or call as who is allowed",
            Blame.AUTHORIZATION,
        ),
    ),
    (
        "rbac_access_denied",
        Meaning(
            "an AuthorizationPolicy denies it",
            "change that rule if the caller should pass",
            Blame.AUTHORIZATION,
        ),
    ),
    (
        "jwt_authn_access_denied{Jwt_is_missing",
        Meaning(
            "the request has no token, and one is required",
            "send a token: `Authorization: Bearer TOKEN`",
            Blame.TOKENS,
        ),
    ),
    (
        "jwt_authn_access_denied{Jwt_is_expired",
        Meaning("the token has expired", "get a new token", Blame.TOKENS),
    ),
    (
        "jwt_authn_access_denied{Audiences_in_Jwt",
        Meaning(
            "the token is for another audience",
            "get a token for one of the audiences that the rule names",
            Blame.TOKENS,
        ),
    ),
    (
        "jwt_authn_access_denied{Jwt_issuer",
        Meaning(
            "no rule knows the issuer of the token",
            "use a token of an issuer that the rules name, or add the issuer",
            Blame.TOKENS,
        ),
    ),
    (
        "jwt_authn_access_denied",
        Meaning(
            "the token is not valid",
            "see that the token is whole, and signed with a key of the issuer that the rule names",
            Blame.TOKENS,
        ),
    ),
    ("ext_authz_denied", Meaning(
        "the external authorizer refused the request",
        "look at the authorizer's log for its reason",
        Blame.EXTERNAL_AUTHORIZATION,
    )),
    ("ext_authz_error", Meaning(
        "the external authorizer could not be asked, and the check fails closed",
        "see whether the authorizer runs, listens on the port that its provider in MeshConfig names, "
        "and answers within that provider's timeout",
        Blame.EXTERNAL_AUTHORIZATION,
    )),
    ("fault_filter_abort", FLAGS["FI"]),
    ("local_rate_limited", Meaning(
        "this replica's own rate limit was reached",
        "wait as long as the answer's headers say, or raise the limit",
        Blame.RATE_LIMIT,
    )),
    ("rate_limited_by_quota", FLAGS["RL"]),
    ("request_rate_limited", FLAGS["RL"]),
    ("rate_limiter_error", FLAGS["RLSE"]),
    ("filter_chain_not_found", Meaning(
        "the workload takes no such connection: it is not the mesh's TLS, most likely",
        "call through a sidecar with mutual TLS, or let the workload take plaintext (PERMISSIVE)",
        Blame.PEER,
    )),
    ("route_not_found", FLAGS["NR"]),
    ("cluster_not_found", FLAGS["NC"]),
    ("no_healthy_upstream", FLAGS["UH"]),
    ("maintenance_mode", FLAGS["UO"]),
    ("upstream_per_try_timeout", Meaning(
        "an attempt took longer than a single one may",
        "find out why the destination is slow, or set a longer `perTryTimeout`",
        Blame.TIMEOUT,
    )),
    ("upstream_response_timeout", FLAGS["UT"]),
    ("upstream_max_stream_duration_reached", FLAGS["UMSDR"]),
    ("response_timeout", FLAGS["UT"]),
    ("request_overall_timeout", Meaning(
        "the client did not send its whole request in time",
        "look at the client: it is slow, or its network is",
        Blame.CLIENT,
    )),
    ("request_header_timeout", Meaning(
        "the client did not send the headers of its request in time",
        "look at the client: it is slow, or its network is",
        Blame.CLIENT,
    )),
    ("stream_idle_timeout", FLAGS["SI"]),
    ("max_duration_timeout", FLAGS["DT"]),
    ("dns_resolution_failure", FLAGS["DF"]),
    ("drop_overload", FLAGS["DO"]),
    ("unconditional_drop_overload", FLAGS["UDO"]),
    ("overload", FLAGS["OM"]),
    ("missing_host_header", Meaning(
        "the request names no host", "send a Host header", Blame.CLIENT
    )),
    ("missing_path_rejected", Meaning(
        "the request has no path", "send a path: GET / HTTP/1.1", Blame.CLIENT
    )),
    ("path_normalization_failed", Meaning(
        "the path cannot be normalized", "correct the path that the client sends", Blame.CLIENT
    )),
    ("invalid_envoy_request_headers", FLAGS["IH"]),
    ("low_version", Meaning(
        "the client speaks HTTP/1.0, which is not accepted",
        "use HTTP/1.1, or set ISTIO_META_HTTP10 as the page on protocol selection says",
        Blame.CLIENT,
    )),
    ("request_payload_too_large", Meaning(
        "the request's body is larger than a filter may hold",
        "send less, or raise the filter's limit",
        Blame.CLIENT,
    )),
    ("response_payload_too_large", Meaning(
        "the answer's body is larger than a filter may hold",
        "answer less, or raise the filter's limit",
        Blame.APPLICATION,
    )),
    ("request_headers_too_large", Meaning(
        "the request's headers are too large", "send smaller headers or cookies", Blame.CLIENT
    )),
    ("upgrade_failed", Meaning(
        "the request asks for a protocol that the proxy does not switch to",
        "ask for websocket, or for no upgrade",
        Blame.CLIENT,
    )),
    ("downstream_remote_disconnect", FLAGS["DC"]),
    ("http2.remote_reset", FLAGS["DR"]),
    ("http2.remote_refuse", FLAGS["DR"]),
    ("http1.", FLAGS["DPE"]),
    ("http2.", FLAGS["DPE"]),
    ("http3.", FLAGS["DPE"]),
    ("direct_response", Meaning(
        "the rule itself answers: it has a direct response or a redirect",
        "change the rule if a workload should answer",
        Blame.ROUTES,
    )),
)  # fmt: skip
"""By the beginning of the details; the first that fits."""

_NOT_LISTENING = Meaning(
    "nothing listens at the destination's port",
    "see whether its program runs, and listens on the port that the Service names as targetPort",
    Blame.DESTINATION,
)
_EXPIRED = Meaning(
    "a certificate has expired",
    "renew it; of the mesh's own, `argosy certs -o wide` tells why they were not renewed",
    Blame.TLS,
)
TRANSPORT: tuple[tuple[str, Meaning], ...] = (
    ("SAN matcher", Meaning(
        "the destination's certificate is for another name than the proxy expects",
        "correct `subjectAltNames` in the TLS settings for the destination, or see who answers there",
        Blame.TLS,
    )),
    ("certificate has expired", _EXPIRED),
    ("CERTIFICATE_VERIFY_FAILED", Meaning(
        "the destination's certificate is of an authority that the proxy does not trust",
        "name the authority that signed it in the TLS settings for the destination (`caCertificates`, "
        "`credentialName`); for workloads of the mesh use ISTIO_MUTUAL, or no settings",
        Blame.TLS,
    )),
    ("WRONG_VERSION_NUMBER", Meaning(
        "the proxy spoke TLS, and the destination answered in plaintext",
        "set the TLS mode for the destination to DISABLE, or let the destination speak TLS",
        Blame.TLS,
    )),
    ("CERTIFICATE_REQUIRED", Meaning(
        "the destination wants a client certificate",
        "use MUTUAL or ISTIO_MUTUAL in the TLS settings for the destination",
        Blame.TLS,
    )),
    ("CERTIFICATE_UNKNOWN", Meaning(
        "the destination does not accept the proxy's certificate",
        "see whose certificates the destination trusts",
        Blame.TLS,
    )),
    ("UNKNOWN_CA", Meaning(
        "the destination does not know the authority of the proxy's certificate",
        "see whose certificates the destination trusts",
        Blame.TLS,
    )),
    ("CERTIFICATE_EXPIRED", _EXPIRED),
    ("TLS_error", Meaning(
        "the TLS handshake with the destination failed",
        "see whether both sides agree on TLS: a DestinationRule sets the client's, a "
        "PeerAuthentication the server's",
        Blame.TLS,
    )),
    ("Connection refused", _NOT_LISTENING),
    ("delayed connect error: 111", _NOT_LISTENING),
    ("immediate connect error: 101", Meaning(
        "there is no way to the destination's network",
        "see whether its address is right, and reachable from here",
        Blame.DESTINATION,
    )),
    ("delayed connect error: 113", Meaning(
        "the destination's host is not reachable",
        "see whether its address is right, and reachable from here",
        Blame.DESTINATION,
    )),
)  # fmt: skip
"""By a part of what the transport said of the failure, spaces as ``_`` or not; the first that fits."""

BLOCK_ALL = "block_all"
BLACK_HOLE = "BlackHoleCluster"
"""The route, and the cluster, of hosts that nobody may call: the names are Istio's."""

TLS_REFUSED = Meaning(
    "the client's TLS handshake failed",
    "see whether the client shows a certificate of the mesh, and trusts the mesh",
    Blame.PEER,
)
PLAINTEXT = ("HTTP_REQUEST", "WRONG_VERSION_NUMBER", "HTTPS_PROXY_REQUEST")
"""What TLS says of bytes that are no TLS."""

NOT_PLAINTEXT = Meaning(
    "the client spoke plaintext, and the workload demands the mesh's mutual TLS",
    "call through a sidecar with mutual TLS, or let the workload take plaintext (PERMISSIVE)",
    Blame.PEER,
)
UNKNOWN_HOST = Meaning(
    "the mesh does not know this host, and lets nobody call hosts that it does not know",
    "define the host by a ServiceEntry, or allow unknown hosts (outboundTrafficPolicy: ALLOW_ANY)",
    Blame.UNKNOWN_HOST,
)
ANSWERED = Meaning(
    "the application answered so itself; no proxy was the cause",
    "look at the application: argosy logs WORKLOAD",
    Blame.APPLICATION,
)
PASSED_ON = Meaning(
    "the destination answered so; this proxy passed it on",
    "look at the record of the destination's own proxy",
    Blame.NOBODY,
)
UNANSWERED = Meaning(
    "there was no answer, and the proxy does not say why",
    "look at the log of this proxy: argosy logs WORKLOAD -c istio-proxy",
    Blame.PROXY,
)
SUCCESS = Meaning("it went well", "nothing", Blame.NOBODY)


def meaning(record: Record) -> Meaning:
    """What a record says, in the most telling of its parts."""
    if not record.is_failure:
        return SUCCESS
    if record.route == BLOCK_ALL or record.cluster == BLACK_HOLE:
        return UNKNOWN_HOST
    for text in (record.details, record.termination):
        for beginning, found in DETAILS:
            if text.startswith(beginning):
                return found
    if of_transport := _of_transport(record.transport_failure):
        return of_transport
    if any(part in record.tls_failure for part in PLAINTEXT):
        return NOT_PLAINTEXT
    if record.tls_failure:
        return TLS_REFUSED
    if record.direction is Direction.INBOUND and not record.is_http and "NR" in record.flags:
        return dict(DETAILS)["filter_chain_not_found"]
    for flag in _ORDER:
        if flag in record.flags and flag not in ("DI", "RFCF"):
            return FLAGS[flag]
    if record.details == "via_upstream" or record.grpc_status:
        return ANSWERED if record.direction is Direction.INBOUND else PASSED_ON
    for flag in record.flags:
        if flag in FLAGS:
            return FLAGS[flag]
    return UNANSWERED


def _of_transport(text: str) -> Meaning | None:
    flat = text.replace(" ", "_")
    for part, found in TRANSPORT:
        if part.replace(" ", "_") in flat:
            return found
    return None
