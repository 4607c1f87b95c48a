"""JSON merge patch, RFC 7386."""

from argosy.server.http.encoding import Json


def merge_patch(target: Json, patch: Json) -> Json:
    """``target`` with ``patch`` merged in: null removes, objects merge, all else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged: dict[str, Json] = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged
