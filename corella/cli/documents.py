"""`corella documents`: what a corpus holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corella.cli.context import DEFAULT_CORPUS, CorpusOption, Json, session
from corella.cli.failures import USAGE, UserError

if TYPE_CHECKING:
    from corella.v1 import retriever_pb2

app = typer.Typer(help="List, show and delete documents.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(help="Name (corpora/…/documents/…), id, URL, or path of the file.")]


@app.command("list")
def list_documents(
    ctx: typer.Context,
    corpus: CorpusOption = DEFAULT_CORPUS,
    state: Annotated[str, typer.Option(help="Only those in this state: pending, processing, active, failed, deleting.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="How many at most. 0: all.")] = 100,
    as_json: Json = False,
) -> None:
    """List the documents of a corpus. With --json one document a line."""
    from rich.table import Table

    from corella.cli.output import console, enum_word, line, link, size, write_json
    from corella.client import corpus_name
    from corella.v1 import retriever_pb2

    wanted = 0
    if state:
        try:
            wanted = retriever_pb2.DocumentState.Value(f"DOCUMENT_STATE_{state.upper()}")
        except ValueError as error:
            raise UserError(f"There is no state {state!r}.", exit_code=USAGE) from error
    with session(ctx).client() as corella:
        total, documents = _all(corella.retriever, corpus_name(corpus), wanted, limit)
    if as_json:
        for document in documents:
            write_json(document)
        return
    out = console()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("state", "chunks", "size", "id", "title"):
        table.add_column(heading, justify="right" if heading in {"chunks", "size"} else "left", no_wrap=heading != "title")
    for document in documents:
        word = enum_word(retriever_pb2.DocumentState, document.state)
        title = link(document.title or document.uri, document.uri)
        if document.error.message:
            title.append(f"  {line(document.error.message)}", style="red")
        table.add_row(word, str(document.chunk_count), size(document.size_bytes), document.name.rpartition("/")[2], title)
    if documents:
        out.print(table)
    out.print(f"{len(documents):,} of {total:,} documents", style="dim")


@app.command("get")
def get_document(
    ctx: typer.Context,
    name: NameArgument,
    corpus: CorpusOption = DEFAULT_CORPUS,
    content: Annotated[bool, typer.Option("--content", help="Write the document itself instead.")] = False,
    as_json: Json = False,
) -> None:
    """Show one document."""
    from corella.cli.output import clean, console, line, to_dict, write_json
    from corella.v1 import retriever_pb2

    with session(ctx).client() as corella:
        full_name = resolve(corella.retriever, corpus, name)
        request = retriever_pb2.GetDocumentRequest(name=full_name, include_content=content)
        document = corella.retriever.GetDocument(request).document
    if as_json:
        write_json(document)
    elif content:
        console().print(clean(document.content.decode(errors="replace")), soft_wrap=True)
    else:
        for key, value in to_dict(document).items():
            if key != "content" and value not in ("", 0, "0", {}, []):
                console().print(f"{key:<22} {line(str(value))}", soft_wrap=True)


@app.command("delete")
def delete_document(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(help="Names, ids, URLs, or paths of files.")],
    corpus: CorpusOption = DEFAULT_CORPUS,
    as_json: Json = False,
) -> None:
    """Delete documents, for good: no search that starts afterwards finds them."""
    import uuid

    from corella.cli.output import console, line, write_json
    from corella.v1 import retriever_pb2

    deleted = []
    with session(ctx).client() as corella:
        for name in names:
            full_name = resolve(corella.retriever, corpus, name)
            corella.retriever.DeleteDocument(retriever_pb2.DeleteDocumentRequest(name=full_name, request_id=uuid.uuid4().hex))
            deleted.append(full_name)
            if not as_json:
                console().print(f"Deleted {line(name)}", soft_wrap=True)
    if as_json:
        write_json({"deleted": deleted})


def resolve(stub: Any, corpus: str, name: str) -> str:
    """The resource name of a document given by name, id, URL or path. Raises `UserError` when none matches."""
    from pathlib import Path

    from corella.client import corpus_name
    from corella.v1 import retriever_pb2

    if name.startswith("corpora/"):
        return name
    parent = corpus_name(corpus)
    path = Path(name)
    uris = {name, name.partition("#")[0], *([path.absolute().as_uri()] if path.exists() else [])}
    if path.exists() or "://" in name:
        for document in _pages(stub, retriever_pb2.ListDocumentsRequest(parent=parent, page_size=1000)):
            if document.uri in uris:
                return str(document.name)
        raise UserError(
            f"No document of corpus {corpus} has the URL {name}.",
            hint="`corella documents list` shows what is there.",
            reason="DOCUMENT_NOT_FOUND",
        )
    return f"{parent}/documents/{name}"


def _all(stub: Any, parent: str, state: int, limit: int) -> tuple[int, list[retriever_pb2.Document]]:
    from itertools import islice

    from corella.v1 import retriever_pb2

    request = retriever_pb2.ListDocumentsRequest(parent=parent, state=state, page_size=min(limit or 1000, 1000))  # type: ignore[arg-type]
    total = stub.ListDocuments(retriever_pb2.ListDocumentsRequest(parent=parent, state=state, page_size=1)).total_size  # type: ignore[arg-type]
    return int(total), list(islice(_pages(stub, request), limit or None))


def _pages(stub: Any, request: retriever_pb2.ListDocumentsRequest) -> Iterator[retriever_pb2.Document]:
    while True:
        response = stub.ListDocuments(request)
        yield from response.documents
        if not response.next_page_token:
            return
        request.page_token = response.next_page_token
