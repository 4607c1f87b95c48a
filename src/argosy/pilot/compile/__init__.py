"""Api objects to model values: pure, one file per concern. Never sees Envoy."""
