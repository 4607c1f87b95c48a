"""``python -m argosy.mixer``: runs the Mixer of one mesh until SIGTERM."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from argosy.base import log as logging
from argosy.mixer.server import Mixer, Settings
from argosy.platforms.local.state import MeshDirectory


def main() -> int:
    parser = argparse.ArgumentParser(prog="argosy.mixer", description=__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="the mesh's state directory")
    parser.add_argument("--address", required=True, help="host:port for proxies")
    parser.add_argument("--log-level", default="", help="debug, or default:info,graph:debug")
    options = parser.parse_args()
    try:
        logging.configure(options.log_level)
    except logging.LevelError as error:
        parser.error(str(error))
    directory = MeshDirectory.at(options.directory)
    asyncio.run(
        _run(
            Settings(
                address=options.address,
                directory=directory.mixer,
                socket=directory.mixer_socket,
                api_socket=directory.api_socket,
                token=directory.mixer_token,
            )
        )
    )
    return 0


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await Mixer(settings).run(stop)


if __name__ == "__main__":
    sys.exit(main())
