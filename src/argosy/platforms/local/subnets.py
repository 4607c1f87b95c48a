"""The addresses of a mesh on one machine: the same in each, since each has its own network."""

import ipaddress

SUBNET = ipaddress.IPv4Network("10.244.0.0/16")
"""Of pods."""

GATEWAY = "10.244.0.1"
"""The bridge's, where the control plane answers."""

SERVICE_SUBNET = ipaddress.IPv4Network("10.96.0.0/16")
