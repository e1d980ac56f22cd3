"""`corella adapters`: versions that were trained, and which of them serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from corella.cli.context import Json, session

if TYPE_CHECKING:
    from corella.client import Corella

app = typer.Typer(help="List versions of adapters, and choose which one serves.", no_args_is_help=True)


@app.command("list")
def list_adapters(ctx: typer.Context, as_json: Json = False) -> None:
    """List adapters with their versions, newest first. With --json one adapter a line."""
    from rich.table import Table

    from corella.cli.naming import short
    from corella.cli.output import console, size, write_json
    from corella.cli.paging import every
    from corella.v1 import trainer_pb2

    with session(ctx).client() as corella:
        found = list(every(corella.trainer.ListAdapters, trainer_pb2.ListAdaptersRequest(), "adapters"))
    if as_json:
        for adapter in found:
            write_json(adapter)
        return
    versions = [version for adapter in found for version in adapter.versions]
    if not versions:
        console().print("No adapter yet: `corella train DATASET` makes one.")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("version", "accepted", "serves", "job", "rank", "size", "made"):
        table.add_column(heading, justify="right" if heading in {"rank", "size"} else "left", no_wrap=True)
    for version in versions:
        table.add_row(
            short(version.name), "yes" if version.accepted else "no", "serves" if version.serving else "", short(version.job),
            str(version.rank), size(version.size_bytes), f"{version.create_time.ToDatetime():%m-%d %H:%M}",
            style="green" if version.serving else "" if version.accepted else "dim",
        )  # fmt: skip
    console().print(table)


@app.command("promote")
def promote_adapter(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="The version: adapter/version, or adapters/…/versions/…")],
    as_json: Json = False,
) -> None:
    """Make a version serve that the gate has accepted. Generators follow within seconds, without a restart."""
    import uuid

    from corella.cli.naming import adapter_version, short
    from corella.cli.output import console, write_json
    from corella.v1 import trainer_pb2

    request = trainer_pb2.PromoteAdapterRequest(name=adapter_version(name), request_id=uuid.uuid4().hex)
    with session(ctx).client() as corella:
        response = corella.trainer.PromoteAdapter(request)
    if as_json:
        write_json(response)
    else:
        console().print(f"{short(response.version.name)} is to serve; `corella adapters serving` shows whether it does.", soft_wrap=True)


@app.command("rollback")
def roll_back_adapter(
    ctx: typer.Context,
    request_id: Annotated[str, typer.Option(help="Makes a repeat of this very command safe. Default: made up.")] = "",
    as_json: Json = False,
) -> None:
    """Make what served before serve again; the base model, if that was it."""
    import uuid

    from corella.cli.naming import BASE, short
    from corella.cli.output import console, write_json
    from corella.v1 import trainer_pb2

    with session(ctx).client() as corella:
        response = corella.trainer.RollBackAdapter(trainer_pb2.RollBackAdapterRequest(request_id=request_id or uuid.uuid4().hex))
    if as_json:
        write_json(response)
        return
    serves = short(response.version.name) if response.HasField("version") else BASE
    console().print(f"{serves} is to serve again; `corella adapters serving` shows whether it does.", soft_wrap=True)


@app.command("serving")
def show_serving(ctx: typer.Context, as_json: Json = False) -> None:
    """Show what is to serve, what the generator says it serves, and what served before."""
    from corella.cli.naming import served
    from corella.cli.output import console, line, to_dict, write_json
    from corella.v1 import trainer_pb2

    with session(ctx).client() as corella:
        state = corella.trainer.GetServing(trainer_pb2.GetServingRequest()).serving
        generator = _generator(corella)
    if as_json:
        write_json({"serving": to_dict(state), "generator": generator})
        return
    out = console()
    since = f", since {state.update_time.ToDatetime():%Y-%m-%d %H:%M} UTC" if state.HasField("update_time") else ""
    out.print(f"To serve:  {served(state.adapter)}{since}", soft_wrap=True)
    if "error" in generator:
        out.print(f"Generator: {line(generator['error'])}", style="red", soft_wrap=True)
    elif not generator["max_adapter_rank"]:
        out.print(f"Generator: {line(generator['display_name'])}; this deployment serves no adapters", style="yellow", soft_wrap=True)
    else:
        same = generator["adapter"] == state.adapter
        told = f"Generator: {served(generator['adapter'])} on {line(generator['display_name'])}"
        out.print(told + ("" if same else "; it follows within seconds"), style="green" if same else "yellow", soft_wrap=True)
    if state.history:
        out.print("Before:    " + ", ".join(served(past.adapter) for past in state.history), soft_wrap=True)


def _generator(corella: Corella) -> dict[str, Any]:
    """What the generator says of itself, or why it says nothing: what is to serve is worth showing without it."""
    import grpc

    from corella.cli.failures import describe
    from corella.cli.output import to_dict
    from corella.v1 import generator_pb2

    try:
        return to_dict(corella.generator.GetGenerationModel(generator_pb2.GetGenerationModelRequest(), timeout=10).model)
    except grpc.RpcError as error:
        return {"error": describe(error)["message"]}
