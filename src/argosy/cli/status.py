"""``argosy status``: the control plane, and each proxy's state."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import typer
from rich.markup import escape

from argosy.cli.certs import show_warnings
from argosy.cli.client import ApiClient, CliError, Json, UnreachableError
from argosy.cli.options import MeshOption, OutputOption
from argosy.cli.output import (
    Format,
    duration,
    err,
    show_error,
    show_facts,
    show_json,
    show_table,
    show_yaml,
)
from argosy.platforms.local.state import MeshRecord

TYPES = ("CDS", "EDS", "LDS", "RDS")
_OURS = "/apis/argosy.dev/v1alpha1"
_PATIENCE_SECONDS = 1.0
_MIXER = {True: "runs", False: "does not run (traffic goes on without it)", None: ""}
_ANSWER_SECONDS = 5.0


def status(output: OutputOption = Format.TABLE, mesh: MeshOption = "default") -> None:
    """Show the control plane and each proxy: synced, stale or rejected, and its certificate.

    Without an answer of the control plane it shows what the node knows, and exits with 1 (or 4).
    """
    control_plane: Json = {}
    certificates: Json = {"warnings": []}
    away: UnreachableError | None = None
    with ApiClient(mesh, patience=_PATIENCE_SECONDS) as client:
        try:
            control_plane = client.call("GET", f"{_OURS}/status", seconds=_ANSWER_SECONDS)
            answer = client.call("GET", f"{_OURS}/proxies", seconds=_ANSWER_SECONDS)
            proxies = answer["items"]
            certificates = client.call("GET", f"{_OURS}/certificates", seconds=_ANSWER_SECONDS)
        except UnreachableError as error:
            if client.is_elsewhere:
                raise
            away = error
            proxies = _of_node(client)
        record = None if client.is_elsewhere else client.directory.read_record()
    published = record.published if record else ()
    if output in (Format.JSON, Format.YAML):
        whole: dict[str, Any] = {
            "mesh": mesh,
            "controlPlane": None if away else control_plane,
            "published": [
                {"service": f"{p.namespace}/{p.service}", "url": p.url} for p in published
            ],
            "proxies": proxies,
        }
        (show_json if output is Format.JSON else show_yaml)(whole)
    elif output is Format.NAME:
        for proxy in proxies:
            typer.echo(f"{proxy['name']}.{proxy['namespace']}")
    else:
        show_facts(_facts(mesh, record, control_plane))
        typer.echo()
        _table(proxies, wide=output is Format.WIDE)
        _show_rejected(proxies)
        _show_keys(control_plane.get("keysFailing", ()))
        show_warnings(certificates)
    if away:
        show_error(str(away), away.hint)
        raise typer.Exit(away.code)


def state_of(proxy: Json, kind: str) -> str:
    """SYNCED, STALE, NACK, NOT SENT; a proxy without connection keeps what it had."""
    if not proxy.get("connected", True):
        return "DISCONNECTED"
    state: str = (proxy.get("types", {}).get(kind) or {}).get("state", "NOT SENT")
    return state


def until(timestamp: str | None) -> str:
    """``23h59m left`` before an RFC 3339 time, EXPIRED after it."""
    if not timestamp:
        return "-"
    left = (datetime.fromisoformat(timestamp) - datetime.now(UTC)).total_seconds()
    return f"{duration(left)} left" if left > 0 else "EXPIRED"


def _facts(mesh: str, record: MeshRecord | None, control_plane: Json) -> list[tuple[str, str]]:
    published = record.published if record else ()
    facts = [("Mesh", f"{mesh} ({record.mode})" if record else mesh)]
    if control_plane:
        facts += [
            ("Version", str(control_plane.get("version", ""))),
            ("Up", duration(float(control_plane.get("uptimeSeconds", 0)))),
            ("Objects", str(control_plane.get("objects", ""))),
            ("Revision", str(control_plane.get("revision", ""))),
            ("Trust domain", str(control_plane.get("trustDomain", ""))),
            ("Root certificate", until(control_plane.get("rootExpires"))),
            ("Root rotation", str(control_plane.get("rotation", ""))),
            ("Mixer", _MIXER[control_plane.get("mixer")]),
        ]
    else:
        facts += [
            ("Control plane", "does not answer"),
            ("Data plane", "goes on with what it has"),
        ]
    if record is not None:
        facts.append(("API", record.api))
    return facts + [(f"{p.namespace}/{p.service}:{p.port}", p.url) for p in published]


def _table(proxies: list[Json], *, wide: bool) -> None:
    columns = ["PROXY", *TYPES, "CERTIFICATE", "IDENTITY"]
    rows = [
        [
            f"{proxy['name']}.{proxy['namespace']}",
            *(state_of(proxy, kind) for kind in TYPES),
            until((proxy.get("certificate") or {}).get("expires")),
            proxy.get("identity") or "-",
        ]
        for proxy in proxies
    ]
    if wide:
        columns += ["TYPE", "MTLS", "SERIAL"]
        for proxy, row in zip(proxies, rows, strict=True):
            serial = (proxy.get("certificate") or {}).get("serial")
            row += [proxy.get("type") or "-", proxy.get("mtls") or "-", serial or "-"]
    if not show_table(columns, rows):
        err.print("No proxy is connected.")


def _show_rejected(proxies: list[Json]) -> None:
    for proxy in proxies:
        for kind, state in proxy.get("types", {}).items():
            if state.get("state") == "NACK":
                name = f"{proxy['name']}.{proxy['namespace']}"
                err.print(
                    f"[red]NACK:[/] {escape(name)} ({kind}): {escape(state.get('error') or '')}"
                )
                err.print("       It keeps what it had. argosy get all -o wide shows the cause.")


def _show_keys(failing: Iterable[Json]) -> None:
    """Of RequestAuthentications and MeshConfig: what could not be fetched the last time."""
    for one in failing:
        then = "its certificates are refused" if one.get("bundle") else "tokens are refused"
        then = "earlier keys stay in force" if one["kept"] else then
        err.print(
            f"[red]KEYS:[/] {escape(one['url'])} since {one['since']}: {escape(one['reason'])}"
        )
        err.print(f"       Next try at {one['next_try']}; until then {then}.")


def _of_node(client: ApiClient) -> list[Json]:
    """The proxies that run here, as the node sees them; none when it does not answer either."""
    try:
        pods: list[Json] = client.node("/v1/pods").json()
    except (CliError, ValueError):
        return []
    return [
        {
            "name": pod["name"],
            "namespace": pod["namespace"],
            "connected": False,
            "ready": pod.get("proxy", False),
        }
        for pod in pods
    ]
