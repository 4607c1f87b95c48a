"""The domain: frozen values that know neither YAML nor Envoy. Imports only ``base``."""
