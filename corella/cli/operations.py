"""`corella operations`: long work, how far it is, and how to stop it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from corella.cli.context import Json, session

if TYPE_CHECKING:
    from corella.v1 import operation_pb2

app = typer.Typer(help="Follow and cancel long work.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(help="Name (operations/…) or id.")]


@app.command("list")
def list_operations(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many at most.")] = 20,
    as_json: Json = False,
) -> None:
    """List operations, newest first. With --json one operation a line."""
    from rich.table import Table

    from corella.cli.output import console, enum_word, line, write_json
    from corella.v1 import operation_pb2, retriever_pb2

    with session(ctx).client() as corella:
        operations = corella.retriever.ListOperations(retriever_pb2.ListOperationsRequest(page_size=limit)).operations
    if as_json:
        for operation in operations:
            write_json(operation)
        return
    if not operations:
        console().print("No operations.")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("operation", "what", "corpus", "state", "done", "failed", "begun", ""):
        table.add_column(heading, justify="right" if heading in {"done", "failed"} else "left", no_wrap=bool(heading))
    for operation in operations:
        table.add_row(
            operation.name.removeprefix("operations/"), enum_word(operation_pb2.OperationKind, operation.kind).lower().replace("_", " "),
            operation.target.removeprefix("corpora/"), enum_word(operation_pb2.OperationState, operation.state),
            f"{operation.done_count:,} of {operation.total_count:,}", f"{operation.failed_count:,}",
            f"{operation.create_time.ToDatetime():%m-%d %H:%M}", line(operation.message, 60),
        )  # fmt: skip
    console().print(table)


@app.command("get")
def get_operation(ctx: typer.Context, name: NameArgument, as_json: Json = False) -> None:
    """Show one operation, with what failed and why."""
    from corella.v1 import retriever_pb2

    with session(ctx).client() as corella:
        operation = corella.retriever.GetOperation(retriever_pb2.GetOperationRequest(name=_full(name))).operation
    _show(operation, as_json)


@app.command("cancel")
def cancel_operation(ctx: typer.Context, name: NameArgument, as_json: Json = False) -> None:
    """Ask an operation to stop. What is finished stays."""
    from corella.v1 import retriever_pb2

    with session(ctx).client() as corella:
        operation = corella.retriever.CancelOperation(retriever_pb2.CancelOperationRequest(name=_full(name))).operation
    _show(operation, as_json)


def _full(name: str) -> str:
    return name if name.startswith("operations/") else f"operations/{name}"


def _show(operation: operation_pb2.Operation, as_json: bool) -> None:
    from corella.cli.output import console, enum_word, line, write_json
    from corella.errors import RpcFailure
    from corella.v1 import operation_pb2

    if as_json:
        write_json(operation)
        return
    out = console()
    out.print(f"{operation.name}  {enum_word(operation_pb2.OperationState, operation.state)}  {line(operation.message)}", soft_wrap=True)
    out.print(
        f"{operation.done_count:,} of {operation.total_count:,} done: {operation.succeeded_count:,} added, "
        f"{operation.unchanged_count:,} unchanged, {operation.failed_count:,} failed, {operation.cancelled_count:,} cancelled",
        soft_wrap=True,
    )
    for failure in operation.failures:
        out.print(f"  {line(failure.uri or failure.name)}: {line(str(RpcFailure.from_status(failure.error)))}", style="red", soft_wrap=True)
    if operation.HasField("error"):
        out.print(line(str(RpcFailure.from_status(operation.error))), style="red", soft_wrap=True)
