"""The capture rules, as text and as the kernel has them."""

import os
import shutil
import subprocess
import sys

import pytest

from argosy.model.proxy_traffic import CapturePorts
from argosy.proxy import capture


def test_the_sidecars_rules_say_istios_redirect_mode() -> None:
    lines = capture.text(capture.sidecar()).splitlines()
    outbound = lines[next(i for i, line in enumerate(lines) if "chain outbound" in line) :]
    position = {line.strip(): i for i, line in enumerate(outbound)}
    assert position["ip saddr 127.0.0.6 return"] < position["meta mark 0x539 return"]
    to_itself = (
        'meta mark 0x539 oifname "lo" ip daddr != 127.0.0.1/32 meta l4proto tcp redirect to :15006'
    )
    assert position[to_itself] < position["meta mark 0x539 return"]
    assert (
        position["meta l4proto udp th dport 53 redirect to :15053"]
        < position['oifname "lo" ip daddr 127.0.0.0/8 return']
        < position["meta l4proto tcp redirect to :15001"]
    )


def test_rules_lead_to_the_ports_that_the_mesh_wants() -> None:
    text = capture.text(capture.sidecar(ports=CapturePorts(15101, 15106)))
    assert "redirect to :15101" in text
    assert "redirect to :15106" in text
    assert "th dport 15106 return" in text
    assert "15001" not in text
    assert "15006" not in text


def test_a_service_without_endpoints_has_no_rule() -> None:
    target = capture.ServiceTarget("10.96.0.9", 80, ())
    assert "10.96.0.9" not in capture.text(capture.plain((target,)))


def test_endpoints_are_chosen_evenly() -> None:
    endpoints = (("10.244.0.2", 8080), ("10.244.0.3", 8080), ("10.244.0.4", 8080))
    text = capture.text(capture.plain((capture.ServiceTarget("10.96.0.9", 80, endpoints),)))
    rules = [line for line in text.splitlines() if "dnat" in line]
    assert ["mod 3" in rules[0], "mod 2" in rules[1], "numgen" in rules[2]] == [True, True, False]


_LOAD = """
from argosy.proxy import capture, capture_nft
partial = capture.Interception(
    ("10.0.0.0/8", "fd00::/8"), ("10.1.2.3/32",), (9000,), (3306,), (80,), (8081,), ("eth1",))
for ruleset in (capture.sidecar(), capture.sidecar(partial), capture.gateway(), capture.plain((
    capture.ServiceTarget("10.96.0.9", 80, (("10.244.0.2", 8080), ("10.244.0.3", 8080))),))):
    capture_nft.apply(ruleset)
many = capture.plain(tuple(
    capture.ServiceTarget(f"10.96.{i // 250}.{i % 250}", 80, (("10.244.0.2", 8080),))
    for i in range(1500)))
capture_nft.apply(many)
verdicts = (
    capture.Rule((capture.Reply(),), capture.Accept()),
    capture.Rule((capture.Source("10.0.0.0/8", negate=True), capture.Protocol("sctp"),
                  capture.DestinationPorts(80, 90)), capture.Accept()),
    capture.Rule((), capture.Drop()))
capture_nft.apply(capture.Ruleset("argosy", tuple(
    capture.Chain(hook, hook, 0, verdicts, "filter") for hook in ("output", "prerouting"))))
capture_nft.apply(many)
from pyroute2.nftables.main import NFTables
with NFTables(nfgen_family=1) as nft:
    print(sum(1 for _ in nft.get_rules()) - sum(len(chain.rules) for chain in many.chains))
chains = (capture.Chain("x", "output", -100, ()), capture.Chain("x", "prerouting", -100, ()))
try:
    capture_nft.apply(capture.Ruleset("argosy", chains))
except OSError as error:
    print(error.strerror)
capture_nft.apply(ruleset)
with NFTables(nfgen_family=1) as nft:
    print(sum(1 for _ in nft.get_rules()))
"""


@pytest.mark.e2e
def test_the_kernel_takes_every_ruleset_and_replaces_the_one_before() -> None:
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("unshare (util-linux) is not installed")
    mode = ["-n"] if os.geteuid() == 0 else ["-Ur", "-n"]
    done = subprocess.run(
        [unshare, *mode, sys.executable, "-c", _LOAD], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    plain = capture.plain(
        (capture.ServiceTarget("10.96.0.9", 80, (("10.244.0.2", 8080), ("10.244.0.3", 8080))),)
    )
    missing, refusal, rules = done.stdout.splitlines()
    assert int(missing) == 0, "more rules than one transaction of an ordinary user holds"
    assert refusal.startswith("nf_tables: ")
    assert int(rules) == sum(len(chain.rules) for chain in plain.chains)
