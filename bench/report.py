"""Results as Markdown: what was measured where, against which target. Pure.

Takes what ``python -m bench`` writes as JSON. Ratios come first, since they carry to other
machines; a figure in seconds or bytes stands under the machine that it was measured on.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]
Row = Sequence[str]

PAIR_TARGET = 1.15
UP_TARGET_SECONDS = 8.0
CHANGE_TARGET_SECONDS = 1.0
MEMORY_TARGET_BYTES = 150e6


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target and what came out; both in the words of the table."""

    what: str
    target: str
    measured: str
    met: bool


def markdown(results: Json) -> str:
    """The whole page."""
    parts = [_INTRODUCTION, _machine(results["machine"])]
    if results.get("quick"):
        parts.append(
            "**These come from `--quick`, which shows that the harness works and little else.**"
        )
    found = verdicts(results)
    if found:
        rows = [(v.what, v.target, v.measured, "met" if v.met else "**missed**") for v in found]
        parts += ["## Targets", table(("", "Target", "Measured", "Verdict"), rows)]
    for key, section in _SECTIONS.items():
        if key in results:
            parts.append(section(results[key]))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def verdicts(results: Json) -> list[Verdict]:
    """The targets of what was measured."""
    found = []
    if "data_plane" in results:
        for name, words in _LOADS.items():
            ratio = results["data_plane"][name]["argosy_to_floor"]["pair_cpu"]
            what = f"CPU per request of a sidecar pair, to the floor, {words}"
            met = ratio["median"] <= PAIR_TARGET
            found.append(Verdict(what, f"≤ {PAIR_TARGET}", times(ratio), met))
    if "startup" in results:
        warm = results["startup"]["warm"]["first_200"]
        met = warm["median"] < UP_TARGET_SECONDS
        what = "`argosy up` of Bookinfo to the first 200, warm"
        found.append(Verdict(what, f"< {UP_TARGET_SECONDS:g} s", seconds(warm), met))
    for one in results.get("control_plane", {}).get("distributions", ()):
        where = spread_words(one["shape"])
        change = one["one_change"]["apply_to_last_ack_seconds"]
        what = f"One VirtualService change acknowledged by {one['proxies']} proxies {where}"
        met = change["median"] < CHANGE_TARGET_SECONDS
        found.append(Verdict(what, f"< {CHANGE_TARGET_SECONDS:g} s", seconds(change), met))
        rss = one["memory_after_changes"]["rss_bytes"]
        what = f"Control plane's memory there, {where}"
        met = rss < MEMORY_TARGET_BYTES
        found.append(Verdict(what, f"< {megabytes(MEMORY_TARGET_BYTES)}", megabytes(rss), met))
    for name, load in results.get("telemetry", {}).get("loads", {}).items():
        ratio = load["to_silent"]["telemetry"]["cpu"]
        what = f"CPU per request with telemetry, to none, {_LOADS[name]}"
        met = ratio["median"] <= PAIR_TARGET
        found.append(Verdict(what, f"≤ {PAIR_TARGET}", times(ratio), met))
    return found


def _machine(machine: Json) -> str:
    packages = ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    who = "root" if machine["root"] else "an ordinary user"
    return f"""
## Machine

{machine["date"]}, commit `{machine["commit"]}`. {machine["processors"]} processors
({machine["processor"]}), {machine["memory_bytes"] / 1e9:.1f} GB of memory, Linux
{machine["kernel"]}, run as {who}. The load average before the run was
{machine["load_before"]:.1f}: what else ran on the machine is in the spread.

Python {machine["python"]}, Envoy {machine["envoy"]}, {packages}.
"""


def _data_plane(found: Json) -> str:
    parts = [_DATA_PLANE]
    for name, words in _LOADS.items():
        load = found[name]
        rows: list[Row] = [
            (
                title,
                *(times(load[key][what]) for what in ("pair_cpu", "p50", "p99")),
                times(load[key]["requests_per_second"]),
            )
            for title, key in (
                ("Argosy to the floor", "argosy_to_floor"),
                ("the floor to itself", "floor_to_itself"),
            )
        ]
        head: Row = ("Ratio", "CPU per request", "p50", "p99", "requests/s")
        parts.append(f"### {_capital(words)}\n\n{_load_words(load['load'])}")
        parts.append(table(head, rows))
        parts.append(table(_PATH_HEAD, [_path_row(load, path) for path in _PATHS]))
        direct = load["argosy_to_direct"]
        parts.append(
            f"Against no proxy at all: p50 {times(direct['p50'])}, which is "
            f"{micro(direct['added_p50_microseconds'])} more; requests/s "
            f"{times(direct['requests_per_second'])}."
        )
    memory = [
        (
            f"{path}, {part}",
            megabytes(used["rss"]),
            megabytes(used["anonymous"]),
            megabytes(found["idle_memory"][path][part]["anonymous"]),
        )
        for path, sides in found["memory"].items()
        for part, used in sides.items()
    ]
    head = ("Envoy of", "RSS after the load", "anonymous after the load", "anonymous when idle")
    parts.append("### Memory\n\n" + table(head, memory))
    return "\n\n".join(parts)


