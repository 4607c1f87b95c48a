"""Rate limits as the control plane tells them to Mixer: those that it counts by, and those of replicas. JSON."""

import msgspec

PATH = "/apis/argosy.dev/v1alpha1/sharedlimits"
"""Below the control plane's API. With ``version`` it answers as soon as that is not the current one,
or after ``timeoutSeconds``."""


class CountedLimit(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A limit. ``period`` is in seconds. ``proxies`` are namespaces and service accounts of those that may count.

    ``counts_all``: every request that meets it. ``file`` and ``line``: where its rule is written; empty and 0 if nobody knows.
    """

    id: str
    requests: int
    period: int
    burst: int
    keys: tuple[str, ...] = ()
    dry_run: bool = False
    quota_headers: bool = False
    body: str = ""
    content_type: str = ""
    counts_all: bool = False
    proxies: tuple[tuple[str, str], ...] = ()
    file: str = ""
    line: int = 0


class LimitsDocument(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``counters``: where buckets are; empty: in Mixer itself, else Redis, as ``redis://host:port/0``. ``counters_name``
    is what a Redis with TLS must prove, where it is another than the URL's host.

    ``limits`` are shared; by ``own`` each replica counts for itself, and tells what it counted.
    """

    version: str = ""
    counters: str = ""
    counters_name: str = ""
    limits: tuple[CountedLimit, ...] = ()
    own: tuple[CountedLimit, ...] = ()
