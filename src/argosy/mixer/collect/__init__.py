"""Telemetry of proxies as it comes: OTLP metrics in, additions to edges out."""