def _path_row(load: Json, path: str) -> Row:
    found = load["paths"][path]
    used = found["processors_used"]
    pair = found.get("pair_cpu_microseconds")
    parts = {part: share for part, share in used.items() if part != "machine"}
    busy = ", ".join(f"{part} {share:.2f}" for part, share in parts.items())
    return (
        path,
        micro(pair) if pair else "none",
        *(micro(found["microseconds"][name]) for name in ("p50", "p99")),
        number(found["requests_per_second"]),
        f"{busy}; sum {sum(parts.values()):.2f}",
    )


def _load_words(load: Json) -> str:
    rate = f"{load['rate']:g} requests/s, evenly spaced," if load["rate"] else "As fast as it goes"
    return (
        f"{rate} on {load['connections']} connections; {load['rounds']} rounds of bursts of "
        f"{load['seconds']:g} s."
    )


def _startup(found: Json) -> str:
    cold, warm = found["cold"], found["warm"]
    rows = [
        (words, f"{cold[key]:.1f} s", seconds(warm[key]))
        for key, words in (
            ("first_200", "first 200 of the productpage through the gateway"),
            ("complete", "first page with details and reviews"),
            ("ready", "`argosy up` says that all is ready"),
        )
    ]
    head = ("From the start of `argosy up`", "cold", f"warm ({warm['first_200']['count']} runs)")
    return f"{_STARTUP.format(**found, **cold)}\n\n{table(head, rows)}"


def _certificates(found: Json) -> str:
    rows = [
        (words, per_second(found[key]))
        for key, words in (
            ("certificates_per_second", "certificates issued, token to PEM"),
            ("requests_per_second", "keys and signing requests made, by an agent"),
            ("handshakes_per_second", "mutual TLS handshakes, both ends"),
        )
    ]
    facts = found["machine"]
    measured = _CERTIFICATES.format(time=facts["date"], load=facts["load_before"])
    return f"{measured}\n\n{table(('On one thread', 'a second'), rows)}"


def _authorization(found: Json) -> str:
    rows = [
        (_POLICIES[name], times(ratios["cpu"]), times(ratios["p50"]))
        for name, ratios in found["to_none"].items()
    ]
    facts = found["machine"]
    measured = _AUTHORIZATION.format(time=facts["date"], load=facts["load_before"], **found)
    head = ("Policy", "CPU of the server's proxy, to none", "p50, to none")
    return f"{measured}\n\n{table(head, rows)}"


def _telemetry(found: Json) -> str:
    rows = [
        (_LOADS[name], _TOLD[pair], times(ratios["cpu"]), times(ratios["p50"]))
        for name, load in found["loads"].items()
        for pair, ratios in load["to_silent"].items()
    ]
    facts = found["machine"]
    measured = _TELEMETRY.format(time=facts["date"], load=facts["load_before"])
    head = ("Load", "Pair", "CPU of both proxies, to silent", "p50, to silent")
    return f"{measured}\n\n{table(head, rows)}"


def _mixer(found: Json) -> str:
    rows = [
        (words, f"{found['bytes'][key] / 1e6:.0f} MB")
        for key, words in (
            ("idle", "before anything was told"),
            ("first_round", "when every edge was told once"),
            ("busy", "after some rounds"),
            ("after_a_million_points", "after a million data points"),
        )
    ]
    facts = found["machine"]
    share = f"{100 * found['processor_share']:.0f} %"
    measured = _MIXER.format(time=facts["date"], load=facts["load_before"], share=share, **found)
    text = f"{measured}\n\n{table(('Memory of the process', ''), rows)}"
    return text + _spans(found["traces"]) if "traces" in found else text


def _spans(found: Json) -> str:
    rows = [
        (words, f"{found['bytes'][key] / 1e6:.0f} MB")
        for key, words in (
            ("idle", "before the first"),
            ("first", "after 100000"),
            ("end", f"after {found['spans']}"),
        )
    ]
    facts, each = found["machine"], found["milliseconds_per_thousand"]
    measured = _SPANS.format(time=facts["date"], load=facts["load_before"], each=each)
    return f"\n\n{measured}\n\n{table(('Memory of the process', ''), rows)}"


