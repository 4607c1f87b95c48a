"""What tests need and production does not: golden files, Envoy as a judge, builders, fakes."""
