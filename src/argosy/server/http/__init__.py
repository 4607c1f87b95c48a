"""The control plane's HTTP API: Kubernetes' paths, verbs and errors, and Argosy's own endpoints."""