def _control_plane(found: Json) -> str:
    parts = [_CONTROL_PLANE]
    rows = [
        (
            _shape_words(one["shape"]),
            seconds(one["seconds"]),
            f"{one['resources']}",
            megabytes(one["bytes"]),
        )
        for one in found.get("builds", ())
    ]
    head: Row = ("Full build for one proxy", "Time", "Resources", "Bytes")
    if rows:
        parts.append(table(head, rows))
    for one in found.get("distributions", ()):
        change = one["one_change"]
        memory = [
            f"{megabytes(one[key]['rss_bytes'])} ({megabytes(one[key]['anonymous_bytes'])})"
            for key in ("memory_before_proxies", "memory", "memory_after_changes")
        ]
        per_proxy = one["connect_bytes"] / one["proxies"]
        facts: list[Row] = [
            ("start from the journal to the first answer", f"{one['start_seconds']:.1f} s"),
            (
                "all proxies connected for the first time and synced",
                f"{one['connect_seconds']:.1f} s, {one['connect_cpu_seconds']:.1f} s of the "
                f"control plane's CPU, {megabytes(per_proxy)} each",
            ),
            (
                "a change, from `apply` to the last ACK",
                seconds(change["apply_to_last_ack_seconds"]),
            ),
            ("of it from publication on", seconds(change["publish_to_last_ack_seconds"])),
            ("CPU of the control plane for it", seconds(change["server_cpu_seconds"])),
            ("bytes for it to each proxy", f"{change['bytes_per_proxy'] / 1e3:.1f} KB"),
            ("memory, RSS (anonymous), without proxies", memory[0]),
            ("with all proxies synced", memory[1]),
            ("after the changes", memory[2]),
        ]
        head = (f"{one['proxies']} proxies, {_shape_words(one['shape'])}", "")
        parts.append(table(head, facts))
    if "few_services" in found:
        parts.append(_memory_parts(found["few_services"], found["distributions"]))
    return "\n\n".join(parts)


def _memory_parts(few: Json, distributions: Iterable[Json]) -> str:
    """What the memory is for, by the difference to a mesh of few services."""

    def rss(one: Json, key: str) -> float:
        return float(one[key]["rss_bytes"])

    nothing = rss(few, "memory_before_proxies")
    connections = rss(few, "memory") - nothing
    rows = []
    for one in distributions:
        alone = rss(one, "memory_before_proxies")
        rows.append(
            (
                _shape_words(one["shape"]),
                megabytes(nothing),
                megabytes(connections),
                megabytes(alone - nothing),
                megabytes(rss(one, "memory") - alone - connections),
                megabytes(rss(one, "memory")),
            )
        )
    head = (
        "RSS with all proxies synced",
        "Python and libraries",
        f"{few['proxies']} connections",
        "objects of the mesh",
        "formulas and resources",
        "all",
    )
    introduction = _MEMORY_PARTS.format(
        services=few["shape"]["services"],
        each=f"{connections / few['proxies'] / 1e3:.0f} KB",
        proxies=few["proxies"],
    )
    return f"{introduction.strip()}\n\n{table(head, rows)}"


def spread_words(shape: Json) -> str:
    """How the mesh is spread."""
    count = shape["namespaces"]
    return "in one namespace" if count == 1 else f"in {count} namespaces"


def _shape_words(shape: Json) -> str:
    return (
        f"{shape['services']} services × {shape['endpoints']} endpoints {spread_words(shape)}, "
        f"{shape['workloads']} workloads with proxies"
    )


def table(head: Row, rows: Iterable[Row]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    assert all(len(line) == len(head) for line in lines), "every row has the columns of the head"
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def times(found: Json) -> str:
    return f"{found['median']:.2f} [{found['minimum']:.2f} to {found['maximum']:.2f}]"


def per_second(found: Json) -> str:
    return f"{found['median']:.0f} [{found['minimum']:.0f} to {found['maximum']:.0f}]"


def seconds(found: Json) -> str:
    if found["maximum"] < 1:
        return (
            f"{found['median'] * 1e3:.0f} ms "
            f"[{found['minimum'] * 1e3:.0f} to {found['maximum'] * 1e3:.0f}]"
        )
    return f"{found['median']:.2f} s [{found['minimum']:.2f} to {found['maximum']:.2f}]"


def micro(found: Json) -> str:
    """Microseconds."""
    return f"{found['median']:.0f} µs [{found['minimum']:.0f} to {found['maximum']:.0f}]"


def number(found: Json) -> str:
    return f"{found['median']:.0f} [{found['minimum']:.0f} to {found['maximum']:.0f}]"


def megabytes(count: float) -> str:
    return f"{count / 1e6:.1f} MB"


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]


