"""`corella eval`: how well the running system finds, and how well it answers, on sets with gold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corella.cli.context import Json, session
from corella.cli.output import console, write_json

if TYPE_CHECKING:
    from corella.evaluation.report import Table
    from corella.v1 import operation_pb2

app = typer.Typer(help="Measure the running system on sets of questions with gold.", no_args_is_help=True)

Folders = Annotated[list[Path], typer.Argument(help="Folders of test sets.", exists=True, file_okay=False)]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="At most so many questions a set: a fixed random sample. Default: all.")]
Output = Annotated[Path | None, typer.Option("--output", help="Write the tables to this Markdown file as well.")]
Keep = Annotated[bool, typer.Option("--keep", help="Keep the corpora made for this; otherwise they are deleted at the end.")]


@app.command()
def retrieval(
    ctx: typer.Context, folders: Folders, limit: Limit = None, output: Output = None, keep: Keep = False, as_json: Json = False
) -> None:
    """nDCG@10 of every mode and fusion. A set is a BEIR folder: queries.jsonl, qrels.tsv, and corpus.jsonl or markdown/."""
    # Imported here: the metrics' libraries cost a second, which other commands need not pay.
    from corella.evaluation import beir, report
    from corella.evaluation import retrieval as measuring

    sets = [_loaded(beir.load, folder, max_queries=limit) for folder in folders]
    scores = []
    with session(ctx).client() as corella, _bars() as bars:
        for test_set in sets:
            corpus = _corpus_id(test_set.name)
            try:
                _ingest(corella.retriever, test_set, corpus, bars)
                for method in measuring.METHODS:
                    bar = bars.add_task(f"{test_set.name}: {method.name}", total=len(test_set.queries))
                    step = _advance(bars, bar)
                    scores.append(measuring.measure(corella.retriever, test_set, corpus, method, step))
            finally:
                _drop(corella.retriever, corpus, keep)
    tables = [("nDCG@10", report.retrieval_table(scores)), ("Recall and time", report.timing_table(scores))]
    _show("Retrieval", _command("retrieval", limit), tables, output, as_json)


@app.command()
def answers(
    ctx: typer.Context, folders: Folders, limit: Limit = None, output: Output = None, keep: Keep = False, as_json: Json = False
) -> None:
    """Answers, citations and refusals against gold. A set is a folder with questions.jsonl (as samples/), or SQuAD 2.0 in BEIR form."""
    from corella.evaluation import answers as measuring
    from corella.evaluation import report
    from corella.evaluation.answer_metrics import summarize
    from corella.evaluation.questions import load_questions

    sets = [_loaded(load_questions, folder, max_questions=limit) for folder in folders]
    summaries = []
    with session(ctx).client() as corella, _bars() as bars:
        for question_set in sets:
            corpus = _corpus_id(question_set.name)
            try:
                _ingest(corella.retriever, question_set, corpus, bars)
                bar = bars.add_task(f"{question_set.name}: asking", total=len(question_set.questions))
                judged = []
                for question in question_set.questions:
                    answer, one = measuring.ask(corella.generator, corpus, question)
                    judged.append(one)
                    bars.advance(bar)
                    if as_json:
                        write_json({"set": question_set.name, "id": question.id, "answer": answer.text, **vars(one)})
                summaries.append((question_set.name, summarize(judged)))
            finally:
                _drop(corella.retriever, corpus, keep)
    _show("Answers", _command("answers", limit), [("", report.answer_table(summaries))], output, as_json)


def _command(what: str, limit: int | None) -> str:
    return f"corella eval {what}" + (f" --limit {limit}" if limit else "")


def _loaded(load: Any, folder: Path, **options: Any) -> Any:
    from corella.cli.failures import UserError
    from corella.evaluation.beir import TestSetInvalid

    try:
        return load(folder, **options)
    except TestSetInvalid as error:
        raise UserError(str(error)) from error


def _corpus_id(name: str) -> str:
    return ("eval-" + re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-"))[:40].rstrip("-")


def _bars() -> Any:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console(error=True))


def _advance(bars: Any, bar: Any) -> Any:
    return lambda: bars.advance(bar)


def _ingest(stub: Any, test_set: Any, corpus: str, bars: Any) -> None:
    from corella.cli.failures import UserError
    from corella.evaluation.retrieval import ingest
    from corella.v1 import operation_pb2

    bar = bars.add_task(f"{test_set.name}: ingesting", total=None)

    def show(operation: operation_pb2.Operation) -> None:
        bars.update(bar, total=operation.total_count, completed=operation.done_count)

    ended = ingest(stub, test_set, corpus, show)
    if ended.state != operation_pb2.OPERATION_STATE_SUCCEEDED or ended.failed_count:
        reasons = "; ".join(f"{failure.uri}: {failure.error.message}" for failure in ended.failures[:3])
        raise UserError(f"{test_set.name}: {ended.failed_count} of {ended.total_count} documents could not be ingested: {reasons}")


def _drop(stub: Any, corpus: str, keep: bool) -> None:
    import grpc

    from corella.v1 import retriever_pb2

    if keep:
        return
    try:
        stub.DeleteCorpus(retriever_pb2.DeleteCorpusRequest(name=f"corpora/{corpus}", force=True), timeout=60)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise


def _show(title: str, command: str, tables: list[tuple[str, Table]], output: Path | None, as_json: bool) -> None:
    from rich.table import Table as RichTable

    from corella.evaluation import report

    if output is not None:
        report.write(output, title, command, tables)
    if as_json:
        write_json(
            [{"caption": caption, "rows": [dict(zip(heads, row, strict=True)) for row in rows]} for caption, (heads, rows) in tables]
        )
        return
    for caption, (heads, rows) in tables:
        shown = RichTable(*heads, title=caption or None)
        for row in rows:
            shown.add_row(*row)
        console().print(shown)
