"""Rules of single values, shared by the validation of all kinds.

Each function yields the mistakes of one value at ``path``. Rules as in Istio's validation
(``istio/istio: pkg/config/validation``), so that what Istio admits is admitted here.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

import re2

from argosy.api.located import child
from argosy.api.meta import Duration, WorkloadSelector
from argosy.api.networking_virtual_service import Percent, StringMatch
from argosy.api.typed import Mistake, short
from argosy.api.validate_metadata import check_labels, is_dns_label
from argosy.base.problems import Severity

MAX_REGEX = 1024
"""Characters; Istio's limit, which bounds the size of the compiled program."""

_LABEL = r"[a-zA-Z0-9](?:[-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL})(?:\.{_LABEL})*\Z", re.ASCII)
_WILDCARD_HOST = re.compile(
    rf"(?:\*|\*-?{_LABEL}|{_LABEL})(?:\.{_LABEL})*\Z",
    re.ASCII,
)
_HEADER = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z", re.ASCII)
_REGEX_OPTIONS = re2.Options()
_REGEX_OPTIONS.log_errors = False


def warning(path: str, code: str, message: str, hint: str = "") -> Mistake:
    return Mistake(path, code, message, hint, Severity.WARNING)


def check_port(number: int, path: str) -> Iterator[Mistake]:
    """1 to 65535."""
    if not 1 <= number <= 65535:
        yield Mistake(path, "InvalidPort", f"{number} is not a port", "Ports are 1 to 65535")


def check_duration(value: Duration | None, path: str, *, zero: bool = False) -> Iterator[Mistake]:
    """At least 1 ms; 0 too where it means "off"."""
    if value is not None and (value < 0 or (value == 0 and not zero)):
        at_least = "0s, or" if zero else ""
        message = f"{value} is too short"
        yield Mistake(path, "InvalidDuration", message, f"Write {at_least} at least 1ms".strip())


def check_percent(value: float | None, path: str) -> Iterator[Mistake]:
    """0 to 100."""
    if value is not None and not 0 <= value <= 100:
        yield Mistake(
            path, "OutOfRange", f"{value} is not a percentage", "Percentages are 0 to 100"
        )


def check_percentage(value: Percent | None, path: str) -> Iterator[Mistake]:
    if value is not None:
        yield from check_percent(value.value, f"{path}.value")


def check_not_negative(value: int, path: str) -> Iterator[Mistake]:
    if value < 0:
        yield Mistake(path, "OutOfRange", f"{value} is negative", "Write 0 (unset) or more")


def is_host(text: str) -> bool:
    """A DNS name without wildcard: ``reviews`` or ``reviews.default.svc.cluster.local``."""
    return len(text) <= 255 and _HOST.match(text) is not None and not text.split(".")[-1].isdigit()


def is_wildcard_host(text: str) -> bool:
    """A DNS name, ``*``, ``*.example.com`` or ``*-suffix.example.com``."""
    return (
        len(text) <= 255
        and _WILDCARD_HOST.match(text) is not None
        and not text.split(".")[-1].isdigit()
    )


def is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def check_host(host: str, path: str, *, ip: bool = False) -> Iterator[Mistake]:
    """A DNS name, perhaps with a wildcard in front; an IP address where ``ip``."""
    if not is_wildcard_host(host) and not (ip and is_ip(host)):
        also = " or an IP address" if ip else ""
        yield Mistake(
            path,
            "InvalidHost",
            f"{short(host)} is not a host name" if host else "the host is empty",
            f"Write a name such as reviews, reviews.default.svc.cluster.local or *.example.com{also}",
        )


def covers(wide: str, narrow: str) -> bool:
    """Whether each host of ``narrow`` is one of ``wide``; either may begin with a wildcard."""
    if wide.startswith("*"):
        return narrow.removeprefix("*").endswith(wide[1:]) and (
            narrow.startswith("*") or len(narrow) > len(wide) - 1 or wide == "*"
        )
    return wide == narrow


def check_hosts_distinct(hosts: Sequence[str], path: str) -> Iterator[Mistake]:
    """No host twice, and none that another one's wildcard covers."""
    first: dict[str, int] = {}
    for index, host in enumerate(hosts):
        other = first.setdefault(host.lower(), index)
        if other != index:
            yield _covered(path, index, host, hosts[other])
    wild = [(index, host) for index, host in enumerate(hosts) if host.startswith("*")][:100]
    for index, host in enumerate(hosts[:1000]):
        for other, wide in wild:
            if wide.lower() != host.lower() and covers(wide.lower(), host.lower()):
                yield _covered(path, max(index, other), host, wide)
                break


def _covered(path: str, index: int, host: str, by: str) -> Mistake:
    message = f"{short(host)} is already covered by {short(by)}"
    return Mistake(f"{path}[{index}]", "DuplicateHost", message, "Remove one of them")


@lru_cache(maxsize=4096)
def _regex_error(text: str) -> str:
    try:
        re2.compile(text, _REGEX_OPTIONS)
    except re2.error as error:
        reason = error.args[0] if error.args else "it does not compile"
        return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
    except UnicodeError:
        return "it is not valid Unicode"
    return ""


