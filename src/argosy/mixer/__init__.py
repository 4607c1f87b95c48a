"""Mixer: telemetry in, answers out; a process beside the control plane and off the requests' way."""
