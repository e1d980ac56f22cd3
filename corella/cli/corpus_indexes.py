"""`corella corpora show`, `reindex` and `rollback`: the indexes of a corpus, and switching between them."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from corella.cli.context import Json, session
from corella.cli.failures import UserError

if TYPE_CHECKING:
    from corella.client import Corella
    from corella.v1 import operation_pb2, retriever_pb2

CorpusArgument = Annotated[str, typer.Argument(help="Id of the corpus.")]
Force = Annotated[bool, typer.Option("--force", help="Build although nothing would differ; switch without documents that fail.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end, or go on at once.")]


def show_corpus(ctx: typer.Context, corpus: CorpusArgument, as_json: Json = False) -> None:
    """Show one corpus with its indexes."""
    from corella.cli.output import write_json

    with session(ctx).client() as corella:
        found = _get(corella, corpus)
    if as_json:
        write_json(found)
    else:
        _show(found)


def reindex_corpus(
    ctx: typer.Context,
    corpus: CorpusArgument,
    max_tokens: Annotated[int, typer.Option(min=0, help="Largest chunk in tokens. 0: as it is.")] = 0,
    overlap_tokens: Annotated[int, typer.Option(min=-1, help="Tokens repeated between chunks. 0: as it is; -1: none.")] = 0,
    lazy: Annotated[bool | None, typer.Option("--lazy/--eager", help="When chunks get their vectors. Default: as it is.")] = None,
    force: Force = False,
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Build the index of a corpus anew, with the embedding model that serves now, and switch to it.

    Questions go on with the former index until then. It is kept: `corella corpora rollback` goes back to it.
    """
    import uuid

    from corella.client import corpus_name
    from corella.v1 import retriever_pb2

    modes = {None: None, True: retriever_pb2.EMBEDDING_MODE_LAZY, False: retriever_pb2.EMBEDDING_MODE_EAGER}
    request = retriever_pb2.ReindexCorpusRequest(
        name=corpus_name(corpus),
        chunking=retriever_pb2.Chunking(max_tokens=max_tokens, overlap_tokens=overlap_tokens),
        embedding_mode=modes[lazy],
        force=force,
        request_id=uuid.uuid4().hex,
    )
    with session(ctx).client() as corella:
        _see_through(corella, corpus, corella.retriever.ReindexCorpus(request).operation, wait=wait, as_json=as_json)


def roll_back_corpus(ctx: typer.Context, corpus: CorpusArgument, force: Force = False, wait: Wait = True, as_json: Json = False) -> None:
    """Go back to the index that a corpus had before it was last switched. A second call undoes the first."""
    import uuid

    from corella.client import corpus_name
    from corella.v1 import retriever_pb2

    request = retriever_pb2.RollBackCorpusRequest(name=corpus_name(corpus), force=force, request_id=uuid.uuid4().hex)
    with session(ctx).client() as corella:
        _see_through(corella, corpus, corella.retriever.RollBackCorpus(request).operation, wait=wait, as_json=as_json)


def _see_through(corella: Corella, corpus: str, operation: operation_pb2.Operation, *, wait: bool, as_json: bool) -> None:
    from corella.cli import ingesting
    from corella.cli.output import console, line, write_json
    from corella.errors import RpcFailure
    from corella.v1 import operation_pb2

    if wait:
        bars = None if as_json else ingesting.progress_bars()
        with bars or nullcontext():
            operation = ingesting.follow(corella.retriever, operation, bars)
    if as_json:
        write_json(operation)
    elif not wait:
        console().print(
            f"Begun: `corella operations get {operation.name.removeprefix('operations/')}` shows how far it is.", soft_wrap=True
        )
    else:
        for failed in operation.failures:
            reason = line(str(RpcFailure.from_status(failed.error)))
            console().print(f"  {line(failed.uri or failed.name)}: {reason}", style="red", soft_wrap=True)
    if not wait or operation.state == operation_pb2.OPERATION_STATE_SUCCEEDED:
        if wait and not as_json:
            _show(_get(corella, corpus))
        return
    if operation.HasField("error"):
        raise UserError(str(RpcFailure.from_status(operation.error)))
    raise UserError("The operation was cancelled; the corpus answers as before.")


def _get(corella: Corella, corpus: str) -> retriever_pb2.Corpus:
    from corella.client import corpus_name
    from corella.v1 import retriever_pb2

    return corella.retriever.GetCorpus(retriever_pb2.GetCorpusRequest(name=corpus_name(corpus))).corpus


def _show(corpus: retriever_pb2.Corpus) -> None:
    from rich.table import Table

    from corella.cli.output import console, enum_word, line
    from corella.v1 import retriever_pb2

    out = console()
    name = f"  {line(corpus.display_name)}" if corpus.display_name else ""
    out.print(f"{corpus.name.removeprefix('corpora/')}{name}: {corpus.document_count:,} documents", soft_wrap=True)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("index", "begun", "model", "chunk tokens", "overlap", "embedding", "chunks", "with vector", "pending"):
        table.add_column(heading, justify="left" if heading in {"index", "begun", "model", "embedding"} else "right")
    for index in corpus.indexes:
        table.add_row(
            enum_word(retriever_pb2.IndexState, index.state).lower(), f"{index.create_time.ToDatetime():%Y-%m-%d %H:%M}",
            line(index.embedding_model_fingerprint), str(index.chunking.max_tokens), str(max(0, index.chunking.overlap_tokens)),
            enum_word(retriever_pb2.EmbeddingMode, index.embedding_mode).lower(), f"{index.chunk_count:,}",
            f"{index.embedded_chunk_count:,}", f"{index.pending_document_count:,}",
        )  # fmt: skip
    out.print(table)
