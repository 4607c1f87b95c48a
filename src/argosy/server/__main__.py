"""``python -m argosy.server``: runs the control plane of one mesh until SIGTERM."""

import argosy.server.lean  # noqa: F401  # before what it acts on

# isort: split

import argparse
import asyncio
import os
import signal
import socket
import sys
from datetime import timedelta
from pathlib import Path

import structlog

from argosy.base import log as logging
from argosy.citadel.issuer import AuthorityError
from argosy.citadel.service import Rules
from argosy.citadel.signer import MAXIMUM_LIFETIME, WORKLOAD_LIFETIME
from argosy.platforms.local.nameservers import nameservers_of_the_machine
from argosy.platforms.local.outside import Outside
from argosy.platforms.local.state import MeshDirectory
from argosy.platforms.local.subnets import SERVICE_SUBNET, SUBNET
from argosy.server.control_plane import ControlPlane, Settings
from argosy.server.jwks.addresses import RulesError
from argosy.server.jwks.make import REFRESH_VARIABLE, KeySettings, key_rules
from argosy.server.jwks.plan import REFRESH
from argosy.server.jwks.reach import Reach, SystemReach
from argosy.server.mixer_link import MixerFiles
from argosy.store.journal import JournalDamagedError, JournalError

log = structlog.get_logger()

LIFETIME_VARIABLES = ("SECRET_TTL", "DEFAULT_WORKLOAD_CERT_TTL")
"""How long workloads' certificates live when they do not say; the names are Istio's."""

MAXIMUM_VARIABLE = "MAX_WORKLOAD_CERT_TTL"
NODES_VARIABLE = "CA_TRUSTED_NODE_ACCOUNTS"
"""``namespace/serviceaccount,...`` of agents that may ask for the identities of their node's pods."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="argosy.server", description=__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="the mesh's state directory")
    parser.add_argument("--ads-address", required=True, help="host:port for proxies")
    parser.add_argument("--metrics-address", default="", help="host:port for scrapes with mTLS")
    parser.add_argument("--ca", type=Path, help="a directory with Istio's cacerts files")
    parser.add_argument("--api-fd", type=int, help="a listening socket for the API with TLS")
    parser.add_argument("--mixer", action="store_true", help="the mesh has a Mixer")
    parser.add_argument("--log-level", default="", help="debug, or default:info,xds:debug")
    options = parser.parse_args()
    try:
        logging.configure(options.log_level)
    except logging.LevelError as error:
        parser.error(str(error))
    directory = MeshDirectory.of(options.directory.name)
    settings = Settings(
        mesh=directory.name,
        store=directory.store,
        authority=directory.authority,
        api_socket=directory.api_socket,
        admin_token=directory.admin_token,
        tokens=directory.tokens,
        ads_address=options.ads_address,
        api_listener=None if options.api_fd is None else socket.socket(fileno=options.api_fd),
        keys=_key_settings(directory),
        rules=_rules(),
        plugged=options.ca,
        certificate_service=directory.certificate_service,
        mixer=MixerFiles(directory.mixer_socket, directory.mixer_token) if options.mixer else None,
        metrics_address=options.metrics_address,
    )
    try:
        asyncio.run(_run(settings))
    except (AuthorityError, JournalDamagedError, JournalError) as error:
        log.error("control_plane.cannot_start", reason=str(error))
        return 1
    return 0


def _key_settings(directory: MeshDirectory) -> KeySettings:
    try:
        rules = key_rules(os.environ, (str(SUBNET), str(SERVICE_SUBNET)))
    except RulesError as error:
        sys.exit(str(error))
    return KeySettings(
        file=directory.fetched_keys,
        rules=rules,
        reach=_reach,
        refresh=_duration(REFRESH_VARIABLE, REFRESH),
    )


def _reach() -> Reach:
    """Out of the mesh's own network, if there is one."""
    from argosy.platforms.local.reach import LocalReach  # noqa: PLC0415  (most meshes need it never)

    outside = Outside.from_environment()
    if outside is None:
        return SystemReach()
    return LocalReach(outside, nameservers_of_the_machine(os.environ))


def _duration(variable: str, default: timedelta) -> timedelta:
    text = os.environ.get(variable)
    return default if text is None else timedelta(seconds=_seconds(variable, text))


def _rules() -> Rules:
    """What the environment says of lifetimes and nodes. Ends the process for what is not right."""
    of_agents, of_authority = LIFETIME_VARIABLES
    default = _duration(of_agents, _duration(of_authority, WORKLOAD_LIFETIME))
    maximum = _duration(MAXIMUM_VARIABLE, MAXIMUM_LIFETIME)
    if default > maximum:
        sys.exit(f"certificates would live {default} by default and {maximum} at most: mend one")
    accounts = set()
    for entry in filter(None, os.environ.get(NODES_VARIABLE, "").split(",")):
        namespace, slash, account = entry.strip().partition("/")
        if not (namespace and slash and account):
            sys.exit(f"{NODES_VARIABLE}: {entry!r} is not NAMESPACE/SERVICEACCOUNT")
        accounts.add((namespace, account))
    return Rules(default, maximum, frozenset(accounts))


def _seconds(variable: str, text: str) -> float:
    """``24h``, ``30m``, ``45s``: a Go duration of one unit, as Istio's variables are written."""
    unit = {"h": 3600.0, "m": 60.0, "s": 1.0}.get(text[-1:])
    try:
        seconds = float(text[:-1]) * unit if unit else 0.0
    except ValueError:
        seconds = 0.0
    if seconds <= 0:
        sys.exit(f"{variable}={text!r} is not a duration such as 24h, 30m or 45s")
    return seconds


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await ControlPlane(settings).run(stop)


if __name__ == "__main__":
    sys.exit(main())
