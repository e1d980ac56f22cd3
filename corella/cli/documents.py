"""`corella documents`: what a corpus holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corella.cli.context import DEFAULT_CORPUS, CorpusOption, Json, session
from corella.cli.failures import FAILED, USAGE, UserError

if TYPE_CHECKING:
    from corella.v1 import retriever_pb2

app = typer.Typer(help="List, show and delete documents, and say who may read them.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(help="Name (corpora/…/documents/…), id, URL, or path of the file.")]
NAMES_ONLY = {"records of operations", "memory of its source"}
"""Places of an audit that hold no more than a document's name, and may hold it after a deletion."""


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
    """Delete documents, for good: no search that starts afterwards finds them, and what conversations hold of them is forgotten."""
    import uuid

    from corella.cli import remembered
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
        forgotten, failure = remembered.forget(corella.generator, deleted)
    if as_json:
        write_json({"deleted": deleted, "forgotten": forgotten, "not_forgotten_because": failure})
    elif any(forgotten.values()):
        places = ", ".join(f"{place}: {count:,}" for place, count in forgotten.items() if count)
        console().print(f"Forgotten by the generator: {places}", style="dim", soft_wrap=True)
    if failure:
        console(error=True).print(
            f"The generator was not told: {line(failure)} Its sweep forgets what conversations hold of it, within minutes once it runs.",
            style="yellow",
            soft_wrap=True,
        )


@app.command("access")
def change_access(
    ctx: typer.Context,
    name: NameArgument,
    corpus: CorpusOption = DEFAULT_CORPUS,
    users: Annotated[list[str] | None, typer.Option("--user", help="A user who may read it. May be repeated.")] = None,
    groups: Annotated[list[str] | None, typer.Option("--group", help="A group that may read it. May be repeated.")] = None,
    everyone: Annotated[bool, typer.Option("--everyone", help="Everyone of the tenant may read it.")] = False,
    nobody: Annotated[bool, typer.Option("--nobody", help="Nobody may read it.")] = False,
    as_json: Json = False,
) -> None:
    """Say who may read a document: those named and nobody else. Holds for everything asked from now on."""
    import uuid

    from corella.cli.output import console, line, write_json
    from corella.v1 import retriever_pb2

    access = access_of(users, groups, everyone=everyone, nobody=nobody)
    if access is None:
        raise UserError("Say who may read it: --user, --group, --everyone or --nobody.", exit_code=USAGE)
    with session(ctx).client() as corella:
        full_name = resolve(corella.retriever, corpus, name)
        request = retriever_pb2.UpdateDocumentAccessRequest(name=full_name, access=access, request_id=uuid.uuid4().hex)
        document = corella.retriever.UpdateDocumentAccess(request).document
    if as_json:
        write_json(document)
    else:
        console().print(f"{line(document.uri)}: {line(access_text(document.access))}", soft_wrap=True)


@app.command("retry")
def retry_documents(
    ctx: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(help="Names, ids, URLs, or paths of files. Default: all that failed.")] = None,
    corpus: CorpusOption = DEFAULT_CORPUS,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return when they are queued.")] = False,
    as_json: Json = False,
) -> None:
    """Have documents that failed indexed again."""
    import uuid

    from corella.cli import ingesting
    from corella.cli.output import console, write_json
    from corella.client import corpus_name
    from corella.v1 import retriever_pb2

    with session(ctx).client() as corella:
        request = retriever_pb2.RetryDocumentsRequest(
            parent=corpus_name(corpus),
            names=[resolve(corella.retriever, corpus, name) for name in names or ()],
            request_id=uuid.uuid4().hex,
        )
        operation = corella.retriever.RetryDocuments(request).operation
        if not no_wait and operation.total_count:
            operation = ingesting.follow(corella.retriever, operation, None)
    if as_json:
        write_json(operation)
    else:
        state = f"{operation.succeeded_count:,} succeeded, {operation.failed_count:,} failed again"
        console().print(f"{operation.total_count:,} documents tried again: {state}." if operation.total_count else "No document failed.")
    if operation.failed_count:
        raise typer.Exit(FAILED)


