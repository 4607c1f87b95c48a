"""The control plane's process: the composition root, its HTTP API, and what it tells of itself."""
