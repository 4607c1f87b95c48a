"""Spans of proxies and applications: taken in, kept within bounds, found again."""