@app.command("audit")
def audit_document(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name (corpora/…/documents/…), id, URL, or path of the file; it need not exist any more.")],
    corpus: CorpusOption = DEFAULT_CORPUS,
    as_json: Json = False,
) -> None:
    """Show what there is of a document, place by place.

    After a deletion: exit status 1 if anything of it is left, or if the generator could not be asked.
    """
    from corella.cli import remembered
    from corella.cli.output import console, line, to_dict, write_json
    from corella.client import corpus_name
    from corella.v1 import retriever_pb2

    request = retriever_pb2.AuditDocumentRequest()
    if uri := _uri(name):
        request.parent, request.uri = corpus_name(corpus), uri
    else:
        request.name = name if name.startswith("corpora/") else f"{corpus_name(corpus)}/documents/{name}"
    with session(ctx).client() as corella:
        response = corella.retriever.AuditDocument(request)
        kept, failure = remembered.traces(corella.generator, response.name)
    there = any(trace.place == "record in the catalog" and trace.count for trace in response.traces)
    left = sum(trace.count for trace in response.traces if trace.place not in NAMES_ONLY) + sum(trace.count for trace in kept)
    if as_json:
        remembers = [to_dict(trace) for trace in kept]
        write_json({**to_dict(response), "remembered": remembers, "not_asked_because": failure})
    else:
        _print_traces("place", response.traces)
        console().print()
        if failure:
            console().print(f"The generator could not be asked: {line(failure)}", style="red", soft_wrap=True)
        else:
            _print_traces("remembered", kept)
        nothing = "Where it was looked, nothing of it is left." if failure else "Nothing of it is left."
        outcome = "The document is there." if there else "Something of it is left." if left else nothing
        console().print(outcome, style="red" if (left or failure) and not there else "dim")
    if (left or failure) and not there:
        raise typer.Exit(FAILED)


def _print_traces(heading: str, traces: Iterable[retriever_pb2.Trace]) -> None:
    from rich.table import Table

    from corella.cli.output import console, line

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(heading)
    table.add_column("entries", justify="right")
    for trace in traces:
        table.add_row(line(trace.place) + (" (its name only)" if trace.place in NAMES_ONLY else ""), f"{trace.count:,}")
    console().print(table)


def access_of(
    users: list[str] | None, groups: list[str] | None, *, everyone: bool = False, nobody: bool = False
) -> retriever_pb2.Access | None:
    """Who may read, from options; None when nothing was said. Raises `UserError` for options that exclude each other."""
    from corella.v1 import retriever_pb2

    if sum((everyone, nobody, bool(users or groups))) > 1:
        raise UserError("--everyone, --nobody and names of users or groups exclude each other.", exit_code=USAGE)
    if everyone or nobody:
        return retriever_pb2.Access(level=retriever_pb2.ACCESS_LEVEL_TENANT if everyone else retriever_pb2.ACCESS_LEVEL_NOBODY)
    if not (users or groups):
        return None
    return retriever_pb2.Access(level=retriever_pb2.ACCESS_LEVEL_LISTED, users=users, groups=groups)


def access_text(access: retriever_pb2.Access) -> str:
    """Who may read, in words."""
    from corella.v1 import retriever_pb2

    if access.level == retriever_pb2.ACCESS_LEVEL_TENANT:
        return "everyone may read it"
    named = [*(f"user {user}" for user in access.users), *(f"group {group}" for group in access.groups)]
    return f"{', '.join(named)} may read it" if named else "nobody may read it"


def _uri(name: str) -> str:
    """The URL meant by a URL or the path of a file; empty for anything else."""
    from pathlib import Path

    if "://" in name:
        return name
    return Path(name).absolute().as_uri() if ("/" in name and not name.startswith("corpora/")) or Path(name).exists() else ""


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
