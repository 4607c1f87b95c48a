"""``argosy``: the command."""

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

import typer
from typer.core import TyperCommand

from argosy.cli import access
from argosy.cli.client import CliError
from argosy.cli.output import show_error

_RUN, _CONFIG, _LOOK = "Run a mesh", "Configure it", "Look into it"


@dataclass(frozen=True, slots=True)
class _Command:
    """``function`` of module ``argosy.cli.MODULE``: a command, or an app of several commands."""

    panel: str
    module: str
    function: str
    hidden: bool = False

    def add(self, app: typer.Typer, name: str) -> None:
        module = import_module(f"argosy.cli.{self.module}")
        found = getattr(module, self.function)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name, rich_help_panel=self.panel, hidden=self.hidden)
        else:
            kind = getattr(module, "COMMAND", TyperCommand)
            app.command(name, rich_help_panel=self.panel, cls=kind)(found)


COMMANDS = {
    "up": _Command(_RUN, "mesh", "up"),
    "down": _Command(_RUN, "mesh", "down"),
    "demo": _Command(_RUN, "demo", "demo"),
    "check": _Command(_RUN, "check", "check"),
    "version": _Command(_RUN, "version", "version"),
    "apply": _Command(_CONFIG, "apply", "apply"),
    "analyze": _Command(_CONFIG, "analyze", "analyze"),
    "delete": _Command(_CONFIG, "delete", "delete"),
    "wait": _Command(_CONFIG, "wait", "wait"),
    "token": _Command(_CONFIG, "token", "app"),
    "status": _Command(_LOOK, "status", "status"),
    "top": _Command(_LOOK, "top", "top"),
    "graph": _Command(_LOOK, "graph", "graph"),
    "get": _Command(_LOOK, "get", "get"),
    "describe": _Command(_LOOK, "describe", "describe"),
    "exec": _Command(_LOOK, "execute", "exec_"),
    "logs": _Command(_LOOK, "logs", "logs"),
    "admin": _Command(_LOOK, "admin", "app"),
    "trace": _Command(_LOOK, "trace", "trace"),
    "tap": _Command(_LOOK, "tap", "tap"),
    "why": _Command(_LOOK, "why", "why"),
    "report": _Command(_LOOK, "report", "report"),
    "suggest": _Command(_LOOK, "suggest", "app"),
    "authz": _Command(_LOOK, "authz", "app"),
    "certs": _Command(_LOOK, "certs", "app"),
    "limits": _Command(_LOOK, "limits", "limits"),
    "proxy-config": _Command(_LOOK, "proxy_config", "app"),
    "pc": _Command(_LOOK, "proxy_config", "app", hidden=True),
}


def application(arguments: Sequence[str]) -> typer.Typer:
    """The command line. Where the arguments name one command, only that one is there: to import
    all of them takes longer than most of them run."""
    app = typer.Typer(
        name="argosy",
        help="A service mesh you install with pip: Istio's API, stock Envoy.",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(access.choose)
    named = arguments[0] if arguments else ""
    for name in (named,) if named in COMMANDS else COMMANDS:
        COMMANDS[name].add(app, name)
    return app


def main() -> None:
    """The entry point. Known failures are said in words; only our own bugs show a trace."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        application(sys.argv[1:])()
    except CliError as error:
        show_error(str(error), error.hint)
        sys.exit(error.code)
    except BrokenPipeError:
        # The reader (head, less) has seen enough; nothing must be written at exit either.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        about = f"{error.filename}: " if error.filename else ""
        hint = "Another user's mesh? Choose a directory with ARGOSY_STATE_DIR."
        denied = isinstance(error, PermissionError)
        show_error(f"{about}{error.strerror or error}", hint if denied else "")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
