"""The control plane's own traces: what became of a change, from the request to the last proxy's answer."""
