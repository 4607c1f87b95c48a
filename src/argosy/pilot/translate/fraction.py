"""Shares of requests: millionths → ``envoy.type.v3.FractionalPercent``."""

from envoy.config.core.v3 import base_pb2
from envoy.type.v3 import percent_pb2

from argosy.model.route import Millionths


def fractional_percent(share: Millionths) -> percent_pb2.FractionalPercent:
    return percent_pb2.FractionalPercent(
        numerator=share, denominator=percent_pb2.FractionalPercent.MILLION
    )


def runtime_fraction(share: Millionths) -> base_pb2.RuntimeFractionalPercent:
    """Without a runtime key: nothing but the configuration changes the share."""
    return base_pb2.RuntimeFractionalPercent(default_value=fractional_percent(share))
