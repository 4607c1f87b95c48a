"""``argosy``: the command."""

import contextlib
import io
import os
import sys

import typer

from argosy.cli import (
    access,
    analyze,
    apply,
    authz,
    certs,
    check,
    delete,
    demo,
    describe,
    execute,
    get,
    logs,
    mesh,
    proxy_config,
    status,
    token,
    version,
    wait,
)
from argosy.cli.client import CliError
from argosy.cli.output import show_error

app = typer.Typer(
    name="argosy",
    help="A service mesh you install with pip: Istio's API, stock Envoy.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_RUN, _CONFIG, _LOOK = "Run a mesh", "Configure it", "Look into it"

app.callback()(access.choose)
app.command("up", rich_help_panel=_RUN)(mesh.up)
app.command("down", rich_help_panel=_RUN)(mesh.down)
app.command("demo", rich_help_panel=_RUN)(demo.demo)
app.command("check", rich_help_panel=_RUN)(check.check)
app.command("version", rich_help_panel=_RUN)(version.version)
app.command("apply", rich_help_panel=_CONFIG)(apply.apply)
app.command("analyze", rich_help_panel=_CONFIG)(analyze.analyze)
app.command("delete", rich_help_panel=_CONFIG)(delete.delete)
app.command("wait", rich_help_panel=_CONFIG)(wait.wait)
app.add_typer(token.app, name="token", rich_help_panel=_CONFIG)
app.command("status", rich_help_panel=_LOOK)(status.status)
app.command("get", rich_help_panel=_LOOK)(get.get)
app.command("describe", rich_help_panel=_LOOK)(describe.describe)
app.command("exec", rich_help_panel=_LOOK, cls=execute.ExecCommand)(execute.exec_)
app.command("logs", rich_help_panel=_LOOK)(logs.logs)
app.add_typer(authz.app, name="authz", rich_help_panel=_LOOK)
app.add_typer(certs.app, name="certs", rich_help_panel=_LOOK)
app.add_typer(proxy_config.app, name="proxy-config", rich_help_panel=_LOOK)
app.add_typer(proxy_config.app, name="pc", hidden=True)


def main() -> None:
    """The entry point. Known failures are said in words; only our own bugs show a trace."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        app()
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
