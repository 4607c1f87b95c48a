"""``python -m argosy.mixer.limits.service``: in the place of envoyproxy/ratelimit, for its users.

It reads the same environment and files, so that Istio's documented way of a global rate limit works
on a machine without containers: https://istio.io/latest/docs/tasks/policy-enforcement/rate-limit/
https://github.com/envoyproxy/ratelimit#environment-variables
"""

import asyncio
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from os import environ
from pathlib import Path
from urllib.parse import quote

import grpc
import structlog
import uvicorn
from envoy.extensions.common.ratelimit.v3 import ratelimit_pb2
from envoy.service.ratelimit.v3 import rls_pb2
from envoy.type.v3 import ratelimit_unit_pb2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from argosy.base import log as logging
from argosy.mixer.limits import ratelimit
from argosy.mixer.limits.counters import Ask, Counters, CountersError, MemoryCounters
from argosy.mixer.limits.descriptors import (
    Configuration,
    ConfigurationError,
    DescriptorLimit,
    rate_of,
)
from argosy.mixer.limits.ratelimit import OK, OVER_LIMIT, Context, hits_of, status
from argosy.mixer.limits.redis_counters import RedisCounters
from argosy.model.rate_limit import Rate

_LOOK_SECONDS = 2.0
"""How often the files are looked at."""

log = structlog.get_logger()


class DescriptorJudge:
    """``envoy.service.ratelimit.v3`` by a configuration, which may be replaced."""

    def __init__(self, configuration: Configuration, counters: Counters) -> None:
        self.configuration = configuration
        self._counters = counters

    async def should_rate_limit(
        self, request: rls_pb2.RateLimitRequest, context: Context
    ) -> rls_pb2.RateLimitResponse:
        if not request.domain or not request.descriptors:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "a domain and descriptors are required"
            )
        limits = [self._limit(request.domain, one) for one in request.descriptors]
        counted = [
            (index, limit, limit.rate)
            for index, limit in enumerate(limits)
            if limit is not None and limit.rate is not None
        ]
        asks = [
            Ask(
                _key(request.domain, request.descriptors[index], rate),
                rate,
                hits_of(request, index),
                not limit.shadow,
            )
            for index, limit, rate in counted
        ]
        try:
            taken = await self._counters.take(asks) if asks else ()
        except CountersError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        proto = rls_pb2.RateLimitResponse(overall_code=OK)
        proto.statuses.extend(
            rls_pb2.RateLimitResponse.DescriptorStatus(code=OK) for _ in request.descriptors
        )
        for (index, limit, rate), one in zip(counted, taken, strict=True):
            refused = not (one.allowed or limit.shadow)
            proto.statuses[index].CopyFrom(status(rate, one, refused=refused, name=limit.name))
            if refused:
                proto.overall_code = OVER_LIMIT
        return proto

    def _limit(
        self, domain: str, descriptor: ratelimit_pb2.RateLimitDescriptor
    ) -> DescriptorLimit | None:
        """What the question says itself goes before the configuration."""
        if descriptor.HasField("limit"):
            unit = ratelimit_unit_pb2.RateLimitUnit.Name(descriptor.limit.unit)
            return DescriptorLimit(rate_of(descriptor.limit.requests_per_unit, unit))
        entries = tuple((entry.key, entry.value) for entry in descriptor.entries)
        return self.configuration.find(domain, entries)


def _key(domain: str, descriptor: ratelimit_pb2.RateLimitDescriptor, rate: Rate) -> str:
    """Another rate is another bucket: nobody waits for what a lower one has counted."""
    said = f"{rate.burst}/{rate.period.total_seconds():g}"
    parts = (f"{quote(one.key)}={quote(one.value)}" for one in descriptor.entries)
    return "|".join((quote(domain), said, *parts))


