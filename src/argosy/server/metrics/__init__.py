"""The control plane's metrics: what its parts count, under Istio's names and Argosy's own."""
