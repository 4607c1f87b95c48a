"""Words of others, made fit to be kept and shown."""


def short(text: str, limit: int) -> str:
    """At most ``limit`` characters, and none that would move a terminal's cursor."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    if cut.isprintable():
        return cut
    return "".join(one if one.isprintable() else " " for one in cut)
