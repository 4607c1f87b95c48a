"""Retries of a route: model → ``RetryPolicy``, with Istio's choice of hosts."""

from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from envoy.extensions.retry.priority.previous_priorities.v3 import previous_priorities_config_pb2

from argosy.model.route import RetryPolicy

_PREVIOUS_HOSTS = "envoy.retry_host_predicates.previous_hosts"
_PREVIOUS_HOSTS_TYPE = (
    f"type.googleapis.com/{previous_hosts_pb2.PreviousHostsPredicate.DESCRIPTOR.full_name}"
)
"""An empty message, so its type is all there is to say: nearly every route has it."""

_HOST_SELECTION_ATTEMPTS = 5
"""How often a host that was tried already is passed over, before it is taken nevertheless."""

_PRIORITY_UPDATE_FREQUENCY = 2
"""After how many attempts the priorities tried so far are left out."""


def retry_policy(policy: RetryPolicy) -> route_components_pb2.RetryPolicy:
    proto = route_components_pb2.RetryPolicy(
        retry_on=policy.retry_on,
        host_selection_retry_max_attempts=_HOST_SELECTION_ATTEMPTS,
        retriable_status_codes=policy.status_codes,
    )
    proto.num_retries.value = policy.attempts
    if policy.per_try_timeout is not None:
        proto.per_try_timeout.FromTimedelta(policy.per_try_timeout)
    if policy.backoff is not None:
        proto.retry_back_off.base_interval.FromTimedelta(policy.backoff)
    if policy.previous_hosts:
        predicate = proto.retry_host_predicate.add(name=_PREVIOUS_HOSTS)
        predicate.typed_config.type_url = _PREVIOUS_HOSTS_TYPE
    if policy.remote_localities:
        proto.retry_priority.name = "envoy.retry_priorities.previous_priorities"
        proto.retry_priority.typed_config.Pack(
            previous_priorities_config_pb2.PreviousPrioritiesConfig(
                update_frequency=_PRIORITY_UPDATE_FREQUENCY
            )
        )
    return proto
