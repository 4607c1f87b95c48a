"""Keeps the control plane's process small. Import it before anything else; it acts once.

``structlog`` draws tracebacks with Rich where it finds it, which with Pygments takes 5 MB. A
server's log has plain ones, so it does not find it. (``None`` in ``sys.modules`` is Python's way to
say that there is no such module.)
"""

import sys

sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # the documented value
