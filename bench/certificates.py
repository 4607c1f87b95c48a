"""The authority alone, in this process: certificates a second, and handshakes with them.

A certificate is measured as the service gives it: the token is verified, the request parsed and its
signature checked, the certificate signed, the chain written as PEM. Keys are made before the clock
starts, as agents make them. Handshakes are full ones (no resumption), both ends verify the other's chain,
and both ends' work is in the figure, on one thread.
"""

import asyncio
import logging
import ssl
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
from cryptography.hazmat.primitives.asymmetric import ec

from argosy.base.clock import SystemClock
from argosy.base.names import TrustDomain
from argosy.citadel.identity import SpiffeId
from argosy.citadel.issuer import self_made
from argosy.citadel.service import CertificateService
from argosy.citadel.signer import (
    Authority,
    create_intermediate,
    create_root,
    pem,
    private_pem,
    sign_workload,
)
from argosy.citadel.tokens import TokenAuthority
from argosy.citadel.trust import Trust
from argosy.proxy.certificates import make_request
from bench import machine
from bench.figures import spread

Json = dict[str, Any]
_DOMAIN = TrustDomain("cluster.local")
_CLOCK = SystemClock()


def measure(rounds: int, requests: int, handshakes: int) -> Json:
    """``requests`` certificates and ``handshakes`` handshakes in each of ``rounds`` rounds."""
    root = create_root(_DOMAIN, _CLOCK.now())
    authority = create_intermediate(root, _DOMAIN, _CLOCK.now())
    issued = [asyncio.run(_issue(authority, requests)) for _ in range(rounds)]
    keys = [_rate(requests, lambda: make_request(str(_identity(0)))) for _ in range(rounds)]
    shaken = [_handshakes(authority, handshakes) for _ in range(rounds)]
    return {
        "machine": machine.facts(),
        "certificates_per_second": spread(issued).json,
        "requests_per_second": spread(keys).json,
        "handshakes_per_second": spread(shaken).json,
    }


def _identity(number: int) -> SpiffeId:
    return SpiffeId.of(_DOMAIN, "default", f"workload-{number}")


async def _issue(authority: Authority, count: int) -> float:
    """Each for a workload of its own, since one alone may not ask so often."""
    tokens = TokenAuthority(ec.generate_private_key(ec.SECP256R1()), "bench")
    trust = Trust(self_made(authority), _DOMAIN)
    service = CertificateService(lambda: trust, tokens, _CLOCK)
    asked = [
        (make_request(str(_identity(number)))[1], tokens.issue(_identity(number), _CLOCK.now())[0])
        for number in range(count)
    ]
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        began = time.perf_counter()
        for csr, token in asked:
            await service.issue(csr, token)
        return count / (time.perf_counter() - began)
    finally:
        structlog.configure(**before)


def _rate(count: int, act: Callable[[], object]) -> float:
    began = time.perf_counter()
    for _ in range(count):
        act()
    return count / (time.perf_counter() - began)


def _handshakes(authority: Authority, count: int) -> float:
    """TLS 1.3 in memory, client and server in turns."""
    client, server = (_context(authority, side) for side in ("client", "server"))
    return _rate(count, lambda: _handshake(client, server))


def _context(authority: Authority, side: str) -> ssl.SSLContext:
    key, csr = make_request(str(_identity(0)))
    issued = sign_workload(authority, csr, _identity(0), _CLOCK.now())
    protocol = ssl.PROTOCOL_TLS_CLIENT if side == "client" else ssl.PROTOCOL_TLS_SERVER
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=pem(authority.root))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "pair.pem")
        file.write_bytes(private_pem(key) + "".join(issued.chain).encode())
        context.load_cert_chain(file)
    return context


def _handshake(client_context: ssl.SSLContext, server_context: ssl.SSLContext) -> None:
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(down, up, server_side=False)
    server = server_context.wrap_bio(up, down, server_side=True)
    waiting = [client, server]
    while waiting:
        for end in tuple(waiting):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(end)
