"""Signers beside the mesh: its requests to them, and their answers."""
