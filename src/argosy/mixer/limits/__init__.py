"""Shared rate limits: Mixer counts for all proxies of a limit together."""