def read(directory: Path) -> Configuration:
    """The files of a directory. Raises ``ConfigurationError``."""
    try:
        files = sorted(p for p in directory.iterdir() if p.suffix in (".yaml", ".yml"))
        return Configuration((file.name, _text(file)) for file in files)
    except OSError as error:
        raise ConfigurationError(f"{directory}: {error.strerror}") from error


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file.name}: it is no UTF-8: {error.reason}") from error


def redis_url(variables: Mapping[str, str]) -> str:
    """As ``REDIS_URL`` and its like say; empty: there is none."""
    written = variables.get("REDIS_URL", "")
    if not written or "://" in written:
        return written
    if variables.get("REDIS_SOCKET_TYPE", "unix").lower() == "unix":
        return f"unix://{written}"
    password = variables.get("REDIS_AUTH", "")
    scheme = "rediss" if _is_true(variables.get("REDIS_TLS", "")) else "redis"
    return f"{scheme}://{f':{quote(password)}@' if password else ''}{written}"


def configuration_directory(variables: Mapping[str, str]) -> Path:
    root = Path(variables.get("RUNTIME_ROOT", "/srv/runtime_data/current"))
    return root / variables.get("RUNTIME_SUBDIRECTORY", "") / "config"


async def serve(variables: Mapping[str, str]) -> None:
    """Until SIGTERM or SIGINT. Raises ``ConfigurationError`` at the start."""
    directory = configuration_directory(variables)
    url = redis_url(variables)
    counters: Counters = RedisCounters(url) if url else MemoryCounters(time.monotonic)
    judge = DescriptorJudge(read(directory), counters)
    log.info("ratelimit.configured", domains=judge.configuration.domains, redis=bool(url))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((ratelimit.handler(judge.should_rate_limit),))
    server.add_insecure_port(
        f"{_host(variables, 'GRPC_HOST')}:{variables.get('GRPC_PORT', '8081')}"
    )
    await server.start()
    async with asyncio.TaskGroup() as tasks:
        web = uvicorn.Server(
            uvicorn.Config(
                _application(judge),
                host=variables.get("HOST", "0.0.0.0"),
                port=int(variables.get("PORT", "8080")),
                log_config=None,
                lifespan="off",
            )
        )
        background = [tasks.create_task(_follow(judge, directory))]
        serving = tasks.create_task(web.serve())
        await stop.wait()
        web.should_exit = True
        for task in background:
            task.cancel()
        await server.stop(1.0)
        await serving


async def _follow(judge: DescriptorJudge, directory: Path) -> None:
    """Files that cannot be read change nothing."""
    seen = _stamps(directory)
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        found = _stamps(directory)
        if found == seen:
            continue
        seen = found
        try:
            judge.configuration = read(directory)
            log.info("ratelimit.configured", domains=judge.configuration.domains)
        except ConfigurationError as error:
            log.error("ratelimit.not_configured", error=str(error))


def _stamps(directory: Path) -> list[tuple[str, int]]:
    try:
        return sorted((file.name, file.stat().st_mtime_ns) for file in directory.iterdir())
    except OSError:
        return []


def _application(judge: DescriptorJudge) -> Starlette:
    async def healthy(_request: Request) -> Response:
        return PlainTextResponse("OK")

    async def configuration(_request: Request) -> Response:
        return JSONResponse({"domains": judge.configuration.domains})

    return Starlette(routes=[Route("/healthcheck", healthy), Route("/rlconfig", configuration)])


def _host(variables: Mapping[str, str], name: str) -> str:
    host = variables.get(name, "0.0.0.0")
    return f"[{host}]" if ":" in host else host


def _is_true(text: str) -> bool:
    return text.lower() in ("1", "t", "true")


def main(_arguments: Iterable[str] = ()) -> int:
    logging.configure(environ.get("LOG_LEVEL", "info"))
    try:
        asyncio.run(serve(environ))
    except ConfigurationError as error:
        print(f"Error: {error}", file=sys.stderr)  # noqa: T201  (what a person is told)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
