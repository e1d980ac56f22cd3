"""`corella corpora`: named sets of documents."""

from __future__ import annotations

from typing import Annotated

import typer

from corella.cli import corpus_indexes
from corella.cli.context import Json, session
from corella.cli.failures import USAGE, UserError
from corella.cli.ingest import METRICS

app = typer.Typer(help="List, show, create, delete and reindex corpora.", no_args_is_help=True)
app.command("show")(corpus_indexes.show_corpus)
app.command("reindex")(corpus_indexes.reindex_corpus)
app.command("rollback")(corpus_indexes.roll_back_corpus)


@app.command("list")
def list_corpora(ctx: typer.Context, as_json: Json = False) -> None:
    """List corpora. With --json one corpus a line."""
    from rich.table import Table

    from corella.cli.output import console, enum_word, line, write_json
    from corella.v1 import retriever_pb2

    corpora = []
    request = retriever_pb2.ListCorporaRequest(page_size=1000)
    with session(ctx).client() as corella:
        while True:
            response = corella.retriever.ListCorpora(request)
            corpora += response.corpora
            if not response.next_page_token:
                break
            request.page_token = response.next_page_token
    if as_json:
        for corpus in corpora:
            write_json(corpus)
        return
    if not corpora:
        console().print("No corpus yet: `corella ingest PATH` makes one.")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("corpus", "documents", "chunks", "with vector", "embedding", "metric", "name"):
        table.add_column(heading, justify="right" if heading in {"documents", "chunks", "with vector"} else "left")
    for corpus in corpora:
        table.add_row(
            corpus.name.removeprefix("corpora/"),
            f"{corpus.document_count:,}", f"{corpus.chunk_count:,}", f"{corpus.embedded_chunk_count:,}",
            enum_word(retriever_pb2.EmbeddingMode, corpus.embedding_mode).lower(),
            enum_word(retriever_pb2.Metric, corpus.metric).lower().replace("_", " "), line(corpus.display_name),
        )  # fmt: skip
    console().print(table)


@app.command("create")
def create_corpus(
    ctx: typer.Context,
    corpus_id: Annotated[str, typer.Argument(help="1 to 40 of a-z, 0-9 and -, beginning with a letter.")],
    display_name: Annotated[str, typer.Option("--name", help="For people.")] = "",
    lazy: Annotated[bool, typer.Option("--lazy", help="Embed chunks when they are first found, and in the background.")] = False,
    metric: Annotated[str, typer.Option(help=f"{', '.join(METRICS)}. Default: cosine.")] = "",
    chunk_tokens: Annotated[int, typer.Option(min=0, help="Largest chunk in tokens. 0: the default, 200.")] = 0,
    overlap_tokens: Annotated[int, typer.Option(min=-1, help="Tokens repeated between chunks. 0: the default, 32; -1: none.")] = 0,
    default_access: Annotated[
        str, typer.Option(help="Who may read documents that come without access of their own: tenant or nobody.")
    ] = "tenant",
    as_json: Json = False,
) -> None:
    """Create a corpus."""
    import uuid

    from corella.cli.ingesting import Plan
    from corella.cli.output import console, write_json
    from corella.v1 import retriever_pb2

    if metric and metric not in METRICS:
        raise UserError(f"--metric must be one of {', '.join(METRICS)}.", exit_code=USAGE)
    if default_access not in {"tenant", "nobody"}:
        raise UserError("--default-access must be tenant or nobody.", exit_code=USAGE)
    plan = Plan(corpus=corpus_id, lazy=lazy, metric=METRICS.get(metric, ""), chunk_tokens=chunk_tokens, overlap_tokens=overlap_tokens)
    corpus = plan.corpus_message()
    corpus.display_name = display_name
    nobody = default_access == "nobody"
    corpus.default_access = retriever_pb2.ACCESS_LEVEL_NOBODY if nobody else retriever_pb2.ACCESS_LEVEL_TENANT
    request = retriever_pb2.CreateCorpusRequest(corpus_id=corpus_id, corpus=corpus, request_id=uuid.uuid4().hex)
    with session(ctx).client() as corella:
        created = corella.retriever.CreateCorpus(request).corpus
    if as_json:
        write_json(created)
    else:
        console().print(f"Created {created.name}.")


@app.command("delete")
def delete_corpus(
    ctx: typer.Context,
    corpus: Annotated[str, typer.Argument(help="Id of the corpus.")],
    force: Annotated[bool, typer.Option("--force", help="Delete it with its documents.")] = False,
    as_json: Json = False,
) -> None:
    """Delete a corpus, for good."""
    import uuid

    from corella.cli.output import console, write_json
    from corella.client import corpus_name
    from corella.v1 import retriever_pb2

    request = retriever_pb2.DeleteCorpusRequest(name=corpus_name(corpus), force=force, request_id=uuid.uuid4().hex)
    with session(ctx).client() as corella:
        corella.retriever.DeleteCorpus(request)
    if as_json:
        write_json({"deleted": [request.name]})
    else:
        console().print(f"Deleted {request.name}.")
