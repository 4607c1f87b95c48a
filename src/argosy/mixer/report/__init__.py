"""Compliance and least privilege: facts of a mesh in, findings and policies out. Pure."""
