"""`corella up`, `down` and `status`: Corella as processes on this machine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from corella.cli.context import Json, session
from corella.cli.failures import FAILED

if TYPE_CHECKING:
    from corella.local.home import Home

PORT_BASE = 15050


def up(
    ctx: typer.Context,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when everything is healthy, and leave it running.")] = False,
    port_base: Annotated[
        int, typer.Option(envvar="CORELLA_PORT_BASE", help="Services listen on this + 1 to + 4, the rest on + 10 to + 28.")
    ] = PORT_BASE,
    wait_for: Annotated[
        list[str] | None, typer.Option(help="With --detach: return when this process is healthy. May be repeated. Default: all.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Start everything on this machine: store, queue, embedder, retriever, generator, trainer, and their workers.

    Stays in the foreground, restarts what dies, and stops everything on Ctrl-C. Listens on 127.0.0.1 only.
    """
    from corella.cli.starting import Starter

    Starter(session(ctx).home, port_base, as_json=as_json).start(detach=detach, wait_for=wait_for or [])


def down(
    ctx: typer.Context,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Stop what `corella up` started here. Documents and conversations stay."""
    from corella.cli.output import console, write_json
    from corella.local.home import Home

    home = Home(session(ctx).home)
    stopped = stop(home)
    if as_json:
        write_json({"stopped": stopped})
    elif not quiet:
        console().print("Stopped: " + ", ".join(stopped) if stopped else f"Nothing runs in {home.path}.")


def stop(home: Home, patience_seconds: float = 90.0) -> list[str]:
    """Ends the run of this home, in order if it listens. Returns the names of the processes that ran."""
    from corella.local.processes import find
    from corella.local.warden import clear_up

    record = home.read()
    supervisor = find(record.supervisor_pid, record.supervisor_started_at) if record else None
    if supervisor is None or record is None:
        return clear_up(home)
    names = [process.name for process in record.processes if process.pid is not None]
    supervisor.terminate()
    until = time.monotonic() + patience_seconds
    while home.is_locked() and time.monotonic() < until:
        time.sleep(0.1)
    if home.is_locked():
        supervisor.kill()
        while home.is_locked():
            time.sleep(0.1)
        clear_up(home)
    return names


def status(ctx: typer.Context, as_json: Json = False) -> None:
    """Show what is healthy, queued, failed and slow. Exit status 1 if something is unhealthy.

    Of the local run, or of any deployment: `corella --retriever HOST:PORT --generator HOST:PORT … status`.
    """
    from corella.cli.output import write_json
    from corella.cli.standing import gather

    found = gather(session(ctx))
    if as_json:
        write_json(found)
    else:
        from corella.cli.standing_view import show

        show(found)
    if not found["healthy"]:
        raise typer.Exit(FAILED)
