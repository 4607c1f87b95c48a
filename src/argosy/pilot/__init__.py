"""Turns configuration into Envoy configuration: compile (api to model), translate (model to Envoy)."""
