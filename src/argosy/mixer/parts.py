"""What a part of Mixer is, and what it gets to stand on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import grpc

from argosy.base.clock import Clock
from argosy.mixer.asker import AskedRoute
from argosy.mixer.control_plane import ControlPlane
from argosy.mixer.credentials import MixerCredentials

Handler: TypeAlias = "grpc.GenericRpcHandler[bytes, bytes]"


@dataclass(frozen=True, slots=True)
class Ground:
    """What every part may use. ``directory`` exists, is private and outlives the process.

    ``host`` is Mixer's address in the mesh's network, and ``credentials`` are for servers there.
    """

    directory: Path
    clock: Clock
    control_plane: ControlPlane
    credentials: MixerCredentials
    host: str


class Part(Protocol):
    """One thing that Mixer does. All methods belong to the event loop."""

    def handlers(self) -> Sequence[Handler]:
        """gRPC services for proxies. Each call's sender is proven: ``caller.caller()`` says who."""
        ...

    def routes(self) -> Sequence[AskedRoute]:
        """HTTP endpoints for people, below ``/mixer`` of the control plane's API."""
        ...

    async def run(self) -> None:
        """Work in the background until cancelled. What it raises ends the process."""
        ...
