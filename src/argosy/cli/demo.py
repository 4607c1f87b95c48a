"""``argosy demo``: Bookinfo in a mesh, and three things to try."""

import os
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.markup import escape

from argosy.cli import mesh as meshes
from argosy.cli.apply import send
from argosy.cli.client import ApiClient, CliError, Json
from argosy.cli.options import MeshOption
from argosy.cli.output import err, out, show_table
from argosy.cli.status import TYPES, state_of

_REQUESTS = 20


def demo(
    port: Annotated[
        int, typer.Option("--port", help="The page's port on this machine; 0 is a free one.")
    ] = 0,
    samples: Annotated[
        Path | None, typer.Option(help="Where the samples are.", hidden=True)
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Show the summary and end.", hidden=True)
    ] = False,
    mesh: MeshOption = "demo",
) -> None:
    """Run the Bookinfo sample in a mesh on this machine, until Ctrl-C."""
    started = time.monotonic()
    directory = samples or _samples()
    images = [directory / "images.yaml"]
    gateways = meshes.Gateways(port=port)
    with meshes.running(mesh, images=images, gateways=gateways) as launched:
        url = f"{launched.published[0].url}/productpage"
        with ApiClient(mesh) as client:
            _send(client, directory / "bookinfo" / "bookinfo.yaml")
            meshes.wait_until_ready(client, 60.0)
            _send(client, directory / "bookinfo" / "networking.yaml")
            first = _first_answer(url, seconds=30.0)
            ready = time.monotonic() - started
            stars = _traffic(url)
            proxies = client.get("/apis/argosy.dev/v1alpha1/proxies")["items"]
            summary(url, mesh, proxies, ready, first, stars)
        if not once:
            meshes.wait_for_end(launched)


def summary(
    url: str, mesh: str, proxies: list[Json], ready: float, first: int, stars: Counter[str]
) -> None:
    """The one screen that a newcomer sees."""
    out.rule("[bold]Bookinfo runs in a mesh[/]", align="left")
    out.print(
        f"\n  Open  [bold cyan]{url}[/]   ({ready:.1f} s until the first page, status {first})\n"
    )
    show_table(
        ["  WORKLOAD", "IDENTITY", "mTLS", "CONFIGURATION"],
        [
            [
                f"  {proxy['name'].rsplit('-', 2)[0]}",
                (proxy.get("identity") or "-").partition("://")[2].partition("/")[2],
                _mtls(proxy),
                _sync(proxy),
            ]
            for proxy in proxies
        ],
    )
    seen = ", ".join(f"{count} x {what}" for what, count in sorted(stars.items()))
    out.print(f"\n  {_REQUESTS} pages asked for: {seen}\n")
    option = "" if os.environ.get("ARGOSY_MESH") == mesh else f" --mesh {mesh}"
    commands = (
        (f"argosy status{option}", "every proxy, what it has and since when"),
        (f"argosy graph{option}", "who calls whom, how fast and how safely"),
        (
            f"argosy apply{option} -f samples/bookinfo/reviews-v3.yaml --wait",
            "red stars for all, acknowledged by every proxy",
        ),
    )
    out.print("  Three things to try, from another terminal:")
    width = max(len(command) for command, _ in commands)
    for command, what in commands:
        out.print(f"    [bold].venv/bin/{escape(command):{width}}[/]  {what}")
    err.print("\nCtrl-C removes everything.")


def _send(client: ApiClient, file: Path) -> None:
    """Apply one of the samples, quietly when all is well."""
    with out.capture() as said:
        code = send(client, [str(file)], namespace="default", wait=True, timeout=30)
    if code:
        out.print(said.get())
        raise CliError("the samples were refused", code=code)


def _mtls(proxy: Json) -> str:
    """In which mode callers are served; a gateway only calls."""
    if not (proxy.get("certificate") or {}).get("expires"):
        return "no certificate"
    return (proxy.get("mtls") or "client").lower()


def _sync(proxy: Json) -> str:
    states = {state_of(proxy, kind) for kind in TYPES} - {"NOT SENT"}
    return "synced" if states == {"SYNCED"} else ", ".join(sorted(states)).lower()


def _first_answer(url: str, seconds: float) -> int:
    """The status of the first page that comes; waits for the routes to arrive at the gateway."""
    deadline = time.monotonic() + seconds
    status = 0
    with err.status("waiting for the first page ..."):
        while time.monotonic() < deadline:
            try:
                status = httpx.get(url, timeout=5.0).status_code
            except httpx.HTTPError:
                status = 0
            if status == 200:
                return status
            time.sleep(0.05)
    raise CliError(
        f"the page did not come within {seconds:g} s (last status: {status or 'none'})",
        "Look with: argosy status --mesh demo",
    )


def _traffic(url: str) -> Counter[str]:
    """Which reviews a few pages showed."""
    seen: Counter[str] = Counter()
    with httpx.Client(timeout=10.0) as client:
        for _ in range(_REQUESTS):
            text = client.get(url).text
            if 'color="red"' in text:
                seen["red stars"] += 1
            elif 'color="black"' in text:
                seen["black stars"] += 1
            elif "currently unavailable" in text:
                seen["with an error"] += 1
            else:
                seen["no stars"] += 1
    return seen


def _samples() -> Path:
    """The folder ``samples`` of the source tree."""
    for parent in Path(__file__).resolve().parents:
        if (parent / "samples" / "images.yaml").is_file():
            return parent / "samples"
    raise CliError("the samples are part of the source tree", "Clone it and run `make demo`.")