def check_regex(text: str, path: str) -> Iterator[Mistake]:
    """RE2 syntax, not empty, at most 1024 characters."""
    if not text:
        yield Mistake(path, "InvalidRegex", "the regular expression is empty")
    elif len(text) > MAX_REGEX:
        message = f"the regular expression has {len(text)} characters; the limit is {MAX_REGEX}"
        yield Mistake(path, "InvalidRegex", message, "Split it into several matches")
    elif error := _regex_error(text):
        message = f"{short(text)} is not a regular expression: {error}"
        hint = "Use RE2 syntax (https://github.com/google/re2/wiki/Syntax)"
        yield Mistake(path, "InvalidRegex", message, hint)


def check_string_match(
    match: StringMatch | None, path: str, *, presence: bool = False
) -> Iterator[Mistake]:
    """Exactly one of exact, prefix, regex; none too where that means "is present"."""
    if match is None:
        return
    written = [name for name in ("exact", "prefix", "regex") if getattr(match, name) is not None]
    if len(written) > 1:
        message = f"{' and '.join(written)} exclude each other"
        yield Mistake(path, "ConflictingFields", message, "Keep one of them")
    elif not written and not presence:
        yield Mistake(path, "MissingField", "it matches nothing", "Write exact, prefix or regex")
    if match.prefix == "":
        hint = "Remove the match to match everything"
        yield Mistake(f"{path}.prefix", "InvalidValue", "the prefix is empty", hint)
    if match.regex is not None:
        yield from check_regex(match.regex, f"{path}.regex")


def check_header_name(name: str, path: str, *, pseudo: bool = False) -> Iterator[Mistake]:
    """RFC 9110 token; ``:authority`` and the like only where ``pseudo``."""
    bare = name.removeprefix(":") if pseudo else name
    if not _HEADER.match(bare):
        what = short(name) if name else "an empty name"
        yield Mistake(path, "InvalidHeader", f"{what} is not a header's name")


def check_header_value(value: str, path: str) -> Iterator[Mistake]:
    if any(ord(char) < 32 and char != "\t" for char in value):
        message = "a header's value cannot hold control characters or line breaks"
        yield Mistake(path, "InvalidHeader", message)


def check_export_to(values: Sequence[str], namespace: str, path: str) -> Iterator[Mistake]:
    """``*`` alone, or ``.`` and namespaces, each once."""
    seen: set[str] = set()
    for index, value in enumerate(values):
        where = f"{path}[{index}]"
        key = namespace if value == "." else value
        if value == "*" and len(values) > 1:
            message = "* is everywhere, so nothing can stand beside it"
            yield Mistake(where, "ConflictingFields", message, "Keep * alone, or the others")
        elif value not in ("*", ".") and not is_dns_label(value):
            message = f"{short(value)} is not a namespace"
            yield Mistake(where, "InvalidValue", message, "Write *, . or the name of a namespace")
        if key in seen:
            yield Mistake(where, "DuplicateValue", f"{short(value)} is written twice")
        seen.add(key)


def check_selector(selector: WorkloadSelector | None, path: str) -> Iterator[Mistake]:
    """Labels without wildcards."""
    if selector is None:
        return
    where = f"{path}.matchLabels"
    if not selector.match_labels:
        message = "a selector without labels selects every workload"
        yield warning(path, "EmptySelector", message, "Remove it, or write matchLabels")
    for key, value in selector.match_labels.items():
        if "*" in key or "*" in value:
            message = "labels are compared exactly: * is not a wildcard here"
            yield Mistake(child(where, key), "InvalidLabel", message)
            return
    yield from check_labels(selector.match_labels, where)


def check_subnets(subnets: Iterable[str], path: str) -> Iterator[Mistake]:
    """IP addresses or CIDR blocks."""
    for index, subnet in enumerate(subnets):
        try:
            ipaddress.ip_network(subnet, strict=False)
        except ValueError:
            message = f"{short(subnet)} is not an IP address or CIDR block"
            yield Mistake(f"{path}[{index}]", "InvalidAddress", message, "Write 10.1.0.0/16")


def check_unique(names: Iterable[str], path: str, key: str, what: str) -> Iterator[Mistake]:
    """No two items of the list at ``path`` have the same non-empty name."""
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        if name and first.setdefault(name, index) != index:
            message = f"two {what} are named {short(name)}; the first is number {first[name] + 1}"
            yield Mistake(f"{path}[{index}].{key}", "DuplicateName", message, "Rename one of them")


def check_one_of(values: Mapping[str, object], path: str, *, required: bool) -> Iterator[Mistake]:
    """At most one (exactly one if ``required``) of ``values`` is set (is not None)."""
    written = [name for name, value in values.items() if value is not None]
    if len(written) > 1:
        message = f"{' and '.join(written)} exclude each other"
        yield Mistake(path, "ConflictingFields", message, "Keep one of them")
    elif required and not written:
        yield Mistake(path, "MissingField", f"one of {', '.join(values)} is required")
