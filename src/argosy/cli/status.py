"""``argosy status``: the control plane, and each proxy's state."""

from datetime import UTC, datetime

import typer
from rich.markup import escape

from argosy.cli.client import ApiClient, Json
from argosy.cli.options import MeshOption, OutputOption
from argosy.cli.output import Format, duration, err, out, show_json, show_table, show_yaml

TYPES = ("CDS", "EDS", "LDS", "RDS")


def status(output: OutputOption = Format.TABLE, mesh: MeshOption = "default") -> None:
    """Show the control plane and each proxy: synced, stale or rejected, and its certificate."""
    with ApiClient(mesh) as client:
        control_plane = client.get("/apis/argosy.dev/v1alpha1/status")
        proxies = client.get("/apis/argosy.dev/v1alpha1/proxies")["items"]
        record = client.directory.read_record()
    published = record.published if record else ()
    if output in (Format.JSON, Format.YAML):
        whole = {
            "mesh": mesh,
            "controlPlane": control_plane,
            "published": [
                {"service": f"{p.namespace}/{p.service}", "url": p.url} for p in published
            ],
            "proxies": proxies,
        }
        (show_json if output is Format.JSON else show_yaml)(whole)
        return
    if output is Format.NAME:
        for proxy in proxies:
            typer.echo(f"{proxy['name']}.{proxy['namespace']}")
        return
    facts = [
        ("Mesh", f"{mesh} ({record.mode})" if record else mesh),
        ("Version", str(control_plane.get("version", ""))),
        ("Up", duration(float(control_plane.get("uptimeSeconds", 0)))),
        ("Objects", str(control_plane.get("objects", ""))),
        ("Revision", str(control_plane.get("revision", ""))),
        ("Root certificate", _until(control_plane.get("rootExpires"))),
        *((f"{p.namespace}/{p.service}:{p.port}", p.url) for p in published),
    ]
    width = max(len(name) for name, _ in facts) + 1
    for name, value in facts:
        out.print(f"{name + ':':{width}} {escape(value)}")
    out.print()
    show_table(
        ["PROXY", *TYPES, "CERTIFICATE", "IDENTITY"],
        [
            [
                f"{proxy['name']}.{proxy['namespace']}",
                *(state_of(proxy, kind) for kind in TYPES),
                _until((proxy.get("certificate") or {}).get("expires")),
                proxy.get("identity") or "-",
            ]
            for proxy in proxies
        ],
    )
    for proxy in proxies:
        for kind, state in proxy.get("types", {}).items():
            if state.get("state") == "NACK":
                name = f"{proxy['name']}.{proxy['namespace']}"
                err.print(
                    f"[red]NACK:[/] {escape(name)} ({kind}): {escape(state.get('error') or '')}"
                )


def state_of(proxy: Json, kind: str) -> str:
    """SYNCED, STALE, NACK, NOT SENT; a proxy without connection keeps what it had."""
    if not proxy.get("connected", True):
        return "DISCONNECTED"
    state: str = (proxy.get("types", {}).get(kind) or {}).get("state", "NOT SENT")
    return state


def _until(timestamp: str | None) -> str:
    if not timestamp:
        return "-"
    left = (datetime.fromisoformat(timestamp) - datetime.now(UTC)).total_seconds()
    return f"{duration(left)} left" if left > 0 else "EXPIRED"
