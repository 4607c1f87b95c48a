"""``argosy``: the command."""

import sys

import typer
from rich.markup import escape

from argosy import __version__
from argosy.cli import apply, check, demo, get, mesh, proxy_config, status, wait, workload
from argosy.cli.client import CliError
from argosy.cli.output import err

app = typer.Typer(
    name="argosy",
    help="A service mesh you install with pip: Istio's API, stock Envoy.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_RUN, _CONFIG, _LOOK = "Run a mesh", "Configure it", "Look into it"

app.command("up", rich_help_panel=_RUN)(mesh.up)
app.command("down", rich_help_panel=_RUN)(mesh.down)
app.command("demo", rich_help_panel=_RUN)(demo.demo)
app.command("check", rich_help_panel=_RUN)(check.check)
app.command("apply", rich_help_panel=_CONFIG)(apply.apply)
app.command("delete", rich_help_panel=_CONFIG)(apply.delete)
app.command("wait", rich_help_panel=_CONFIG)(wait.wait)
app.command("get", rich_help_panel=_LOOK)(get.get)
app.command("describe", rich_help_panel=_LOOK)(get.describe)
app.command("status", rich_help_panel=_LOOK)(status.status)
app.command("exec", rich_help_panel=_LOOK, context_settings={"allow_interspersed_args": False})(
    workload.exec_
)
app.command("logs", rich_help_panel=_LOOK)(workload.logs)
app.add_typer(proxy_config.app, name="proxy-config", rich_help_panel=_LOOK)
app.add_typer(proxy_config.app, name="pc", hidden=True)


@app.command("version", rich_help_panel=_RUN)
def version() -> None:
    """Show the versions of Argosy and of the Envoy it drives."""
    from argosy.cli.check import envoy_version

    typer.echo(f"argosy {__version__}")
    typer.echo(f"envoy  {envoy_version() or 'not found'}")


def main() -> None:
    """The entry point. Known failures are said in words; only our own bugs show a trace."""
    try:
        app()
    except CliError as error:
        err.print(f"[red]Error:[/] {escape(str(error))}")
        if error.hint:
            err.print(f"       {escape(error.hint)}")
        sys.exit(error.code)
    except BrokenPipeError:
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
