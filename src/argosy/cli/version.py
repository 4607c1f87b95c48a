"""``argosy version``: of Argosy, of the Envoy it drives, and of what it runs on."""

import platform

import typer

from argosy import __version__
from argosy.cli.check import envoy_version
from argosy.cli.options import OutputOption
from argosy.cli.output import Format, show_json, show_yaml


def version(output: OutputOption = Format.TABLE) -> None:
    """Show the versions of Argosy and of the Envoy it drives."""
    envoy = envoy_version()
    versions = {"argosy": __version__, "envoy": envoy or "not found"}
    if output in (Format.JSON, Format.YAML):
        full = {**versions, "python": platform.python_version(), "platform": platform.platform()}
        (show_json if output is Format.JSON else show_yaml)(full)
        return
    if output is Format.WIDE:
        versions |= {"python": platform.python_version()}
    for name, value in versions.items():
        typer.echo(f"{name:6} {value}")
