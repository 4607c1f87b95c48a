"""The sidecar: Envoy plus the agent that starts it, certifies it, captures traffic and drains it."""