_LOADS = {"steady": "at 1000 requests/s", "saturation": "at saturation"}
_PATHS = ("direct", "floor", "argosy")
_PATH_HEAD = (
    "Path",
    "CPU per request of the pair",
    "p50",
    "p99",
    "requests/s",
    "processors in use",
)
_SECTIONS = {
    "data_plane": _data_plane,
    "startup": _startup,
    "control_plane": _control_plane,
    "certificates": _certificates,
    "authorization": _authorization,
    "telemetry": _telemetry,
    "mixer": _mixer,
}
_TOLD = {"telemetry": "with telemetry", "silent_again": "silent, measured again"}
_POLICIES = {
    "rules-1": "1 rule",
    "rules-10": "10 rules",
    "rules-100": "100 rules",
    "rules-1000": "1000 rules",
    "none_again": "none, measured again",
}

_INTRODUCTION = """
# Benchmarks

Written by `make bench`; the numbers behind it are in `bench/results/latest.json`. Everything here
comes from one run on one machine. A cell is a median with the least and the greatest of the
rounds in brackets. Ratios are taken between bursts of the same round, and may be compared with
other machines; the absolute figures may not.
"""

_TELEMETRY = """
## Telemetry

A client and a server with a sidecar each, in two meshes side by side, measured by themselves on {time} (load average
{load:.1f} before). One mesh is as `argosy up` makes it: standard metrics, pushed to Mixer every two seconds, and failures
told to it. The other has no Mixer, and its metrics are switched off.
"""

_MIXER = """
## Mixer

Measured by itself on {time} (load average {load:.1f} before): {services} proxies send every two seconds what they
counted on {edges} edges, all of them busy, {points_per_round} data points each time, by gRPC over mutual TLS,
each on its own connection. That takes {share} of one processor.
"""

_SPANS = """Another such process, measured on {time} (load average {load:.1f}), gets spans by gRPC over mutual TLS, as fast as it
takes them: eight of each trace, with the tags of a proxy. A thousand take {each:.0f} ms of its processor time. The oldest
traces give way when their bound is reached."""

_AUTHORIZATION = """
## Rules of an AuthorizationPolicy

One client and servers with a sidecar each, measured by themselves on {time} (load average {load:.1f} before); the
servers differ in how many rules their policy has. A rule names one identity, one method and two paths, and only the
last one allows. {rounds} rounds at {rate:.0f} requests/s; *none* is a server without a policy.
"""

_CERTIFICATES = """
## Certificates

The authority alone, in one process, measured by itself on {time} (load average {load:.1f} before). A
certificate is issued as the service does it: token verified, request parsed and its signature checked, P-256
signed by the intermediate, the chain as PEM. Handshakes are full ones with TLS 1.3 in memory (OpenSSL, not Envoy),
both ends verify the other's chain of three, and the work of both is in the figure.
"""

_DATA_PLANE = """
## A sidecar pair

Three paths to an application that answers 1 KiB (an Envoy itself, so that it is quick): *argosy*
is a client and a server with a sidecar each, traffic captured transparently, through the service's
name; *floor* is the leanest pair of Envoys that can be written by hand for the same work (static
configuration, the same mutual TLS with P-256 certificates and checked SPIFFE ids, HTTP/2 between
the two; one route, no capture, no statistics, no access log, no retries), in pods without
injection; *direct* is those pods without the pair. All are pods of one mesh, each in a network
namespace of its own, with one worker thread per Envoy. The load generator runs in the client's pod.
CPU is user and system time of both Envoys, over requests answered. The floor is measured twice a
round: its ratio to itself shows how small a difference this machine can tell from none. The last
column tells what is at its limit: each part has one thread, so 1.00 is all that it can use, and all
share the machine's processors with the kernel's network stack.
"""

_STARTUP = """
## From nothing to a page

Bookinfo with its gateway and rules: {workloads} workloads with sidecars, the gateway among them.
*Cold* is one run in which Python compiles every module of the mesh ({modules_compiled:.0f} files);
the files themselves are in the page cache. *Warm* are the runs after it.
"""

_MEMORY_PARTS = """
### Where the memory is

By difference to a control plane with as many proxies and {services} services, which shows what
Python with its libraries takes and what {proxies} connections with mutual TLS take, {each} each.
"""

_CONTROL_PLANE = """
## The control plane

The control plane is a process of its own that started from a journal of the whole mesh. The
proxies are simulated by another process on the same machine, each over a connection of its own
with mutual TLS and the identity of its workload: delta ADS, all clusters, endpoints, listeners and
routes, as a sidecar subscribes to them. The change alters the timeout in one VirtualService that
all proxies see, applied through the HTTP API.
"""
