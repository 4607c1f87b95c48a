"""Keeps the control plane's process small. Import it before anything else; it acts once.

* ``structlog`` draws tracebacks with Rich where it finds it, which with Pygments takes 5 MB. A
  server's log has plain ones, so it does not find it. (``None`` in ``sys.modules`` is Python's way
  to say that there is no such module.)
* glibc takes large blocks from the heap, where what lives shortly and what lives long get mixed
  and pages that were used once stay. Blocks of 16 KB and more get pages of their own instead,
  which go back when the block does. Elsewhere than on glibc nothing happens.
"""

import ctypes
import sys

_M_MMAP_THRESHOLD = -3
"""``malloc.h``; see mallopt(3)."""

LARGE_BLOCK = 16 * 1024
"""Bytes. gRPC's TLS has two buffers a little larger on every connection, mostly untouched."""

sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # the documented value

_mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
if _mallopt is not None:
    _mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK)
