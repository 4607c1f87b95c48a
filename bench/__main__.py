"""``python -m bench``: measure, print, write the results and the page about them."""

import json
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import (
    authorization,
    certificates,
    control_plane,
    data_plane,
    machine,
    mixer,
    report,
    spans,
    startup,
    telemetry,
)
from bench.running_mesh import REPOSITORY, CommandError
from bench.simulated_mesh import Shape

RESULTS = REPOSITORY / "bench" / "results" / "latest.json"
PAGE = REPOSITORY / "docs" / "benchmarks.md"

Json = dict[str, Any]


class Part(StrEnum):
    """What can be measured alone."""

    DATA_PLANE = "data_plane"
    STARTUP = "startup"
    CONTROL_PLANE = "control_plane"
    CERTIFICATES = "certificates"
    AUTHORIZATION = "authorization"
    TELEMETRY = "telemetry"
    MIXER = "mixer"


def _data_plane(quick: bool) -> Json:
    return data_plane.measure(data_plane.QUICK if quick else data_plane.FULL)


def _startup(quick: bool) -> Json:
    return startup.measure(1 if quick else 7)


def _control_plane(quick: bool) -> Json:
    if quick:
        shapes = [Shape(100, 4, namespaces, 4, 20, 2) for namespaces in (1, 10)]
        few = Shape(20, 4, 1, 1, 20, 2)
    else:
        shapes = [Shape(namespaces=1), Shape(namespaces=50)]
        few = Shape(services=50, namespaces=1, workloads=50, replicas=10)
    return {
        "builds": [control_plane.measure_build(shape, 2 if quick else 5) for shape in shapes],
        "distributions": [
            control_plane.measure_distribution(shape, 3 if quick else 15) for shape in shapes
        ],
        "few_services": control_plane.measure_distribution(few, 3),
    }


def _certificates(quick: bool) -> Json:
    return certificates.measure(*((2, 50, 50) if quick else (7, 2_000, 1_000)))


def _authorization(quick: bool) -> Json:
    return authorization.measure(authorization.QUICK if quick else authorization.FULL)


def _telemetry(quick: bool) -> Json:
    return telemetry.measure(telemetry.QUICK if quick else telemetry.FULL)


def _mixer(quick: bool) -> Json:
    found = mixer.measure(*((100, 3) if quick else (1000, 15)))
    return found | {"traces": spans.measure(200_000 if quick else 1_000_000)}


_MEASURES: dict[Part, Callable[[bool], Json]] = {
    Part.DATA_PLANE: _data_plane,
    Part.STARTUP: _startup,
    Part.CONTROL_PLANE: _control_plane,
    Part.CERTIFICATES: _certificates,
    Part.AUTHORIZATION: _authorization,
    Part.TELEMETRY: _telemetry,
    Part.MIXER: _mixer,
}


def main(
    only: Annotated[
        Part | None, typer.Option(help="Measure one part; writes no page, which is about one run.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A minute, to see that it works; writes no page.")
    ] = False,
    results: Annotated[
        Path | None, typer.Option(help="Write the JSON there, and no page.", metavar="FILE")
    ] = None,
) -> None:
    """Measure the data plane, the start of a mesh and the control plane on this machine."""
    found: Json = {"machine": machine.facts(), "quick": quick}
    for part in Part if only is None else (only,):
        print(f"measuring {part.value} ...", file=sys.stderr, flush=True)
        try:
            found[part.value] = _MEASURES[part](quick)
        except CommandError as error:
            print(error, file=sys.stderr)
            raise typer.Exit(1) from error
    print(report.markdown(found))
    if results is not None:
        _write(results, found)
    elif not quick and only is None:
        _write(RESULTS, found)
        PAGE.write_text(report.markdown(found))


def _write(path: Path, found: Json) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
