"""Model values to Envoy protos: pure, one file per Envoy concept. Never sees api or store."""
