"""`corella sources`: places that corpora are kept like."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corella.cli import source_options as options
from corella.cli.context import DEFAULT_CORPUS, CorpusOption, Json, session
from corella.cli.failures import FAILED, USAGE, UserError

if TYPE_CHECKING:
    from corella.v1 import operation_pb2, source_pb2

app = typer.Typer(help="Keep corpora as directories, web sites, Jira and Confluence are.", no_args_is_help=True)
create = typer.Typer(help="Make a source, and read it for the first time.", no_args_is_help=True)
app.add_typer(create, name="create")

BaseUrl = Annotated[str, typer.Argument(help="Address of the site. Example: https://example.atlassian.net")]
Token = Annotated[str, typer.Option("--token", help="Name of the secret with the API token; a file in the retriever's folder of secrets.")]
Account = Annotated[str, typer.Option("--account", help="E-mail address the token belongs to. Default: it is a bearer token.")]
Attachments = Annotated[bool, typer.Option("--attachments", help="Read attachments of known types too.")]


@create.command("directory")
def create_directory(
    ctx: typer.Context,
    source_id: options.NewSourceArgument,
    path: Annotated[Path, typer.Argument(help="Directory on the retriever's machine, below its import roots.")],
    corpus: CorpusOption = DEFAULT_CORPUS,
    include: options.Include = None,
    exclude: options.Exclude = None,
    base_url: Annotated[str, typer.Option(help="Prefix of the documents' URLs. Default: file:// and the path.")] = "",
    name: options.DisplayName = "",
    every: options.Every = "",
    loss_limit: options.LossLimit = None,
    group: options.Groups = None,
    user: options.Users = None,
    nobody: options.Nobody = False,
    paused: options.Paused = False,
    wait: options.Wait = None,
    as_json: Json = False,
) -> None:
    """Keep a corpus like a directory with everything below it."""
    from corella.v1 import retriever_pb2

    place = retriever_pb2.DirectorySource(path=str(path.absolute()), include=include or (), exclude=exclude or (), base_uri=base_url)
    access = options.access(group, user, nobody)
    source = options.source_message(place, name=name, every=every, loss_limit=loss_limit, default_access=access)
    _create(ctx, corpus, source_id, source, paused=paused, wait=wait, as_json=as_json)


@create.command("web")
def create_web(
    ctx: typer.Context,
    source_id: options.NewSourceArgument,
    start_url: Annotated[str, typer.Argument(help="A page to begin at, or a sitemap (…/sitemap.xml).")],
    corpus: CorpusOption = DEFAULT_CORPUS,
    depth: Annotated[int | None, typer.Option(min=0, max=20, help="Links followed from the start page. Default: 3.")] = None,
    pages: Annotated[int, typer.Option(min=0, help="Most pages read. 0: the default, 1,000.")] = 0,
    host: Annotated[list[str] | None, typer.Option(help="Another host whose pages belong to it. May be repeated.")] = None,
    include: options.Include = None,
    exclude: options.Exclude = None,
    name: options.DisplayName = "",
    every: options.Every = "",
    loss_limit: options.LossLimit = None,
    group: options.Groups = None,
    user: options.Users = None,
    nobody: options.Nobody = False,
    paused: options.Paused = False,
    wait: options.Wait = None,
    as_json: Json = False,
) -> None:
    """Keep a corpus like a web site. robots.txt is respected."""
    from corella.v1 import source_pb2

    place = source_pb2.WebSource(
        start_url=start_url, max_depth=depth, max_pages=pages, hosts=host or (), include=include or (), exclude=exclude or ()
    )
    access = options.access(group, user, nobody)
    source = options.source_message(place, name=name, every=every, loss_limit=loss_limit, default_access=access)
    _create(ctx, corpus, source_id, source, paused=paused, wait=wait, as_json=as_json)


@create.command("jira")
def create_jira(
    ctx: typer.Context,
    source_id: options.NewSourceArgument,
    base_url: BaseUrl,
    project: Annotated[list[str], typer.Option(help="Key of a project to read. May be repeated.")],
    token: Token,
    account: Account = "",
    jql: Annotated[str, typer.Option(help="Further condition, in JQL.")] = "",
    api: Annotated[int, typer.Option(min=2, max=3, help="Version of the REST API.")] = 3,
    attachments: Attachments = False,
    corpus: CorpusOption = DEFAULT_CORPUS,
    name: options.DisplayName = "",
    every: options.Every = "",
    loss_limit: options.LossLimit = None,
    group: options.Groups = None,
    user: options.Users = None,
    nobody: options.Nobody = False,
    paused: options.Paused = False,
    wait: options.Wait = None,
    as_json: Json = False,
) -> None:
    """Keep a corpus like projects of Jira: description, comments and solution of every issue."""
    from corella.v1 import source_pb2

    place = source_pb2.JiraSource(
        base_url=base_url, project_keys=project, jql=jql, api_version=api, user=account, token=source_pb2.SecretReference(name=token),
        include_attachments=attachments,
    )  # fmt: skip
    access = options.access(group, user, nobody)
    source = options.source_message(place, name=name, every=every, loss_limit=loss_limit, default_access=access)
    _create(ctx, corpus, source_id, source, paused=paused, wait=wait, as_json=as_json)


@create.command("confluence")
def create_confluence(
    ctx: typer.Context,
    source_id: options.NewSourceArgument,
    base_url: BaseUrl,
    space: Annotated[list[str], typer.Option(help="Key of a space to read. May be repeated.")],
    token: Token,
    account: Account = "",
    attachments: Attachments = False,
    corpus: CorpusOption = DEFAULT_CORPUS,
    name: options.DisplayName = "",
    every: options.Every = "",
    loss_limit: options.LossLimit = None,
    group: options.Groups = None,
    user: options.Users = None,
    nobody: options.Nobody = False,
    paused: options.Paused = False,
    wait: options.Wait = None,
    as_json: Json = False,
) -> None:
    """Keep a corpus like spaces of Confluence, with their tree."""
    from corella.v1 import source_pb2

    place = source_pb2.ConfluenceSource(
        base_url=base_url, space_keys=space, user=account, token=source_pb2.SecretReference(name=token), include_attachments=attachments
    )
    access = options.access(group, user, nobody)
    source = options.source_message(place, name=name, every=every, loss_limit=loss_limit, default_access=access)
    _create(ctx, corpus, source_id, source, paused=paused, wait=wait, as_json=as_json)


@app.command("list")
def list_sources(ctx: typer.Context, corpus: CorpusOption = DEFAULT_CORPUS, as_json: Json = False) -> None:
    """List the sources of a corpus. With --json one source a line."""
    from corella.cli.output import console, write_json
    from corella.cli.paging import every
    from corella.cli.source_view import show_table
    from corella.client import corpus_name
    from corella.v1 import source_pb2

    with session(ctx).client() as corella:
        request = source_pb2.ListSourcesRequest(parent=corpus_name(corpus))
        found = list(every(corella.sources.ListSources, request, "sources"))
    if as_json:
        for source in found:
            write_json(source)
    elif found:
        show_table(found)
    else:
        console().print(f"Corpus {corpus} has no source yet: `corella sources create` makes one.")


@app.command("show")
def show_source(ctx: typer.Context, source: options.SourceArgument, corpus: CorpusOption = DEFAULT_CORPUS, as_json: Json = False) -> None:
    """Show one source, with what its last sync did and why documents failed."""
    from corella.cli.output import write_json
    from corella.cli.source_view import show_one
    from corella.v1 import source_pb2

    with session(ctx).client() as corella:
        found = corella.sources.GetSource(source_pb2.GetSourceRequest(name=options.full_name(corpus, source))).source
    write_json(found) if as_json else show_one(found)


@app.command("update")
def update_source(
    ctx: typer.Context,
    source: options.SourceArgument,
    corpus: CorpusOption = DEFAULT_CORPUS,
    name: Annotated[str | None, typer.Option("--name", help="For people.")] = None,
    every: Annotated[str, typer.Option("--every", help="How often to read it: 30s, 15m, 6h, 1d; or never.")] = "",
    loss_limit: options.LossLimit = None,
    group: options.Groups = None,
    user: options.Users = None,
    nobody: options.Nobody = False,
    as_corpus: Annotated[bool, typer.Option("--as-corpus", help="What the place says nothing about: as the corpus says.")] = False,
    as_json: Json = False,
) -> None:
    """Change a source. Who may read its documents holds with a sync that begins at once."""
    import uuid

    from google.protobuf import field_mask_pb2

    from corella.cli.output import console, write_json
    from corella.v1 import source_pb2

    changed = source_pb2.Source(name=options.full_name(corpus, source), display_name=name or "", loss_limit=loss_limit)
    access = options.access(group, user, nobody)
    if access is not None:
        changed.default_access.CopyFrom(access)
    if every:
        changed.sync_interval.CopyFrom(options.interval(every))
    named = {"display_name": name is not None, "sync_interval": bool(every), "loss_limit": loss_limit is not None}
    paths = [field for field, given in {**named, "default_access": access is not None or as_corpus}.items() if given]
    if not paths:
        raise UserError("Say what to change: --name, --every, --loss-limit, --group, --user, --nobody or --as-corpus.", exit_code=USAGE)
    request = source_pb2.UpdateSourceRequest(source=changed, update_mask=field_mask_pb2.FieldMask(paths=paths), request_id=uuid.uuid4().hex)
    with session(ctx).client() as corella:
        updated = corella.sources.UpdateSource(request).source
    write_json(updated) if as_json else console().print(f"Updated {updated.name}.", soft_wrap=True)


@app.command("sync")
def sync_source(
    ctx: typer.Context,
    source: options.SourceArgument,
    corpus: CorpusOption = DEFAULT_CORPUS,
    confirm_removals: Annotated[bool, typer.Option("--confirm-removals", help="Remove what is gone, however much it is.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Read everything anew and compare it by content.")] = False,
    wait: options.Wait = None,
    as_json: Json = False,
) -> None:
    """Read a source now."""
    from corella.v1 import source_pb2

    name = options.full_name(corpus, source)
    request = source_pb2.SyncSourceRequest(name=name, confirm_removals=confirm_removals, full=full)
    with session(ctx).client() as corella:
        operation = corella.sources.SyncSource(request).operation
        _finish(corella, name, operation, wait=wait, as_json=as_json)


@app.command("pause")
def pause_source(ctx: typer.Context, source: options.SourceArgument, corpus: CorpusOption = DEFAULT_CORPUS, as_json: Json = False) -> None:
    """Stop reading a source, also at this moment. Its documents stay searchable."""
    from corella.cli.output import console, write_json
    from corella.v1 import source_pb2

    with session(ctx).client() as corella:
        paused = corella.sources.PauseSource(source_pb2.PauseSourceRequest(name=options.full_name(corpus, source))).source
    write_json(paused) if as_json else console().print(f"Paused {paused.name}.", soft_wrap=True)


@app.command("resume")
def resume_source(ctx: typer.Context, source: options.SourceArgument, corpus: CorpusOption = DEFAULT_CORPUS, as_json: Json = False) -> None:
    """Take the scheduled syncs of a source up again."""
    from corella.cli.output import console, write_json
    from corella.cli.source_view import due, moment
    from corella.v1 import source_pb2

    with session(ctx).client() as corella:
        resumed = corella.sources.ResumeSource(source_pb2.ResumeSourceRequest(name=options.full_name(corpus, source))).source
    if as_json:
        write_json(resumed)
        return
    following = f" Next sync: {moment(resumed, 'next_sync_time')} UTC." if due(resumed) else ""
    console().print(f"Resumed {resumed.name}.{following}", soft_wrap=True)


@app.command("delete")
def delete_source(
    ctx: typer.Context,
    source: options.SourceArgument,
    corpus: CorpusOption = DEFAULT_CORPUS,
    documents: Annotated[bool, typer.Option("--documents", help="Delete its documents with it.")] = False,
    as_json: Json = False,
) -> None:
    """Delete a source. Its documents stay as they are, unless --documents is given."""
    import uuid

    from corella.cli.output import console, write_json
    from corella.v1 import source_pb2

    name = options.full_name(corpus, source)
    request = source_pb2.DeleteSourceRequest(name=name, delete_documents=documents, request_id=uuid.uuid4().hex)
    with session(ctx).client() as corella:
        count = corella.sources.DeleteSource(request, timeout=_DELETE_SECONDS).deleted_document_count
    if as_json:
        write_json({"deleted": [name], "documents": count})
    else:
        console().print(f"Deleted {name}" + (f" and {count:,} documents." if documents else "; its documents stay."), soft_wrap=True)


_DELETE_SECONDS = 120.0
"""The longest a service answers a call. A deletion that takes longer goes on when it is repeated."""


def _create(
    ctx: typer.Context, corpus: str, source_id: str, source: source_pb2.Source, *, paused: bool, wait: bool | None, as_json: bool
) -> None:
    import uuid

    from corella.cli.ingesting import Plan, ensure_corpus
    from corella.cli.output import console, write_json
    from corella.client import corpus_name
    from corella.v1 import retriever_pb2, source_pb2

    request = source_pb2.CreateSourceRequest(
        parent=corpus_name(corpus), source_id=source_id, source=source, paused=paused, request_id=uuid.uuid4().hex
    )
    with session(ctx).client() as corella:
        ensure_corpus(corella.retriever, Plan(corpus=corpus))
        created = corella.sources.CreateSource(request).source
        if not as_json:
            console().print(f"Created {created.name}.", soft_wrap=True)
        if created.current_operation:
            operation = corella.retriever.GetOperation(retriever_pb2.GetOperationRequest(name=created.current_operation)).operation
            _finish(corella, created.name, operation, wait=wait, as_json=as_json)
        elif as_json:
            write_json(created)


def _finish(corella: Any, name: str, operation: operation_pb2.Operation, *, wait: bool | None, as_json: bool) -> None:
    """Waits for the end of a sync where that is wanted, and says what came of it."""
    from corella.cli.output import console, write_json
    from corella.cli.source_view import follow, show_result, succeeded
    from corella.v1 import source_pb2

    if not (sys.stdout.isatty() and not as_json if wait is None else wait):
        if as_json:
            write_json(corella.sources.GetSource(source_pb2.GetSourceRequest(name=name)).source)
        else:
            console().print(f"It is being read: {operation.name}. `corella sources show` tells how far it is.", soft_wrap=True)
        return
    source = follow(corella, name, operation, quiet=as_json)
    write_json(source) if as_json else show_result(source)
    if not succeeded(source):
        raise typer.Exit(FAILED)
