"""The `corella` command: its groups, the options all of them share, and how errors end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from corella.cli import (
    adapters,
    ask,
    corpora,
    cost,
    datasets,
    documents,
    evaluate,
    feedback,
    ingest,
    jobs,
    local,
    operations,
    schedules,
    search,
    secrets,
    sources,
    trace,
    train,
)
from corella.cli.context import Session, default_home

app = typer.Typer(
    name="corella",
    help="Answers questions from your own documents, with citations you can click.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_ADDRESS = "host:port of the {}. Default: the local run's, else 127.0.0.1:{}."


@app.callback()
def corella(
    ctx: typer.Context,
    home: Annotated[
        Path | None, typer.Option(envvar="CORELLA_HOME", help="Folder of the local run: models, data, logs. Default: .corella")
    ] = None,
    embedder: Annotated[str, typer.Option(envvar="CORELLA_EMBEDDER", help=_ADDRESS.format("embedder", 15051), show_default=False)] = "",
    retriever: Annotated[str, typer.Option(envvar="CORELLA_RETRIEVER", help=_ADDRESS.format("retriever", 15052), show_default=False)] = "",
    generator: Annotated[str, typer.Option(envvar="CORELLA_GENERATOR", help=_ADDRESS.format("generator", 15053), show_default=False)] = "",
    trainer: Annotated[str, typer.Option(envvar="CORELLA_TRAINER", help=_ADDRESS.format("trainer", 15054), show_default=False)] = "",
    token_file: Annotated[Path | None, typer.Option(envvar="CORELLA_TOKEN_FILE", help="File with your bearer token.")] = None,
    ca_file: Annotated[Path | None, typer.Option(envvar="CORELLA_CA_FILE", help="PEM certificates to trust; turns encryption on.")] = None,
    certificate_file: Annotated[
        Path | None, typer.Option(envvar="CORELLA_CERTIFICATE_FILE", help="PEM certificate to show to services that ask for one.")
    ] = None,
    key_file: Annotated[Path | None, typer.Option(envvar="CORELLA_KEY_FILE", help="PEM private key of it.")] = None,
    server_name: Annotated[
        str, typer.Option(envvar="CORELLA_SERVER_NAME", help="Name the services' certificates are for, if not their address.")
    ] = "",
    as_user: Annotated[str, typer.Option(envvar="CORELLA_AS_USER", help="Call for this user; for services, or on this machine.")] = "",
    as_groups: Annotated[str, typer.Option(envvar="CORELLA_AS_GROUPS", help="Groups of that user, separated by commas.")] = "",
    as_tenant: Annotated[str, typer.Option(envvar="CORELLA_AS_TENANT", help="Tenant of that user. Default: default")] = "",
) -> None:
    """Answers questions from your own documents, with citations you can click."""
    addresses = {"embedder": embedder, "retriever": retriever, "generator": generator, "trainer": trainer}
    given = {name: address for name, address in addresses.items() if address}
    found = Session(
        home or default_home(),
        given,
        token_file,
        ca_file=ca_file,
        certificate_file=certificate_file,
        key_file=key_file,
        server_name=server_name,
        as_user=as_user,
        as_groups=as_groups,
        as_tenant=as_tenant,
    )
    ctx.obj = found
    # Left when the command has ended and its answer is shown; only then its spans are exported.
    ctx.with_resource(found.trace)


# The help lists them in this order.
_MACHINE, _CONTENT, _TRAINING, _WATCHING = "On this machine", "Documents and questions", "Training", "Looking inside"
app.command(rich_help_panel=_CONTENT)(ask.ask)
app.command(rich_help_panel=_CONTENT)(search.search)
app.command(rich_help_panel=_CONTENT)(ingest.ingest)
app.add_typer(sources.app, name="sources", rich_help_panel=_CONTENT)
app.add_typer(documents.app, name="documents", rich_help_panel=_CONTENT)
app.add_typer(corpora.app, name="corpora", rich_help_panel=_CONTENT)
app.add_typer(operations.app, name="operations", rich_help_panel=_CONTENT)
app.add_typer(evaluate.app, name="eval", rich_help_panel=_CONTENT)
app.add_typer(feedback.app, name="feedback", rich_help_panel=_TRAINING)
app.add_typer(datasets.app, name="datasets", rich_help_panel=_TRAINING)
app.command(rich_help_panel=_TRAINING)(train.train)
app.add_typer(jobs.app, name="jobs", rich_help_panel=_TRAINING)
app.add_typer(adapters.app, name="adapters", rich_help_panel=_TRAINING)
app.add_typer(schedules.app, name="schedules", rich_help_panel=_TRAINING)
app.command(rich_help_panel=_TRAINING)(cost.cost)
app.command(rich_help_panel=_MACHINE)(local.up)
app.command(rich_help_panel=_MACHINE)(local.down)
app.command(rich_help_panel=_WATCHING)(local.status)
app.command(rich_help_panel=_WATCHING)(trace.trace)
app.command(rich_help_panel="In a cluster")(secrets.secrets)


def run() -> None:
    """Runs the command of `sys.argv` and exits."""
    try:
        app()
    except BrokenPipeError:
        # Whoever read the output has enough of it.
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:
        # Imported here: it brings gRPC, which a command that succeeds may not need.
        from corella.cli.failures import report

        sys.exit(report(error, as_json="--json" in sys.argv))


if __name__ == "__main__":
    run()
